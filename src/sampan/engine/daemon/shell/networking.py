"""A container's network: none, the host's, another container's, or a bridge's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from sampan.base.errors import ConflictError, NotFoundError
from sampan.engine.daemon.core.record import ContainerRecord
from sampan.engine.daemon.shell.container import Container

__all__ = ["ContainerNetworking"]


class _Engine(Protocol):
    def find(self, text: str) -> Container:
        """Return a container by name or id."""
        ...


class ContainerNetworking:
    """Gives containers their networks and says what they have."""

    def __init__(self, engine: _Engine) -> None:
        self._engine = engine

    async def open(self) -> None:
        """Get ready."""

    async def close(self) -> None:
        """Let go."""

    def prepare(self, record: ContainerRecord, config: Mapping[str, Any]) -> None:
        """Check the networks that a new container asks for, and keep their settings."""
        mode = record.host_config["NetworkMode"]
        if mode in ("none", "host", "default", "bridge") or mode.startswith("container:"):
            return
        raise NotFoundError(f"network {mode} not found")

    async def attach(self, container: Container) -> Mapping[str, Any]:
        """Make the container's network; returns its namespace and the files that belong to it."""
        mode = container.record.host_config["NetworkMode"]
        if mode.startswith("container:"):
            other = self._engine.find(mode.partition(":")[2])
            if not other.record.state.running:
                raise ConflictError(
                    f"cannot join network namespace of a non running container: {other.id}"
                )
            return {"netns": f"/proc/{other.record.state.pid}/ns/net"}
        return {}

    async def restored(self, container: Container) -> None:
        """Find a running container's network again."""

    async def detach(self, container: Container) -> None:
        """Take the container's network back."""

    def removed(self, container: Container) -> None:
        """Forget a container."""

    def settings(self, container: Container) -> dict[str, Any]:
        """Return Docker's NetworkSettings."""
        mode = container.record.host_config["NetworkMode"]
        name = mode if mode in ("none", "host") else "bridge"
        networks: dict[str, Any] = {} if mode.startswith("container:") else {name: {}}
        return {"Networks": networks, "Ports": {}}
