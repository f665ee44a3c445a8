"""A container's network: none, the host's, another container's, or a bridge's."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from sampan.base.errors import ConflictError, NotFoundError, UnsupportedError
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
        if mode in ("none", "host") or mode.startswith("container:"):
            return
        if mode in ("default", "bridge"):
            raise UnsupportedError(
                "bridge networks are not supported yet: use --network none, host or container:NAME"
            )
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
            files = _files(other)
            return {"netns": f"/proc/{other.record.state.pid}/ns/net", "files": files}
        _write_files(container, mode == "host")
        return {"files": _files(container)}

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


def _files(container: Container) -> dict[str, str]:
    names = ("hosts", "hostname", "resolv.conf")
    return {f"/etc/{name}": str(container.directory / name) for name in names}


def _write_files(container: Container, shared: bool) -> None:
    """Write the files about names: the host's own where its network is shared."""
    record, directory = container.record, container.directory
    hosts = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n"
    resolv = ""
    if shared:
        hosts, resolv = _host_file("/etc/hosts") or hosts, _host_file("/etc/resolv.conf")
    for line in record.host_config["ExtraHosts"] or ():
        name, _, address = line.partition(":")
        hosts += f"{address}\t{name}\n"
    servers, search = record.host_config["Dns"], record.host_config["DnsSearch"]
    if servers:
        resolv = "".join(f"nameserver {one}\n" for one in servers)
    if search:
        resolv += f"search {' '.join(search)}\n"
    (directory / "hosts").write_text(hosts)
    (directory / "hostname").write_text(record.config["Hostname"] + "\n")
    (directory / "resolv.conf").write_text(resolv)


def _host_file(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""
