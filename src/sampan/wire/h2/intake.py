"""Frame by frame: the general way in, with every rule of RFC 9113 section 6 checked."""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Callable
from typing import TypeAlias

from sampan.wire.h2 import frames
from sampan.wire.h2.budget import Budget
from sampan.wire.h2.codes import (
    ACK,
    END_HEADERS,
    END_STREAM,
    PADDED,
    PRIORITY_FLAG,
    ConnectionFault,
    ErrorCode,
    StreamFault,
)
from sampan.wire.h2.headers import Head, HeaderDecoder, Kind, encode_headers
from sampan.wire.h2.sender import Sender, Stream
from sampan.wire.h2.settings import Limits, Setting, parse_settings

__all__ = ["Accept", "Intake"]

_WORD = struct.Struct(">I").unpack_from
_TOO_LARGE = encode_headers([(":status", "431")])
_SKIPPED_RANGES = 64
_UNLIMITED = 2**31
# Not a flag of the wire: remembers a bad dependency until the header block is complete.
_SELF_DEPENDENT = 0x100


def _ignore(*_: object) -> None:
    """Take an event that nobody asked for."""


class Intake(Sender):
    """The frame handlers; `Connection` feeds them.

    Hooks that a shell may replace: `on_ping()` (the peer sent one, it has been answered),
    `on_ping_ack(payload)`, `on_goaway(last_stream_id, code, debug)`, `on_settings()`.
    """

    def __init__(
        self,
        limits: Limits,
        accept: Accept | None,
        wake: Callable[[], None],
        clock: Callable[[], float],
    ) -> None:
        super().__init__(limits, accept is not None, wake)
        self._accept: Accept = accept or _accept_nothing
        self._decoder = HeaderDecoder(limits.header_list_bytes)
        self._glitches = Budget(limits.glitch_rate_per_s, limits.glitch_burst, clock)
        self.dead = False
        self.refusing = False
        self.fault: ConnectionFault | None = None
        self.on_ping: Callable[[], None] = _ignore
        self.on_ping_ack: Callable[[bytes], None] = _ignore
        self.on_goaway: Callable[[int, int, bytes], None] = _ignore
        self.on_settings: Callable[[], None] = _ignore
        self.peer_max_streams = _UNLIMITED
        self.peer_going_away = False
        self.last_stream_id = -1 if self.server else 0
        self.next_stream_id = 1
        self._recv_window = limits.connection_window_bytes
        self._recv_low = limits.connection_window_bytes // 2
        # Ids the peer jumped over: such a stream was never open.
        self._skipped: deque[tuple[int, int]] = deque(maxlen=_SKIPPED_RANGES)
        # A header block in progress: stream, flags of its HEADERS, bytes so far.
        self._partial: tuple[int, int, bytearray] | None = None
        self._started = False
        self._frames = 0
        # True while the short way of `Connection` may be taken.
        self._plain = False
        # Streams opened on the short way whose `on_head` waits for the end of the read.
        self._fresh: list[Stream] = []
        self._ping_mark = (-2, 0)
        self._handlers: tuple[Callable[[int, int, bytes], None], ...] = (
            self._on_data,
            self._on_headers,
            self._on_priority,
            self._on_reset,
            self._on_settings_frame,
            self._on_push_promise,
            self._on_ping_frame,
            self._on_goaway_frame,
            self._on_window_update,
            self._on_continuation,
        )

    def abort(self, code: ErrorCode, reason: str) -> None:
        """End the connection at once: GOAWAY, and every stream is told."""
        if self.dead:
            return
        self.fault = ConnectionFault(code, reason)
        self.write(frames.goaway(max(self.last_stream_id, 0), code, reason.encode()[:256]))
        self.lost(code, reason)

    def lost(self, code: ErrorCode, reason: str) -> None:
        """The connection is gone: no output any more, every stream is told."""
        self.dead = True
        self._plain = False
        streams = list(self.streams.values())
        self.streams.clear()
        self._ready.clear()
        self._shut.clear()
        self.queued_bytes = 0
        for stream in streams:
            stream.local_done = stream.remote_done = True
            stream.drop_queue()
            stream.on_reset(code, reason)

    def refuse(self, stream_id: int, code: ErrorCode, reason: str) -> None:
        """Answer a stream error, whether the stream is known or not."""
        self.spend(reason)
        stream = self.streams.get(stream_id)
        if stream is not None:
            self.fail_stream(stream, code, reason)
        else:
            self.write(frames.reset(stream_id, code))
            self.remember_reset(stream_id)

    def _begin(self, stream: Stream) -> None:
        """Tell a stream of its request's headers, its body being still to come."""
        stream.head_received = True
        stream.recv_window = self.limits.stream_window_bytes
        stream.on_head(False)

    def _begin_fresh(self) -> None:
        fresh, self._fresh[:] = self._fresh[:], ()
        for stream in fresh:
            if not stream.head_received and not stream.local_done:
                self._begin(stream)

    def spend(self, what: str, tokens: float = 1.0) -> None:
        """Charge the peer for a frame that makes work; raises ConnectionFault when it overdoes."""
        if not self._glitches.spend(tokens):
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, f"too many frames: {what}")

    def _refresh_plain(self) -> None:
        busy = self._partial is not None or self.refusing or self.dead
        self._plain = self.server and self._started and not busy

    def handle_ping_ack(self, payload: bytes) -> None:
        """Take the answer to a PING of ours."""
        self.on_ping_ack(payload)

    def _credit_connection(self) -> None:
        grant = self.limits.connection_window_bytes - self._recv_window
        self._recv_window += grant
        self.write(frames.window_update(0, grant))

    def _idle(self, stream_id: int) -> bool:
        """True when nobody has opened `stream_id` yet."""
        if stream_id & 1:
            return (
                stream_id > self.last_stream_id
                if self.server
                else (stream_id >= self.next_stream_id)
            )
        return True

    def _on_data(self, flags: int, stream_id: int, payload: bytes) -> None:
        if not stream_id:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "DATA on stream 0")
        size = len(payload)
        self._recv_window -= size
        if self._recv_window < self._recv_low:
            if self._recv_window < 0:
                raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "connection window exceeded")
            self._credit_connection()
        if flags & PADDED:
            payload = _unpad(payload)
        stream = self.streams.get(stream_id)
        if stream is None:
            if self._idle(stream_id):
                raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "DATA on an idle stream")
            if stream_id in self._reset_ids:
                return
            raise StreamFault(stream_id, ErrorCode.STREAM_CLOSED, "DATA on a closed stream")
        if stream.remote_done:
            raise StreamFault(stream_id, ErrorCode.STREAM_CLOSED, "DATA after END_STREAM")
        if not stream.head_received:
            if not self.server:
                raise StreamFault(stream_id, ErrorCode.PROTOCOL_ERROR, "DATA before HEADERS")
            self._begin(stream)
            if stream.local_done:
                return
        stream.recv_window -= size
        if stream.recv_window < 0:
            raise StreamFault(stream_id, ErrorCode.FLOW_CONTROL_ERROR, "stream window exceeded")
        if size > len(payload):
            self.spend("padding", 0.25)
            stream.credit(size - len(payload))
        end_stream = bool(flags & END_STREAM)
        if not payload and not end_stream:
            self.spend("empty DATA")
        stream.received_bytes += len(payload)
        self._check_length(stream, end_stream)
        stream.remote_done = end_stream
        stream.on_data(payload, end_stream)
        self._settle(stream)

    def _check_length(self, stream: Stream, end_stream: bool) -> None:
        """Hold a declared content-length against what has arrived (RFC 9113 section 8.1.1)."""
        declared = stream.declared_bytes
        if declared is None or self._bodiless(stream):
            return
        received = stream.received_bytes
        if received > declared or (end_stream and received != declared):
            raise StreamFault(stream.stream_id, ErrorCode.PROTOCOL_ERROR, "content-length mismatch")

    def _bodiless(self, stream: Stream) -> bool:
        """True for a response whose content-length does not announce a body."""
        status = stream.head.status if stream.head is not None else 0
        return not self.server and stream.received_bytes == 0 and status in (0, 204, 304)

    def _settle(self, stream: Stream) -> None:
        if stream.remote_done and stream.local_done and stream.stream_id in self.streams:
            self.forget(stream)

    def _on_headers(self, flags: int, stream_id: int, payload: bytes) -> None:
        if not stream_id:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "HEADERS on stream 0")
        if flags & PADDED:
            payload = _unpad(payload)
        if flags & PRIORITY_FLAG:
            if len(payload) < 5:
                raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "HEADERS too short")
            if _WORD(payload)[0] & 0x7FFFFFFF == stream_id:
                flags |= _SELF_DEPENDENT
            payload = payload[5:]
        if flags & END_HEADERS:
            self._on_block(flags, stream_id, payload)
        else:
            self._partial = (stream_id, flags, bytearray(payload))
            self._plain = False

    def _on_continuation(self, flags: int, stream_id: int, payload: bytes) -> None:
        if self._partial is None:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "CONTINUATION without HEADERS")
        _, head_flags, block = self._partial
        block += payload
        if len(block) > self._decoder.block_limit_bytes:
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, "header block too large")
        if not payload:
            self.spend("empty CONTINUATION", 4)
        if flags & END_HEADERS:
            self._partial = None
            self._refresh_plain()
            self._on_block(head_flags, stream_id, bytes(block))
        else:
            self.spend("CONTINUATION")

    def _on_block(self, flags: int, stream_id: int, block: bytes) -> None:
        """Handle a complete header block; it is decoded whatever becomes of its stream."""
        head = self._decoder.decode(block)
        if flags & _SELF_DEPENDENT:
            if self.server and stream_id & 1:
                self.last_stream_id = max(self.last_stream_id, stream_id)
            raise StreamFault(stream_id, ErrorCode.PROTOCOL_ERROR, "stream depends on itself")
        end_stream = bool(flags & END_STREAM)
        stream = self.streams.get(stream_id)
        if stream is None:
            if self.server:
                self._on_new_stream(stream_id, head, end_stream)
            else:
                self._on_late_headers(stream_id)
            return
        if stream.remote_done:
            raise StreamFault(stream_id, ErrorCode.STREAM_CLOSED, "HEADERS after END_STREAM")
        if self.server and not stream.head_received:
            self._begin(stream)
        if stream.head_received:
            if head.kind is not Kind.TRAILERS or not end_stream:
                raise StreamFault(stream_id, ErrorCode.PROTOCOL_ERROR, "bad trailers")
            self._check_length(stream, True)
            stream.remote_done = True
            stream.on_trailers(head)
        else:
            self._on_response(stream, head, end_stream)
        self._settle(stream)

    def _on_late_headers(self, stream_id: int) -> None:
        if self._idle(stream_id):
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "HEADERS on a stream never opened")
        if stream_id not in self._reset_ids:
            raise StreamFault(stream_id, ErrorCode.STREAM_CLOSED, "HEADERS on a closed stream")

    def _on_response(self, stream: Stream, head: Head, end_stream: bool) -> None:
        if head.kind is not Kind.RESPONSE:
            reason = head.reason or "headers are no response"
            raise StreamFault(stream.stream_id, ErrorCode.PROTOCOL_ERROR, reason)
        if head.status < 200:
            if end_stream or head.status == 101:
                raise StreamFault(stream.stream_id, ErrorCode.PROTOCOL_ERROR, "bad 1xx response")
            self.spend("informational responses")
            return
        stream.head = head
        stream.declared_bytes = head.content_length
        stream.head_received = True
        stream.remote_done = end_stream
        stream.on_head(end_stream)

    def _on_new_stream(self, stream_id: int, head: Head, end_stream: bool) -> None:
        if stream_id <= self.last_stream_id or not stream_id & 1:
            self._on_old_stream(stream_id)
            return
        if stream_id > self.last_stream_id + 2:
            self._skipped.append((self.last_stream_id + 2, stream_id))
        if self.refusing:
            return
        self.last_stream_id = stream_id
        if len(self.streams) >= self.stream_limit:
            raise StreamFault(stream_id, ErrorCode.REFUSED_STREAM, "too many streams")
        if head.kind is not Kind.REQUEST:
            self._refuse_head(stream_id, head, end_stream)
            return
        if end_stream and head.content_length:
            raise StreamFault(stream_id, ErrorCode.PROTOCOL_ERROR, "content-length mismatch")
        stream = self._accept(self, stream_id, head)
        stream.head_received = True
        stream.recv_window = self.limits.stream_window_bytes
        stream.remote_done = end_stream
        self.streams[stream_id] = stream
        stream.on_head(end_stream)

    def _refuse_new_stream(self, stream_id: int, head: Head) -> None:
        """Refuse what looked like the common case and is no request."""
        self.last_stream_id = stream_id
        try:
            self._refuse_head(stream_id, head, end_stream=False)
        except StreamFault as fault:
            self.refuse(stream_id, fault.code, fault.reason)

    def _refuse_head(self, stream_id: int, head: Head, end_stream: bool) -> None:
        if head.kind is Kind.OVERSIZED:
            self.spend("oversized header lists")
            self.write_headers(stream_id, _TOO_LARGE, end_stream=True)
            if not end_stream:
                self.write(frames.reset(stream_id, ErrorCode.NO_ERROR))
                self.remember_reset(stream_id)
            return
        reason = head.reason or "headers are no request"
        raise StreamFault(stream_id, ErrorCode.PROTOCOL_ERROR, reason)

    def _on_old_stream(self, stream_id: int) -> None:
        if not stream_id & 1 or any(low <= stream_id < high for low, high in self._skipped):
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "unexpected stream id")
        if stream_id not in self._reset_ids:
            raise ConnectionFault(ErrorCode.STREAM_CLOSED, "HEADERS on a closed stream")
        self.spend("HEADERS on a reset stream")

    def _on_priority(self, flags: int, stream_id: int, payload: bytes) -> None:
        if not stream_id:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "PRIORITY on stream 0")
        if len(payload) != 5:
            raise StreamFault(stream_id, ErrorCode.FRAME_SIZE_ERROR, "PRIORITY length is not 5")
        if _WORD(payload)[0] & 0x7FFFFFFF == stream_id:
            raise StreamFault(stream_id, ErrorCode.PROTOCOL_ERROR, "stream depends on itself")
        self.spend("PRIORITY")

    def _on_reset(self, flags: int, stream_id: int, payload: bytes) -> None:
        if len(payload) != 4:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "RST_STREAM length is not 4")
        if not stream_id or self._idle(stream_id):
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "RST_STREAM on an idle stream")
        stream = self.streams.get(stream_id)
        if self.server or stream is None:
            self.spend("RST_STREAM")
        if stream is None:
            return
        if self.server and not stream.head_received:
            self._begin(stream)
        number = _WORD(payload)[0]
        code = ErrorCode(number) if number <= 0xD else ErrorCode.INTERNAL_ERROR
        self.forget(stream)
        stream.on_reset(code, "reset by the peer")

    def _on_settings_frame(self, flags: int, stream_id: int, payload: bytes) -> None:
        if stream_id:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "SETTINGS on a stream")
        self.spend("SETTINGS")
        if flags & ACK:
            if payload:
                raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "SETTINGS ACK with a payload")
            return
        for identifier, value in parse_settings(payload):
            if identifier == Setting.INITIAL_WINDOW_SIZE:
                self.change_stream_window(value)
            elif identifier == Setting.MAX_FRAME_SIZE:
                self.peer_max_frame_bytes = value
            elif identifier == Setting.HEADER_TABLE_SIZE and value < 4096:
                self.shrink_table()
            elif identifier == Setting.MAX_CONCURRENT_STREAMS:
                self.peer_max_streams = value
        self.write(frames.SETTINGS_ACK)
        # Only now: data behind the acknowledgement obeys the new settings, and the peer knows it.
        if self._ready:
            self.pump()
        self.on_settings()

    def _on_push_promise(self, flags: int, stream_id: int, payload: bytes) -> None:
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "PUSH_PROMISE is not allowed")

    def _on_ping_frame(self, flags: int, stream_id: int, payload: bytes) -> None:
        if stream_id:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "PING on a stream")
        if len(payload) != 8:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "PING length is not 8")
        if flags & ACK:
            self.handle_ping_ack(payload)
            return
        # Clients probe the bandwidth with a PING per round trip of real traffic: those are free.
        mark = (self.last_stream_id, self.data_sent_bytes)
        if mark == self._ping_mark:
            self.spend("PING")
        self._ping_mark = mark
        self.write(frames.ping(payload, ack=True))
        self.on_ping()

    def _on_goaway_frame(self, flags: int, stream_id: int, payload: bytes) -> None:
        if stream_id:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "GOAWAY on a stream")
        if len(payload) < 8:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "GOAWAY too short")
        self.spend("GOAWAY")
        last = _WORD(payload)[0] & 0x7FFFFFFF
        code = _WORD(payload, 4)[0]
        self.peer_going_away = True
        if not self.server:
            for number in [n for n in self.streams if n > last]:
                stream = self.streams[number]
                self.forget(stream)
                stream.on_reset(ErrorCode.REFUSED_STREAM, "the server is going away")
        self.on_goaway(last, code, payload[8:])

    def _on_window_update(self, flags: int, stream_id: int, payload: bytes) -> None:
        if len(payload) != 4:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "WINDOW_UPDATE length is not 4")
        increment = _WORD(payload)[0] & 0x7FFFFFFF
        if not stream_id:
            if not increment:
                raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "WINDOW_UPDATE of 0")
            self.widen(None, increment)
            return
        stream = self.streams.get(stream_id)
        if stream is None:
            if self._idle(stream_id):
                raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "WINDOW_UPDATE on an idle stream")
            return
        if not increment:
            raise StreamFault(stream_id, ErrorCode.PROTOCOL_ERROR, "WINDOW_UPDATE of 0")
        self.widen(stream, increment)


Accept: TypeAlias = Callable[[Intake, int, Head], Stream]


def _accept_nothing(link: Intake, stream_id: int, head: Head) -> Stream:
    raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a client accepts no streams")


def _unpad(payload: bytes) -> bytes:
    """Strip the pad length and the padding."""
    if not payload or payload[0] >= len(payload):
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "padding exceeds the frame")
    return payload[1 : len(payload) - payload[0]]
