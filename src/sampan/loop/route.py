"""From request headers to the method that answers; worked out once per distinct header block."""

from __future__ import annotations

import re

from sampan.loop.rpc_stats import MethodStats, RpcStats
from sampan.wire.grpc.metadata import decode_metadata, parse_timeout_s
from sampan.wire.grpc.service import MethodTable, StreamMethod, UnaryMethod
from sampan.wire.grpc.status import Code, Metadata, RpcError
from sampan.wire.h2.headers import Head

__all__ = ["Route", "Router", "is_grpc"]

_GRPC_TYPE = re.compile(r"application/grpc(?:\+[a-z0-9.]+)?\s*(?:;|\Z)", re.IGNORECASE)


def is_grpc(head: Head) -> bool:
    """Tell a gRPC request from a plain HTTP one by its content-type."""
    content_type = head.get("content-type")
    return content_type is not None and _GRPC_TYPE.match(content_type) is not None


class Route:
    """Everything a call needs from its headers. `error` is set when it cannot be served."""

    __slots__ = ("error", "gzip_in", "gzip_out", "metadata", "method", "stats", "timeout_s")

    def __init__(self, method: UnaryMethod | StreamMethod | None, stats: MethodStats) -> None:
        self.method = method
        self.stats = stats
        self.metadata: Metadata = ()
        self.timeout_s: float | None = None
        self.gzip_in = False
        self.gzip_out = False
        self.error: RpcError | None = None

    def with_timeout(self, text: str) -> Route:
        """Return this route with a `grpc-timeout`."""
        route = Route(self.method, self.stats)
        route.metadata = self.metadata
        route.gzip_in = self.gzip_in
        route.gzip_out = self.gzip_out
        route.error = self.error
        if route.error is None:
            try:
                route.timeout_s = parse_timeout_s(text)
            except RpcError as error:
                route.error = error
        return route


class Router:
    """The method table with its counters."""

    def __init__(self, methods: MethodTable, stats: RpcStats) -> None:
        self._methods = methods
        self._stats = stats

    def resolve(self, head: Head) -> Route:
        """Return the route of `head`; never raises."""
        base = head.base
        if base is None:
            return self._resolve(head)
        if type(base.route) is not Route:
            base.route = self._resolve(base)
        return base.route.with_timeout(head.headers[-1][1])

    def _resolve(self, head: Head) -> Route:
        method = self._methods.get(head.path)
        path = "" if method is None else head.path
        route = Route(method, self._stats.method(path, isinstance(method, StreamMethod)))
        try:
            if method is None:
                raise _unknown(head.path, self._methods)
            route.metadata = decode_metadata(head.headers)
            self._negotiate(route, head)
        except RpcError as error:
            route.error = error
        return route

    def _negotiate(self, route: Route, head: Head) -> None:
        encoding = head.get("grpc-encoding") or "identity"
        if encoding not in ("identity", "gzip"):
            raise RpcError(
                Code.UNIMPLEMENTED,
                f'grpc: Decompressor is not installed for grpc-encoding "{encoding}"',
            )
        route.gzip_in = encoding == "gzip"
        accepted = (head.get("grpc-accept-encoding") or "").replace(" ", "").split(",")
        route.gzip_out = route.gzip_in and "gzip" in accepted


def _unknown(path: str, methods: MethodTable) -> RpcError:
    service, slash, name = path[1:].rpartition("/")
    if not slash or path[:1] != "/":
        return RpcError(Code.UNIMPLEMENTED, f'malformed method name: "{path}"')
    prefix = f"/{service}/"
    if any(known.startswith(prefix) for known in methods):
        return RpcError(Code.UNIMPLEMENTED, f"unknown method {name} for service {service}")
    return RpcError(Code.UNIMPLEMENTED, f"unknown service {service}")
