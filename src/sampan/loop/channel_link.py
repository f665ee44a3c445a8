"""One HTTP/2 connection of a channel: the socket, keepalive, and calls that wait for their turn."""

from __future__ import annotations

import asyncio
import struct
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

from sampan.loop.channel_call import Call
from sampan.loop.channel_errors import NotProcessedError
from sampan.wire.grpc.status import Code, RpcError
from sampan.wire.h2.codes import MAX_STREAM_ID, ErrorCode
from sampan.wire.h2.connection import Connection
from sampan.wire.h2.settings import Limits

__all__ = ["Keepalive", "Link"]

_LIMITS = Limits(
    stream_window_bytes=1024 * 1024,
    connection_window_bytes=16 * 1024 * 1024,
    glitch_burst=100_000,
    glitch_rate_per_s=10_000.0,
)
_PING = struct.pack(">Q", 0x73616D70616E)
_CLOSE_REASON = "the channel is closed"


@dataclass(frozen=True, slots=True)
class Keepalive:
    """Ping after `time_s` of silence (None: never), give up `timeout_s` after it."""

    time_s: float | None
    timeout_s: float


class Link(asyncio.Protocol):
    """A connection under way, established (`ready` done) and finally `closed`.

    `start(begin, call)` runs `begin()` at once or as soon as the server's MAX_CONCURRENT_STREAMS
    allows; it must open the call's stream. `on_unusable` is called once when no new call may use
    this connection any more: it was lost, or the server is going away.
    """

    def __init__(self, keepalive: Keepalive, on_unusable: Callable[[Link, int], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self.connection = Connection(
            _LIMITS, accept=None, wake=self._schedule_flush, clock=self._loop.time
        )
        self.connection.on_settings = self._on_settings
        self.connection.on_goaway = self._on_goaway
        self.connection.on_ping_ack = self._on_ping_ack
        self.ready: asyncio.Future[None] = self._loop.create_future()
        self.closed: asyncio.Future[None] = self._loop.create_future()
        self.usable = True
        self._keepalive = keepalive
        self._on_unusable = on_unusable
        self._transport: asyncio.Transport | None = None
        self._flush_scheduled = False
        self._receiving = False
        self._waiting: deque[tuple[Callable[[], None], Call]] = deque()
        self._heard_at = 0.0
        self._pinged_at: float | None = None
        self._timer: asyncio.TimerHandle | None = None

    # ---- the socket

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the preface."""
        # uvloop's transports are no subclasses of asyncio's.
        self._transport = cast(asyncio.Transport, transport)
        self._heard_at = self._loop.time()
        ssl_object = transport.get_extra_info("ssl_object")
        if ssl_object is not None and ssl_object.selected_alpn_protocol() not in ("h2", None):
            self._end(ErrorCode.HTTP_1_1_REQUIRED, "the server does not speak HTTP/2 over TLS")
            return
        self.connection.start()
        if self._keepalive.time_s is not None:
            self._timer = self._loop.call_later(self._keepalive.time_s, self._tick)

    def data_received(self, data: bytes) -> None:
        """Take bytes; whatever they make us send goes out in one write."""
        self._heard_at = self._loop.time()
        self._pinged_at = None
        connection = self.connection
        self._receiving = True
        connection.receive(data)
        self._receiving = False
        if connection.out and not self._flush_scheduled:
            # Callers woken by these bytes send their next calls in this same loop turn.
            self._flush_scheduled = True
            self._loop.call_soon(self._flush)
        if connection.dead:
            fault = connection.fault
            self._end(ErrorCode.NO_ERROR, fault.reason if fault else "protocol error")

    def eof_received(self) -> bool:
        """Close our side too."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail everything that is still under way."""
        self._end(ErrorCode.NO_ERROR, str(exc) if exc else "closed by the server")
        if not self.closed.done():
            self.closed.set_result(None)

    def pause_writing(self) -> None:
        """The socket is full."""
        self.connection.pause()

    def resume_writing(self) -> None:
        """The socket takes data again."""
        self.connection.resume()

    # ---- calls

    def start(self, begin: Callable[[], None], call: Call) -> None:
        """Run `begin`, now or when a stream is free; an ended call is skipped."""
        connection = self.connection
        if not self.usable:
            call.fail(NotProcessedError("the connection takes no more calls"))
        elif self._waiting or len(connection.streams) >= connection.peer_max_streams:
            self._waiting.append((begin, call))
        else:
            begin()
            if connection.next_stream_id >= MAX_STREAM_ID - 1:
                self._retire(ErrorCode.NO_ERROR)

    def stream_ended(self) -> None:
        """A call has ended: see soon, when its stream is gone, who can go on."""
        if self._waiting or not self.usable:
            self._loop.call_soon(self._proceed)

    def _proceed(self) -> None:
        """Start calls that waited for a stream; close a retired connection after its last call."""
        connection = self.connection
        while self._waiting and len(connection.streams) < connection.peer_max_streams:
            begin, call = self._waiting.popleft()
            if not call.ended:
                begin()
        if not self.usable:
            self._close_if_idle()

    @property
    def idle(self) -> bool:
        """True when no call is under way."""
        return not self.connection.streams and not self._waiting

    def close(self, reason: str = _CLOSE_REASON) -> None:
        """End the connection at once; calls under way fail with CANCELLED."""
        for stream in tuple(self.connection.streams.values()):
            if isinstance(stream, Call):
                stream.fail(RpcError(Code.CANCELLED, reason))
        if not self.connection.dead:
            self.connection.abort(ErrorCode.NO_ERROR, reason)
            self._flush()
        self._end(ErrorCode.NO_ERROR, reason)

    # ---- inside

    def write_now(self, queue: Callable[[], None]) -> None:
        """Run `queue` and write what it queued, without waiting for the loop's next turn."""
        self._flush_scheduled = True
        queue()
        self._flush()

    def _schedule_flush(self) -> None:
        if not self._receiving and not self._flush_scheduled:
            self._flush_scheduled = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flush_scheduled = False
        data = self.connection.take_output()
        if data and self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)
        if self.connection.out and not self.connection.paused:
            self._schedule_flush()

    def _on_settings(self) -> None:
        if not self.ready.done():
            self.ready.set_result(None)
        self.stream_ended()

    def _on_goaway(self, last_stream_id: int, code: int, debug: bytes) -> None:
        self._retire(code)

    def _retire(self, code: int) -> None:
        """Take no new calls; those under way finish."""
        if not self.usable:
            return
        self.usable = False
        self._on_unusable(self, code)
        self._fail_waiting("the server is going away")
        self._loop.call_soon(self._close_if_idle)

    def _close_if_idle(self) -> None:
        if self.idle and not self.usable and self._transport is not None:
            self._flush()
            self._transport.close()

    def _end(self, code: ErrorCode, reason: str) -> None:
        """The connection is over: tell everyone, once."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self.ready.done():
            self.ready.set_exception(NotProcessedError(f"connection lost: {reason}"))
            # A connection attempt that nobody waits for any more is no unhandled error.
            self.ready.exception()
        if self.usable:
            self.usable = False
            self._on_unusable(self, code)
        self._fail_waiting(reason)
        self._flush()
        if not self.connection.dead:
            self.connection.lost(code, reason)
        if self._transport is not None:
            self._transport.close()

    def _fail_waiting(self, reason: str) -> None:
        waiting, self._waiting = self._waiting, deque()
        for _, call in waiting:
            call.fail(NotProcessedError(reason))

    def _on_ping_ack(self, payload: bytes) -> None:
        if self._timer is not None and self._keepalive.time_s is not None:
            self._timer.cancel()
            self._timer = self._loop.call_later(self._keepalive.time_s, self._tick)

    def _tick(self) -> None:
        """Ping a silent server that owes us something, give one up that does not answer."""
        time_s, timeout_s = self._keepalive.time_s, self._keepalive.timeout_s
        if time_s is None:
            return
        now = self._loop.time()
        silent_s = now - self._heard_at
        if self._pinged_at is not None:
            self._timer = None
            if self._transport is not None:
                self._end(ErrorCode.NO_ERROR, "keepalive: no answer to a ping")
                self._transport.abort()
            return
        if silent_s < time_s:
            delay_s = time_s - silent_s
        elif self.idle:
            delay_s = time_s
        else:
            self._pinged_at = now
            self.connection.ping(_PING)
            delay_s = timeout_s
        self._timer = self._loop.call_later(delay_s, self._tick)
