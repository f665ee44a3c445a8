"""The gRPC server: a method table behind sockets.

    server = RpcServer(methods, http=handler)
    host, port = await server.listen("127.0.0.1", 0)
    ...
    await server.close(grace_s=5)

One port takes gRPC over HTTP/2 (with prior knowledge, or TLS and ALPN), plain HTTP/2 and HTTP/1.1.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from pathlib import Path

from sampan.loop.connection import ServerConnection
from sampan.loop.route import Router
from sampan.loop.rpc_stats import RpcStats
from sampan.loop.server_limits import ServerLimits
from sampan.loop.unix_socket import remove_stale_socket
from sampan.wire.grpc.service import HttpHandler, MethodTable

__all__ = ["RpcServer"]

_BACKLOG = 4096
_GOAWAY_WAIT_S = 1.0


class RpcServer:
    """Serves `methods`, and with `http` every request that is not gRPC."""

    def __init__(
        self,
        methods: MethodTable,
        *,
        http: HttpHandler | None = None,
        limits: ServerLimits | None = None,
    ) -> None:
        self.limits = limits or ServerLimits()
        self.stats = RpcStats()
        self._http = http
        self._router = Router(methods, self.stats)
        self._listeners: list[asyncio.Server] = []
        self._socket_paths: list[Path] = []
        self._connections: set[ServerConnection] = set()
        self._all_closed: asyncio.Event | None = None
        self._sweeper: asyncio.TimerHandle | None = None

    async def listen(
        self, host: str, port: int, tls: ssl.SSLContext | None = None
    ) -> tuple[str, int]:
        """Listen on TCP and return the address with the real port. Raises OSError.

        Of a name's addresses one is taken, IPv4 before IPv6, so that port 0 means one port.
        """
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(
            host or "0.0.0.0", port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        addresses = sorted(found, key=lambda info: info[0] != socket.AF_INET)
        timeout_s = self.limits.handshake_timeout_s if tls is not None else None
        listener = await loop.create_server(
            self._connection,
            str(addresses[0][4][0]),
            port,
            ssl=tls,
            backlog=_BACKLOG,
            ssl_handshake_timeout=timeout_s,
        )
        self._add(listener)
        name = listener.sockets[0].getsockname()
        return str(name[0]), int(name[1])

    async def listen_unix(
        self, path: str | Path, tls: ssl.SSLContext | None = None, *, mode: int | None = None
    ) -> None:
        """Listen on a Unix socket; `mode` are its permissions, by default those of the umask.

        Raises OSError, ConflictError while another process listens there.
        """
        loop = asyncio.get_running_loop()
        remove_stale_socket(Path(path))
        mask = os.umask(0o177) if mode is not None else None
        try:
            listener = await loop.create_unix_server(
                self._connection, str(path), ssl=tls, backlog=_BACKLOG
            )
        finally:
            if mask is not None:
                os.umask(mask)
        self._socket_paths.append(Path(path))
        self._add(listener)
        if mode is not None:
            os.chmod(path, mode)

    def _add(self, listener: asyncio.Server) -> None:
        self._listeners.append(listener)
        if self._sweeper is None:
            self._sweep()

    def _connection(self) -> ServerConnection:
        return ServerConnection(
            self._router, self._http, self.limits, self.stats, self._opened, self._closed
        )

    def adopt(self) -> asyncio.Protocol:
        """Return the protocol for one connection that was accepted elsewhere, by an upgrade."""
        if self._sweeper is None and self._all_closed is None:
            self._sweep()
        return self._connection()

    def _opened(self, connection: ServerConnection) -> None:
        self.stats.connections_opened += 1
        self.stats.open_connections += 1
        self._connections.add(connection)
        if self._all_closed is not None:
            connection.transport.abort()

    def _closed(self, connection: ServerConnection) -> None:
        self.stats.open_connections -= 1
        self._connections.discard(connection)
        if self._all_closed is not None and not self._connections:
            self._all_closed.set()

    def _sweep(self) -> None:
        """Let every connection look at the clock, and come again."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        for connection in list(self._connections):
            connection.sweep(now)
        limits = self.limits
        shortest = min(
            limits.keepalive_interval_s,
            limits.keepalive_timeout_s,
            limits.handshake_timeout_s,
            limits.partial_timeout_s,
            limits.stall_timeout_s,
            limits.idle_timeout_s,
        )
        self._sweeper = loop.call_later(min(1.0, shortest / 4), self._sweep)

    async def close(self, grace_s: float) -> None:
        """Stop: no new connections or calls, `grace_s` for the open ones, then cut them off."""
        for listener in self._listeners:
            listener.close()
        for path in self._socket_paths:
            path.unlink(missing_ok=True)
        self._all_closed = asyncio.Event()
        for connection in list(self._connections):
            connection.shut_down()
        try:
            await self._wait_closed(min(_GOAWAY_WAIT_S, grace_s / 2))
            for connection in list(self._connections):
                connection.finish_shutdown()
            await self._wait_closed(max(grace_s - _GOAWAY_WAIT_S, grace_s / 2))
            for connection in list(self._connections):
                connection.transport.abort()
            await self._wait_closed(1.0)
        finally:
            if self._sweeper is not None:
                self._sweeper.cancel()
                self._sweeper = None

    async def _wait_closed(self, timeout_s: float) -> None:
        assert self._all_closed is not None
        if not self._connections:
            return
        try:
            await asyncio.wait_for(self._all_closed.wait(), timeout_s)
        except TimeoutError:
            pass
