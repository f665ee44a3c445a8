"""The services: their commands, where they answer, and the order in which they start."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

__all__ = ["NAMES", "Endpoints", "Layout", "Service", "services"]

NAMES: Final = ("store", "engine", "registry")
"""In the order of starting; they end in the opposite order."""


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Where the services listen: two ports of 127.0.0.1 and a socket's path."""

    store_port: int
    registry_port: int
    engine_socket: str
    build_from_host: bool = False

    @property
    def document(self) -> dict[str, object]:
        """What stands in `endpoints.json`."""
        return {
            "store": f"http://127.0.0.1:{self.store_port}",
            "engine": f"unix://{self.engine_socket}",
            "registry": f"http://127.0.0.1:{self.registry_port}",
            "build-from-host": self.build_from_host,
        }


@dataclass(frozen=True, slots=True)
class Layout:
    """The paths below the state directory."""

    root: str

    def below(self, *parts: str) -> str:
        """Return a path in it."""
        return "/".join((self.root, *parts))

    @property
    def runtime(self) -> str:
        """What belongs to this boot only."""
        return self.below("run")

    @property
    def engine_config(self) -> str:
        """The engine's `daemon.json`, the user's to change."""
        return self.below("daemon.json")


@dataclass(frozen=True, slots=True)
class Service:
    """`command` follows `sampan`; `health_path` is asked at `port`, or at `socket` when named."""

    name: str
    command: Sequence[str]
    health_path: str
    endpoint: str
    port: int = 0
    socket: str = ""
    stop_timeout_s: float = 10.0


def services(
    layout: Layout, endpoints: Endpoints, extra: Mapping[str, Sequence[str]] | None = None
) -> tuple[Service, ...]:
    """Return the services in the order of starting; `extra` are more flags by service."""
    more = extra or {}
    store = f"http://127.0.0.1:{endpoints.store_port}"
    registry = f"127.0.0.1:{endpoints.registry_port}"
    engine_flags = ["--build-from-host"] if endpoints.build_from_host else []
    return (
        Service(
            "store",
            (
                "etcd",
                "--name=sampan",
                f"--data-dir={layout.below('store')}",
                f"--listen-client-urls={store}",
                f"--advertise-client-urls={store}",
                "--log-format=console",
                *more.get("store", ()),
            ),
            "/readyz",
            store,
            port=endpoints.store_port,
        ),
        Service(
            "engine",
            (
                "dockerd",
                f"--host=unix://{endpoints.engine_socket}",
                f"--data-root={layout.below('engine')}",
                f"--exec-root={layout.below('run', 'engine')}",
                f"--pidfile={layout.below('run', 'engine.pid')}",
                f"--config-file={layout.engine_config}",
                *engine_flags,
                *more.get("engine", ()),
            ),
            "/_ping",
            f"unix://{endpoints.engine_socket}",
            socket=endpoints.engine_socket,
            # Containers have their own time to end.
            stop_timeout_s=30.0,
        ),
        Service(
            "registry",
            (
                "registry",
                f"--root={layout.below('registry')}",
                f"--listen={registry}",
                *more.get("registry", ()),
            ),
            "/v2/",
            f"http://{registry}",
            port=endpoints.registry_port,
        ),
    )
