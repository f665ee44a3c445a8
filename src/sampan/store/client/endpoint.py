"""Endpoints as users write them, and the channel target that they mean."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Endpoint", "parse_endpoint"]

_DEFAULT_PORT = 2379


@dataclass(frozen=True, slots=True)
class Endpoint:
    """`url` as written; `target` for a Channel, host:port or unix:path.

    `secure` says whether the scheme asks for TLS; None without a scheme: as the client is set up.
    """

    url: str
    target: str
    secure: bool | None


def parse_endpoint(url: str) -> Endpoint:
    """Parse `host:port`, `http://host:port`, `https://host:port`, `unix:path` or `unix://path`.

    The port defaults to 2379. Raises ValueError for another scheme or an empty host.
    """
    scheme, separator, rest = url.partition("://")
    if url.startswith(("unix:", "unixs:")):
        path = rest if separator else url.partition(":")[2]
        return Endpoint(url, f"unix:{path}", url.startswith("unixs:"))
    if separator and scheme not in ("http", "https"):
        raise ValueError(f"endpoint {url!r}: the scheme must be http, https or unix")
    authority = (rest if separator else url).partition("/")[0]
    host, colon, port = authority.rpartition(":")
    if not colon or authority.endswith("]"):
        host, port = authority, str(_DEFAULT_PORT)
    if not host or not port.isdigit():
        raise ValueError(f"endpoint {url!r}: expected host:port")
    return Endpoint(url, f"{host}:{port}", scheme == "https" if separator else None)
