"""A container's hosts, hostname and resolv.conf."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from sampan.engine.daemon.shell.container import Container
from sampan.engine.network.core.resolvconf import hosts_text

__all__ = ["files_of", "own_hosts", "write_files"]

_NAMES = ("hosts", "hostname", "resolv.conf")


def files_of(container: Container) -> dict[str, str]:
    """Return the files by the place that they are mounted at."""
    return {f"/etc/{name}": str(container.directory / name) for name in _NAMES}


def own_hosts(container: Container, addresses: Iterable[str]) -> list[tuple[str, str]]:
    """Return the lines of a container about itself."""
    config = container.record.config
    name, domain = config["Hostname"], config["Domainname"]
    full = f"{name}.{domain}" if domain else name
    short = full.partition(".")[0]
    names = f"{full} {short}" if short and short != full else full
    return [(address, names) for address in addresses]


def write_files(
    container: Container,
    resolv: str,
    extra: Iterable[tuple[str, str]],
    own: Iterable[tuple[str, str]],
    *,
    of_the_host: bool = False,
) -> None:
    """Write all three, in place: they may be mounted already."""
    directory = container.directory
    hosts = hosts_text(extra, own)
    if of_the_host:
        lines = [f"{address}\t{name}\n" for address, name in extra]
        hosts = (host_text("/etc/hosts") or hosts_text((), ())) + "".join(lines)
    (directory / "hosts").write_text(hosts)
    (directory / "hostname").write_text(container.record.config["Hostname"] + "\n")
    (directory / "resolv.conf").write_text(resolv)


def host_text(path: str) -> str:
    """Return a file of the host, empty without it."""
    try:
        return Path(path).read_text()
    except OSError:
        return ""


def extra_hosts(host: Mapping[str, Any], gateway: str) -> list[tuple[str, str]]:
    """Return `--add-host`: address and name; `host-gateway` is an address of the host's."""
    found = []
    for line in host["ExtraHosts"] or ():
        name, _, address = line.replace("=", ":", 1).partition(":")
        address = address.strip("[]")
        if address == "host-gateway":
            address = gateway
        if address:
            found.append((address, name))
    return found
