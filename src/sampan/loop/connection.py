"""One accepted socket: finds out which protocol is spoken and hands the bytes to it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol, cast

from sampan.loop.http2_server import Http2Server
from sampan.loop.route import Router
from sampan.loop.rpc_stats import RpcStats
from sampan.loop.server_limits import ServerLimits
from sampan.loop.tls import peer_common_name, peer_host_names
from sampan.wire.grpc.service import HttpHandler, Peer
from sampan.wire.h2.codes import PREFACE

__all__ = ["ServerConnection"]


class _Speaker(Protocol):
    """HTTP/2 or HTTP/1.1."""

    def receive(self, data: bytes) -> None: ...
    def pause(self) -> None: ...
    def resume(self) -> None: ...
    def lost(self) -> None: ...
    def half_closed(self) -> bool: ...
    def sweep(self, now: float) -> None: ...
    def shut_down(self) -> None: ...
    def finish_shutdown(self) -> None: ...
    @property
    def calls(self) -> int: ...


class ServerConnection(asyncio.Protocol):
    """The asyncio protocol of a server socket.

    `opened` and `closed` tell the server; `sweep` is called about once a second.
    """

    def __init__(
        self,
        router: Router,
        http: HttpHandler | None,
        limits: ServerLimits,
        stats: RpcStats,
        opened: Callable[[ServerConnection], None],
        closed: Callable[[ServerConnection], None],
    ) -> None:
        self._router = router
        self._http = http
        self._limits = limits
        self._stats = stats
        self._opened = opened
        self._closed = closed
        self._speaker: _Speaker | None = None
        self._first = b""
        self._loop = asyncio.get_running_loop()
        self._since_s = self._loop.time()
        self._ending = False
        self._closing_s: float | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the socket (after the TLS handshake)."""
        # uvloop's transports do not derive from asyncio's.
        self.transport = cast(asyncio.Transport, transport)
        self.transport.set_write_buffer_limits(high=self._limits.socket_buffer_bytes)
        name = transport.get_extra_info("peername")
        address = f"{name[0]}:{name[1]}" if isinstance(name, tuple) else "unix"
        if isinstance(name, tuple) and ":" in name[0]:
            address = f"[{name[0]}]:{name[1]}"
        self.peer = Peer(address, peer_common_name(transport), peer_host_names(transport))
        self._opened(self)

    def data_received(self, data: bytes) -> None:
        """Take bytes; the first ones decide on the protocol."""
        if self._speaker is not None:
            self._speaker.receive(data)
            return
        self._first += data
        first = self._first
        if len(first) < len(PREFACE) and PREFACE.startswith(first):
            return
        if self._http is None or first.startswith(PREFACE) or not _looks_like_http1(first):
            self._speaker = self._http2()
        else:
            self._speaker = self._http1(self._http)
        self._first = b""
        self._speaker.receive(first)
        if self._ending:
            self._speaker.shut_down()

    def _http1(self, http: HttpHandler) -> _Speaker:
        # Here, because most servers start and end without a request of this kind.
        from sampan.loop.http1 import Http1Server

        return Http1Server(self.transport, self.peer, http, self._limits, self._stats, self._loop)

    def _http2(self) -> Http2Server:
        return Http2Server(
            self.transport,
            self.peer,
            self._router,
            self._http,
            self._limits,
            self._stats,
            self._loop,
        )

    def eof_received(self) -> bool:
        """The peer ended its side; HTTP/2 has no use for half a connection."""
        return self._speaker is not None and self._speaker.half_closed()

    def pause_writing(self) -> None:
        """The socket is full."""
        if self._speaker is not None:
            self._speaker.pause()

    def resume_writing(self) -> None:
        """The socket takes bytes again."""
        if self._speaker is not None:
            self._speaker.resume()

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is gone."""
        if self._speaker is not None:
            self._speaker.lost()
        self._closed(self)

    def sweep(self, now: float) -> None:
        """Look at the clock."""
        if self.transport.is_closing():
            self._sweep_closing(now)
        elif self._speaker is not None:
            self._speaker.sweep(now)
        elif now - self._since_s >= self._limits.handshake_timeout_s:
            self.transport.abort()

    def _sweep_closing(self, now: float) -> None:
        """What was written last is not waited for without end."""
        if self._closing_s is None:
            self._closing_s = now
        elif now - self._closing_s >= self._limits.handshake_timeout_s:
            self.transport.abort()

    def shut_down(self) -> None:
        """Begin the graceful end."""
        self._ending = True
        if self._speaker is not None:
            self._speaker.shut_down()
        else:
            self.transport.close()

    def finish_shutdown(self) -> None:
        """Take no more requests."""
        if self._speaker is not None:
            self._speaker.finish_shutdown()

    @property
    def calls(self) -> int:
        """Requests being answered."""
        return 0 if self._speaker is None else self._speaker.calls


def _looks_like_http1(first: bytes) -> bool:
    """True when the bytes can begin an HTTP/1 request: a method of letters, a target, a version."""
    line, ended, _ = first[:8192].partition(b"\n")
    method = line.split(b" ", 1)[0]
    if not (method.isalpha() and method.isascii() and method.isupper()) or method == b"PRI":
        return False
    return not ended or line.rstrip().rpartition(b" ")[2].startswith(b"HTTP/1.")
