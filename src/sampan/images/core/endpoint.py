"""Where a registry is: its addresses in the order to try them, and which may go without TLS."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from sampan.base.errors import InvalidError
from sampan.images.core.reference import Reference

__all__ = [
    "INDEX_SERVER",
    "Endpoint",
    "check_insecure",
    "check_mirror",
    "endpoints",
    "is_insecure",
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


def check_mirror(text: str) -> str:
    """Return a mirror's URL; InvalidError with Docker's words when it cannot be one."""
    url = urlsplit(text)
    if url.scheme not in ("http", "https") or not url.netloc:
        raise InvalidError(f'invalid mirror: unsupported scheme "{url.scheme}" in "{text}"')
    if url.query or url.fragment or url.username is not None:
        raise InvalidError(f'invalid mirror: query, fragment and user are not allowed in "{text}"')
    return text.rstrip("/")


def check_insecure(text: str) -> str:
    """Return a host or a network that may go without TLS; InvalidError for a URL."""
    if "://" in text:
        raise InvalidError(f"insecure registry {text} should not contain '://'")
    return text


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
            found.append(Endpoint(mirror, host, not is_insecure(host, insecure), True))
    host = registry_host(reference.domain)
    if is_insecure(host, insecure):
        found.append(Endpoint(f"https://{host}", host, verify=False))
        found.append(Endpoint(f"http://{host}", host, verify=False))
    else:
        found.append(Endpoint(f"https://{host}", host))
    return found
