"""The receiving half: bytes in, calls on streams, for a server or a client.

`Connection.receive` parses whole frames out of what has arrived and never raises for anything a
peer sends: a broken rule ends the stream (RST_STREAM) or the connection (GOAWAY, then `dead`).
The common case takes a short way of its own: a HEADERS frame that opens the next stream is
told nothing yet, and when its DATA, whole, comes out of the same read, it gets the request in
one call. Everything else goes through the frame handlers in `intake.py`.

    connection = Connection(limits, accept=make_stream, wake=schedule_flush, clock=loop.time)
    connection.start()
    connection.receive(data)            # from the socket
    transport.write(connection.take_output())

Source: RFC 9113.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

from sampan.wire.h2 import frames
from sampan.wire.h2.codes import (
    CONTINUATION,
    MAX_STREAM_ID,
    PREFACE,
    SETTINGS,
    ConnectionFault,
    ErrorCode,
    StreamFault,
)
from sampan.wire.h2.headers import Kind
from sampan.wire.h2.intake import Accept, Intake
from sampan.wire.h2.sender import Stream
from sampan.wire.h2.settings import DEFAULT_WINDOW_BYTES, MIN_MAX_FRAME_BYTES, Limits, Setting

__all__ = ["Connection"]

_FRAME = struct.Struct(">IBI").unpack_from
_HEADERS_WHOLE = 0x0104  # type HEADERS, flags END_HEADERS only
_DATA_LAST = 0x0001  # type DATA, flags END_STREAM only
_SHUTDOWN_PING = b"shutdown"
_REQUEST = Kind.REQUEST


class Connection(Intake):
    """One HTTP/2 connection.

    `accept(connection, stream_id, head)` makes the Stream for a request; None makes this a client.
    `wake()` is called when output appears; `clock()` returns monotonic seconds.
    """

    def __init__(
        self,
        limits: Limits,
        *,
        accept: Accept | None,
        wake: Callable[[], None],
        clock: Callable[[], float],
    ) -> None:
        super().__init__(limits, accept, wake, clock)
        self._rest = b""
        self._preface = PREFACE if accept is not None else b""

    def start(self) -> None:
        """Write the preface (client) and our SETTINGS. Call once, before `receive`."""
        limits = self.limits
        values = [
            (Setting.INITIAL_WINDOW_SIZE, limits.stream_window_bytes),
            (Setting.MAX_HEADER_LIST_SIZE, limits.header_list_bytes),
        ]
        if limits.max_frame_bytes != MIN_MAX_FRAME_BYTES:
            values.append((Setting.MAX_FRAME_SIZE, limits.max_frame_bytes))
        if self.server:
            if limits.max_concurrent_streams < 2**32 - 1:
                values.append((Setting.MAX_CONCURRENT_STREAMS, limits.max_concurrent_streams))
        else:
            self.write(PREFACE)
            values.append((Setting.ENABLE_PUSH, 0))
        self.write(frames.settings(values))
        extra = limits.connection_window_bytes - DEFAULT_WINDOW_BYTES
        if extra > 0:
            self.write(frames.window_update(0, extra))

    def receive(self, data: bytes) -> None:
        """Take bytes from the peer. Afterwards `dead` says whether the connection is over."""
        if self.dead:
            return
        if self._rest:
            data = self._rest + data
            self._rest = b""
        try:
            if self._preface:
                data = self._match_preface(data)
            position = self._parse(data)
        except ConnectionFault as fault:
            self._fresh.clear()
            self.abort(fault.code, fault.reason)
            return
        if self._fresh:
            self._begin_fresh()
        if position < len(data):
            self._rest = data[position:]

    @property
    def partial(self) -> bool:
        """True while a frame, a header block or the preface has begun and not ended."""
        return bool(self._rest or self._partial is not None or not self._started)

    @property
    def started(self) -> bool:
        """True once the peer's preface and first SETTINGS are here."""
        return self._started

    @property
    def progress(self) -> tuple[int, int]:
        """A value that changes with every complete frame."""
        return (self.last_stream_id, self._frames)

    def _match_preface(self, data: bytes) -> bytes:
        size = min(len(data), len(self._preface))
        if data[:size] != self._preface[:size]:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "bad connection preface")
        self._preface = self._preface[size:]
        return data[size:]

    def _parse(self, data: bytes) -> int:
        """Handle every whole frame in `data`; return where the first incomplete one starts."""
        position, end = 0, len(data)
        most = self.limits.max_frame_bytes
        streams, fresh, known = self.streams, self._fresh, self._decoder.memo.get
        while end - position >= 9:
            word, flags, stream_id = _FRAME(data, position)
            start = position + 9
            length = word >> 8
            stop = start + length
            if length > most:
                raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "frame too large")
            if stop > end:
                break
            position = stop
            if self._plain:
                what = (word & 0xFF) << 8 | flags
                if what == _DATA_LAST:
                    # The whole body of a request whose headers came just before.
                    stream = streams.get(stream_id)
                    if (
                        stream is not None
                        and not stream.head_received
                        and length <= self._recv_window
                        and ((declared := stream.declared_bytes) is None or declared == length)
                    ):
                        self._recv_window -= length
                        if self._recv_window < self._recv_low:
                            self._credit_connection()
                        stream.head_received = stream.remote_done = True
                        stream.on_request(data[start:stop])
                        continue
                elif (
                    what == _HEADERS_WHOLE
                    and stream_id == self.last_stream_id + 2
                    and len(streams) < self.stream_limit
                ):
                    block = data[start:stop]
                    head = known(block) or self._decoder.decode(block)
                    if head.kind is _REQUEST:
                        self.last_stream_id = stream_id
                        stream = streams[stream_id] = self._accept(self, stream_id, head)
                        fresh.append(stream)
                    else:
                        self._refuse_new_stream(stream_id, head)
                    continue
            if self.dead:
                break
            try:
                self._frame(word & 0xFF, flags, stream_id & MAX_STREAM_ID, data[start:stop])
            except StreamFault as fault:
                self.refuse(fault.stream_id, fault.code, fault.reason)
        return position

    def _frame(self, kind: int, flags: int, stream_id: int, payload: bytes) -> None:
        self._frames += 1
        if self._partial is not None and (kind != CONTINUATION or stream_id != self._partial[0]):
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "header block interrupted")
        if not self._started:
            if kind != SETTINGS or flags & 1:
                raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "first frame is not SETTINGS")
            self._started = True
            self._refresh_plain()
        if kind < len(self._handlers):
            self._handlers[kind](flags, stream_id, payload)
        else:
            self.spend("unknown frames")

    def open(self, stream: Stream, block: bytes, end_stream: bool = False) -> None:
        """Send a request (client role): `stream` gets its id and `block` is written."""
        stream.stream_id = self.next_stream_id
        self.next_stream_id += 2
        stream.send_window = self.peer_stream_window
        stream.recv_window = self.limits.stream_window_bytes
        self.streams[stream.stream_id] = stream
        stream.send_headers(block, end_stream)

    def ping(self, payload: bytes) -> None:
        """Send a PING; the answer comes to `on_ping_ack`."""
        self.write(frames.ping(payload, ack=False))

    def shut_down(self) -> None:
        """Announce the end (server role): streams already sent by the peer are still accepted.

        The final GOAWAY follows when the peer has answered, or with `finish_shutdown`.
        """
        if not self.draining and not self.dead:
            self.draining = True
            self.fast = False
            self.write(frames.goaway(MAX_STREAM_ID, ErrorCode.NO_ERROR))
            self.ping(_SHUTDOWN_PING)

    def finish_shutdown(self) -> None:
        """Refuse all further streams; the connection is `finished` when the last one ends."""
        if self.draining and not self.refusing and not self.dead:
            self.refusing = True
            self._plain = False
            self.write(frames.goaway(max(self.last_stream_id, 0), ErrorCode.NO_ERROR))

    def handle_ping_ack(self, payload: bytes) -> None:
        """Take the answer to a PING of ours."""
        if payload == _SHUTDOWN_PING and self.draining:
            self.finish_shutdown()
        else:
            self.on_ping_ack(payload)

    @property
    def finished(self) -> bool:
        """True when a graceful end is complete: close the socket after the output is written."""
        return self.refusing and not self.streams
