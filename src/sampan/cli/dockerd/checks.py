"""What a value of a flag may be, in dockerd's words. Each returns the value in its final form."""

from __future__ import annotations

import ipaddress
import re
from typing import Any, Final
from urllib.parse import urlsplit

from sampan.base.errors import InvalidError
from sampan.engine.daemon.core.options import AddressPool, Ulimit

__all__ = [
    "check_address",
    "check_host",
    "check_insecure_registry",
    "check_label",
    "check_log_format",
    "check_mirror",
    "check_pool",
    "check_search",
    "check_ulimit",
    "pool_of",
    "ulimit_of",
]

_DOMAIN: Final = re.compile(r"(:?[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.?)+", re.IGNORECASE | re.ASCII)
_ULIMITS: Final = frozenset(
    "core cpu data fsize locks memlock msgqueue nice nofile nproc rss rtprio rttime sigpending "
    "stack".split()
)


def check_host(text: str) -> str:
    """A place to listen at: unix://, tcp:// or fd://; a bare host:port is TCP."""
    text = text.strip()
    if not text:
        return "unix:///var/run/docker.sock"
    kind, separator, rest = text.partition("://")
    if not separator:
        kind, rest = "tcp", text
    if kind == "unix":
        return f"unix://{rest or '/var/run/docker.sock'}"
    if kind == "fd":
        return f"fd://{rest}"
    if kind == "tcp":
        return f"tcp://{_host_port(rest, text)}"
    raise InvalidError(f"invalid bind address ({text}): unsupported proto '{kind}'")


def _host_port(rest: str, text: str) -> str:
    host, port = rest, ""
    bracket = re.fullmatch(r"\[([^\]]*)\](?::(\d*))?/?", rest)
    if bracket is not None:
        host, port = bracket[1], bracket[2] or ""
    elif rest.count(":") <= 1:
        host, _, port = rest.rstrip("/").partition(":")
    if port and not (port.isdigit() and int(port) < 65536):
        raise InvalidError(f"invalid bind address ({text}): invalid port: {port}")
    shown = f"[{host}]" if ":" in host else host or "localhost"
    return f"{shown}:{port or ''}"


def check_label(text: str) -> str:
    """`key=value`."""
    if "=" not in text or not text.partition("=")[0]:
        raise InvalidError(f"bad attribute format: {text}")
    return text


def check_address(text: str) -> str:
    """An address of IPv4 or IPv6."""
    bare = text.strip()
    if not bare or bare == "host-gateway":
        return bare
    try:
        return str(ipaddress.ip_address(bare))
    except ValueError:
        raise InvalidError(f"{text} is not an ip address") from None


def check_search(text: str) -> str:
    """A domain, or a dot for none."""
    bare = text.strip()
    if bare == ".":
        return bare
    if not any(letter.isalpha() for letter in bare) or not _DOMAIN.fullmatch(bare):
        raise InvalidError(f"{text} is not a valid domain")
    return bare


def check_mirror(text: str) -> str:
    """An http or https URL without path details; ends with a slash."""
    url = urlsplit(text)
    if url.scheme not in ("http", "https"):
        raise InvalidError(f'invalid mirror: unsupported scheme "{url.scheme}" in "{text}"')
    if url.query or url.fragment:
        raise InvalidError(f'invalid mirror: query or fragment at end of the URI "{text}"')
    if url.username is not None:
        raise InvalidError("invalid mirror: username/password not allowed in URI")
    return text.rstrip("/") + "/"


def check_insecure_registry(text: str) -> str:
    """A host with or without a port, or a network."""
    bare = text
    for scheme in ("http://", "https://"):
        if bare.lower().startswith(scheme):
            bare = bare[len(scheme) :]
    if not bare or bare.startswith("-") or bare.endswith("-"):
        raise InvalidError(f"insecure registry {text} is not valid: invalid index name ({bare})")
    if "/" in bare:
        try:
            ipaddress.ip_network(bare, strict=False)
        except ValueError:
            raise InvalidError(f"insecure registry {text} is not valid: invalid host") from None
    return bare


def check_log_format(text: str) -> str:
    """`text` or `json`."""
    if text not in ("text", "json"):
        raise InvalidError(f"unknown log format: {text}")
    return text


def check_ulimit(text: str) -> str:
    """`name=soft[:hard]`."""
    ulimit_of(text)
    return text


def ulimit_of(text: str) -> Ulimit:
    """Return what `name=soft[:hard]` means; InvalidError in Docker's words."""
    name, equals, values = text.partition("=")
    if not equals or not values:
        raise InvalidError(f"invalid ulimit argument: {text}")
    if name not in _ULIMITS:
        raise InvalidError(f"invalid ulimit type: {name}")
    parts = values.split(":")
    if len(parts) > 2:
        raise InvalidError(
            f"too many limit value arguments - {values}, can only have up to two, `soft[:hard]`"
        )
    numbers = [_limit(part) for part in parts]
    soft, hard = numbers[0], numbers[-1]
    if hard != -1 and (soft == -1 or soft > hard):
        shown = "soft: -1 (unlimited)" if soft == -1 else str(soft)
        raise InvalidError(
            f"ulimit soft limit must be less than or equal to hard limit: {shown} > {hard}"
        )
    return Ulimit(name, soft, hard)


def _limit(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise InvalidError(f'strconv.ParseInt: parsing "{text}": invalid syntax') from None


def check_pool(text: str) -> str:
    """`base=CIDR,size=bits`."""
    pool_of(_pairs(text))
    return text


def _pairs(text: str) -> dict[str, str]:
    found = {}
    for field in text.split(","):
        key, equals, value = field.partition("=")
        if not equals:
            raise InvalidError(f"invalid field '{field}' must be a key=value pair")
        found[key.strip().lower()] = value
    return found


def pool_of(given: Any) -> AddressPool:
    """Return a pool of a flag's text or a file's object; InvalidError in Docker's words."""
    fields = _pairs(given) if isinstance(given, str) else dict(given)
    for key in fields:
        if key not in ("base", "size"):
            raise InvalidError(f"unexpected key '{key}' in '{given}'")
    try:
        network = ipaddress.ip_network(str(fields.get("base")), strict=False)
    except ValueError:
        raise InvalidError(f"invalid base pool {fields.get('base')!r}") from None
    size = str(fields.get("size", ""))
    if not size.isdigit() or not network.prefixlen <= int(size) <= network.max_prefixlen:
        raise InvalidError(f"invalid size value: {size} (for the pool {network})")
    return AddressPool(str(network), int(size))
