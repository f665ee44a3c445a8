"""Where a registry is: its addresses in the order to try them, and which may go without TLS."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from sampan.images.core.reference import Reference

__all__ = [
    "INDEX_SERVER",
    "Endpoint",
    "endpoints",
    "is_insecure",
    "proxy_for",
    "registry_host",
]

INDEX_SERVER: Final = "https://index.docker.io/v1/"
"""What credentials of Docker Hub are kept under."""

_HUB: Final = "docker.io"
_HUB_HOST: Final = "registry-1.docker.io"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One address of a registry: `url` has neither a path of the protocol nor a last slash."""

    url: str
    host: str
    verify: bool = True
    mirror: bool = False


def registry_host(domain: str) -> str:
    """Return the host (and port) that serves the images of a domain."""
    return _HUB_HOST if domain == _HUB else domain


def is_insecure(host: str, insecure: Sequence[str]) -> bool:
    """Tell whether a host may go without TLS: loopback, a name or a network that was given."""
    name = urlsplit("//" + host).hostname or ""
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        address = None
    if name == "localhost" or (address is not None and address.is_loopback):
        return True
    for one in insecure:
        if one in (host, name):
            return True
        try:
            if address is not None and address in ipaddress.ip_network(one, strict=False):
                return True
        except ValueError:
            continue
    return False


def endpoints(
    reference: Reference, *, mirrors: Sequence[str], insecure: Sequence[str], push: bool = False
) -> list[Endpoint]:
    """Return where to find a reference's repository, in the order to try.

    Mirrors are those of Docker Hub, and only for pulling.
    """
    found: list[Endpoint] = []
    if reference.domain == _HUB and not push:
        for mirror in mirrors:
            host = urlsplit(mirror).netloc
            found.append(Endpoint(mirror.rstrip("/"), host, not is_insecure(host, insecure), True))
    host = registry_host(reference.domain)
    if is_insecure(host, insecure):
        found.append(Endpoint(f"https://{host}", host, verify=False))
        found.append(Endpoint(f"http://{host}", host, verify=False))
    else:
        found.append(Endpoint(f"https://{host}", host))
    return found


def proxy_for(url: str, http: str, https: str, without: str) -> str | None:
    """Return the proxy for a URL, None without one.

    `without` has hosts, suffixes with or without a first dot, networks, and `*`. Loopback never
    goes through a proxy.
    """
    parts = urlsplit(url)
    proxy = https if parts.scheme == "https" else http
    name = parts.hostname or ""
    if not proxy or is_insecure(parts.netloc, ()):
        return None
    for one in (word.strip() for word in without.split(",")):
        if not one:
            continue
        bare = one.removeprefix("*").removeprefix(".")
        if one == "*" or name == bare or name.endswith("." + bare):
            return None
        if is_insecure(parts.netloc, (one,)):
            return None
    return proxy if "://" in proxy else f"http://{proxy}"
