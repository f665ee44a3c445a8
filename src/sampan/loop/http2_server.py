"""HTTP/2 on one accepted socket: the protocol core, its output and its clockwork."""

from __future__ import annotations

import asyncio
import logging

from sampan.loop.http2_request import Http2Request
from sampan.loop.route import Route, Router, is_grpc
from sampan.loop.rpc_call import RefusedCall
from sampan.loop.rpc_stats import RpcStats
from sampan.loop.server_limits import ServerLimits
from sampan.loop.stream_call import StreamServerCall
from sampan.loop.unary_call import UnaryServerCall
from sampan.wire.grpc.service import HttpHandler, Peer, UnaryMethod
from sampan.wire.h2.codes import ErrorCode
from sampan.wire.h2.connection import Connection
from sampan.wire.h2.headers import Head
from sampan.wire.h2.sender import Sender, Stream

__all__ = ["Http2Server"]

_LOG = logging.getLogger(__name__)
_PLAIN_HTTP = object()
_MAX_PING_STRIKES = 2
_IDLE_PING_INTERVAL_S = 7200.0


class Http2Server:
    """Serves the streams of one connection. The owner feeds `receive` and calls `sweep`."""

    def __init__(
        self,
        transport: asyncio.Transport,
        peer: Peer,
        router: Router,
        http: HttpHandler | None,
        limits: ServerLimits,
        stats: RpcStats,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self.loop = loop
        self.limits = limits
        self.peer = peer
        self.partial_bytes = 0
        self._transport = transport
        self._router = router
        self._http = http
        self._stats = stats
        self._corked = False
        self._closed = False
        self._paused_bytes = 0
        self._core = Connection(limits.http2, accept=self._accept, wake=self._wake, clock=loop.time)
        self._core.on_ping = self._on_ping
        self._core.on_ping_ack = self._on_ping_ack
        now = loop.time()
        self._ping_strikes = 0
        self._last_ping_s: float | None = None
        self._ping_mark = (-2, 0)
        self._received_bytes = 0
        self._keepalive_sent_s: float | None = None
        # What `sweep` saw last, and since when it has looked the same.
        self._receive_mark, self._received_s = 0, now
        self._partial_mark, self._partial_s = (0, 0), now
        self._stall_mark, self._stall_s = -1, now
        self._core.start()

    def receive(self, data: bytes) -> None:
        """Take bytes from the socket and write what they lead to, in one piece."""
        size = len(data)
        self._stats.bytes_received += size
        self._received_bytes += size
        core = self._core
        self._corked = True
        core.receive(data)
        self._corked = False
        if core.out or core.dead:
            self._flush()
        if core.paused:
            self._check_control_output()

    def _accept(self, link: Sender, stream_id: int, head: Head) -> Stream:
        route = head.route
        if route is None:
            route = head.route = self._router.resolve(head) if is_grpc(head) else _PLAIN_HTTP
        if type(route) is not Route:
            self._stats.http_requests += 1
            return Http2Request(link, stream_id, head, self, self._http)
        if route.error is not None:
            return RefusedCall(link, stream_id, head, self, route)
        if type(route.method) is UnaryMethod:
            return UnaryServerCall(link, stream_id, head, self, route)
        return StreamServerCall(link, stream_id, head, self, route)

    def _wake(self) -> None:
        if not self._corked:
            self.loop.call_soon(self._flush)

    def _flush(self) -> None:
        core = self._core
        data = core.take_output()
        if self._closed:
            return
        if data:
            self._stats.bytes_sent += len(data)
            self._transport.write(data)
        if core.dead:
            fault = core.fault
            if fault is not None:
                name = fault.code.name
                self._stats.faults[name] = self._stats.faults.get(name, 0) + 1
                _LOG.info("%s: closing: %s: %s", self.peer.address, name, fault.reason)
            self._close()
        elif core.finished and not core.out:
            self._close()

    def _close(self) -> None:
        self._closed = True
        self._transport.close()

    def _cut_off(self, reason: str) -> None:
        _LOG.info("%s: closing: %s", self.peer.address, reason)
        self._closed = True
        self._transport.abort()

    def _check_control_output(self) -> None:
        """Cut off a peer that reads nothing and still makes us answer."""
        grown = self._transport.get_write_buffer_size() - self._paused_bytes
        if grown > self.limits.control_buffer_bytes:
            self._cut_off("reads nothing and keeps asking")

    def pause(self) -> None:
        """The socket is full."""
        self._core.pause()
        # What waits for its turn already does not count against the peer.
        waiting = sum(map(len, self._core.out))
        self._paused_bytes = self._transport.get_write_buffer_size() + waiting

    def resume(self) -> None:
        """The socket takes bytes again."""
        self._core.resume()

    def lost(self) -> None:
        """The socket is gone."""
        self._closed = True
        if not self._core.dead:
            self._core.lost(ErrorCode.CANCEL, "connection lost")

    def half_closed(self) -> bool:
        """The peer ended its side: say that the socket is to be closed."""
        return False

    def shut_down(self) -> None:
        """Begin the graceful end."""
        self._core.shut_down()

    def finish_shutdown(self) -> None:
        """Take no more streams; close when those that are open have ended."""
        self._core.finish_shutdown()
        self._wake()

    @property
    def calls(self) -> int:
        """Open streams."""
        return len(self._core.streams)

    def _on_ping(self) -> None:
        """Hold the client's pings against the keepalive rules (as gRPC servers do)."""
        now = self.loop.time()
        mark = (self._core.last_stream_id, self._core.data_sent_bytes)
        if mark != self._ping_mark:
            self._ping_mark = mark
            self._ping_strikes = 0
            self._last_ping_s = now
            return
        allowed = self._core.streams or self.limits.keepalive_without_calls
        interval = self.limits.keepalive_min_time_s if allowed else _IDLE_PING_INTERVAL_S
        if self._last_ping_s is not None and now - self._last_ping_s < interval:
            self._ping_strikes += 1
            if self._ping_strikes > _MAX_PING_STRIKES:
                self._core.abort(ErrorCode.ENHANCE_YOUR_CALM, "too_many_pings")
                self._wake()
        self._last_ping_s = now

    def _on_ping_ack(self, payload: bytes) -> None:
        self._keepalive_sent_s = None

    def sweep(self, now: float) -> None:
        """Look at the clock: keepalive, half-sent frames, sockets that take nothing."""
        if self._closed:
            return
        self._sweep_keepalive(now)
        self._sweep_partial(now)
        self._sweep_stall(now)

    def _sweep_keepalive(self, now: float) -> None:
        if self._received_bytes != self._receive_mark:
            self._receive_mark = self._received_bytes
            self._received_s = now
            self._keepalive_sent_s = None
        elif self._keepalive_sent_s is not None:
            if now - self._keepalive_sent_s >= self.limits.keepalive_timeout_s:
                self._cut_off("keepalive ping not answered")
        elif now - self._received_s >= self.limits.keepalive_interval_s:
            self._keepalive_sent_s = now
            self._core.ping(b"keepaliv")

    def _sweep_partial(self, now: float) -> None:
        mark = self._core.progress
        if not self._core.partial or mark != self._partial_mark:
            self._partial_mark = mark
            self._partial_s = now
            return
        started = self._core.started
        bound = self.limits.partial_timeout_s if started else self.limits.handshake_timeout_s
        if now - self._partial_s >= bound:
            reason = "frame not completed in time" if started else "handshake timed out"
            self._core.abort(ErrorCode.ENHANCE_YOUR_CALM, reason)

    def _sweep_stall(self, now: float) -> None:
        size = self._transport.get_write_buffer_size()
        if not self._core.paused or size != self._stall_mark:
            self._stall_mark = size
            self._stall_s = now
        elif now - self._stall_s >= self.limits.stall_timeout_s:
            self._cut_off("the socket takes no bytes")
