"""resolv.conf and hosts: read from the host, written for containers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import ip_address

from sampan.engine.network.core.model import DnsSettings

__all__ = ["Resolution", "hosts_text", "parse_resolv_conf", "resolv_text", "settled"]

_PUBLIC = ("8.8.8.8", "8.8.4.4")
_MOST_SERVERS = 8


@dataclass(frozen=True, slots=True)
class Resolution:
    """The lines of a resolv.conf."""

    servers: Sequence[str] = ()
    search: Sequence[str] = ()
    options: Sequence[str] = ()


def parse_resolv_conf(text: str) -> Resolution:
    """Return what a resolv.conf says; lines that mean nothing are left out."""
    servers: list[str] = []
    search: list[str] = []
    options: list[str] = []
    for line in text.splitlines():
        words = line.partition("#")[0].partition(";")[0].split()
        if not words:
            continue
        if words[0] == "nameserver" and len(words) > 1 and _is_address(words[1]):
            servers.append(words[1])
        elif words[0] in ("search", "domain"):
            search = words[1:]
        elif words[0] == "options":
            options += words[1:]
    return Resolution(tuple(servers[:_MOST_SERVERS]), tuple(search), tuple(options))


def _is_address(text: str) -> bool:
    try:
        ip_address(text.partition("%")[0])
    except ValueError:
        return False
    return True


def settled(own: DnsSettings, daemon: DnsSettings, host: Resolution) -> Resolution:
    """Return what holds for a sandbox: its own settings, else the daemon's, else the host's."""
    search = own.search or daemon.search or host.search
    return Resolution(
        own.servers or daemon.servers or host.servers,
        () if tuple(search) == (".",) else search,
        own.options or daemon.options or host.options,
    )


def resolv_text(found: Resolution, resolver: str = "", *, unchanged: bool = False) -> str:
    """Return a container's resolv.conf.

    With a `resolver` of the engine that one is asked, and names without a dot as they are; else the
    servers, without those that only the host can reach at a loopback address unless `unchanged`.
    """
    options = list(found.options)
    if resolver:
        servers: Sequence[str] = (resolver,)
        if not any(one.startswith("ndots:") for one in options):
            options.append("ndots:0")
    elif unchanged:
        servers = found.servers
    else:
        reachable = [
            one for one in found.servers if not ip_address(one.partition("%")[0]).is_loopback
        ]
        servers = reachable or _PUBLIC
    lines = [f"nameserver {one}" for one in servers]
    lines += [f"search {' '.join(found.search)}"] if found.search else []
    lines += [f"options {' '.join(options)}"] if options else []
    return "\n".join(lines) + "\n"


_LOCAL = (
    "127.0.0.1\tlocalhost",
    "::1\tlocalhost ip6-localhost ip6-loopback",
    "fe00::\tip6-localnet",
    "ff00::\tip6-mcastprefix",
    "ff02::1\tip6-allnodes",
    "ff02::2\tip6-allrouters",
)


def hosts_text(extra: Iterable[tuple[str, str]], own: Iterable[tuple[str, str]]) -> str:
    """Return a container's hosts file: `extra` are address and names to add, `own` its own ones."""
    lines = [*_LOCAL, *(f"{address}\t{names}" for address, names in (*extra, *own))]
    return "\n".join(lines) + "\n"
