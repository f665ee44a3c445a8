"""The sending half of a connection: streams, flow-control windows and the frames that wait.

`Sender.out` collects bytes until the shell takes them; `wake` tells the shell that there are some.
Data that flow control or a full socket holds back waits in its stream and is sent round-robin.

Source: RFC 9113 sections 5.1, 5.2 and 6.9.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable

from sampan.wire.h2 import frames
from sampan.wire.h2.codes import MAX_WINDOW_BYTES, ConnectionFault, ErrorCode
from sampan.wire.h2.headers import Head
from sampan.wire.h2.settings import DEFAULT_WINDOW_BYTES, MIN_MAX_FRAME_BYTES, Limits

__all__ = ["Sender", "Stream"]

_RESET_MEMORY = 1_000
# Waiting data moves to the output in shares, so that a full socket is noticed in between.
_TURN_BYTES = 512 * 1024


class Stream:
    """One stream. Subclass it to receive its events; its methods send.

    The receiving side calls `on_request` when a whole request arrived in one piece, otherwise
    `on_head`, `on_data`... After `on_reset` nothing more arrives and sending has no effect.
    `on_data` hands over flow-control bytes: give them back with `credit` when they are consumed.
    """

    # Class attributes are the initial values; only what differs is stored in the object.
    remote_done = False
    local_done = False
    head_received = False
    declared_bytes: int | None = None  # the peer's content-length
    received_bytes = 0
    recv_window = 0
    queued_bytes = 0
    wants_drain = False
    _uncredited = 0
    _queue: deque[tuple[bytes | memoryview, bool, bool]] | None = None

    def __init__(self, link: Sender, stream_id: int, head: Head | None) -> None:
        self.link = link
        self.stream_id = stream_id
        self.head = head
        self.send_window = link.peer_stream_window
        if head is not None:
            self.declared_bytes = head.content_length

    def on_request(self, body: bytes) -> None:
        """Take a complete request (server role)."""
        self.on_head(False)
        if not self.local_done:
            self.on_data(body, True)

    def on_head(self, end_stream: bool) -> None:
        """Take the request (server) or final response (client) headers, now in `head`."""

    def on_data(self, data: bytes, end_stream: bool) -> None:
        """Take a piece of the body."""

    def on_trailers(self, trailers: Head) -> None:
        """Take the trailers; they end the peer's side."""

    def on_reset(self, code: ErrorCode, reason: str) -> None:
        """Take the abrupt end of the stream or of the whole connection."""

    def on_drain(self) -> None:
        """Called once after `wants_drain` was set and everything queued has been sent."""

    def send_headers(self, block: bytes, end_stream: bool = False) -> None:
        """Send a header block, in order with data that waits."""
        if self.local_done:
            return
        if self._queue:
            self._queue.append((block, end_stream, True))
            return
        self.link.write_headers(self.stream_id, block, end_stream)
        if end_stream:
            self.link.end_local(self)

    def send_data(self, data: bytes, end_stream: bool = False) -> None:
        """Send `data`, now as far as the windows reach, the rest when they open."""
        if self.local_done:
            return
        link = self.link
        size = len(data)
        if (
            link.fast
            and not self._queue
            and size <= self.send_window
            and size <= link.send_window
            and size <= link.peer_max_frame_bytes
        ):
            self.send_window -= size
            link.send_window -= size
            link.write(frames.data_header(self.stream_id, size, end_stream) + data)
            if end_stream:
                link.end_local(self)
            return
        if self._queue is None:
            self._queue = deque()
        self._queue.append((data, end_stream, False))
        self.queued_bytes += size
        link.enqueue(self, size)

    def reset(self, code: ErrorCode) -> None:
        """Abandon the stream with RST_STREAM; no event follows."""
        self.link.reset_stream(self, code)

    def credit(self, size_bytes: int) -> None:
        """Let the peer send `size_bytes` more on this stream."""
        self._uncredited += size_bytes
        if self.remote_done:
            return
        if self._uncredited >= self.link.limits.stream_window_bytes // 2:
            self.recv_window += self._uncredited
            self.link.write(frames.window_update(self.stream_id, self._uncredited))
            self._uncredited = 0

    def flush_queue(self) -> int:
        """Send at most one frame's worth per waiting item; return the bytes of data sent.

        The caller is the link's pump. A return of 0 with items left means that a window is shut.
        """
        queue, link = self._queue, self.link
        while queue:
            item, end_stream, is_headers = queue[0]
            if is_headers:
                queue.popleft()
                link.write_headers(self.stream_id, bytes(item), end_stream)
                if end_stream:
                    link.end_local(self)
                continue
            size = len(item)
            if size:  # an empty frame needs no window
                size = min(size, self.send_window, link.send_window, link.peer_max_frame_bytes)
            if size < len(item):
                if size <= 0:
                    return 0
                rest = memoryview(item)
                item, queue[0] = rest[:size], (rest[size:], end_stream, False)
                end_stream = False
            else:
                queue.popleft()
            self.send_window -= size
            link.send_window -= size
            self.queued_bytes -= size
            link.write(frames.data_header(self.stream_id, size, end_stream) + item)
            if end_stream:
                link.end_local(self)
            if size:
                return size
        return 0

    @property
    def waiting(self) -> bool:
        """True while something is queued that has not been sent."""
        return bool(self._queue)

    def drop_queue(self) -> int:
        """Forget what waits; return how many bytes that was."""
        dropped, self.queued_bytes = self.queued_bytes, 0
        self._queue = None
        return dropped


class Sender:
    """Windows, streams and output of one connection."""

    def __init__(self, limits: Limits, server: bool, wake: Callable[[], None]) -> None:
        self.limits = limits
        self.server = server
        self.wake = wake
        self.out: list[bytes] = []
        self.streams: dict[int, Stream] = {}
        self.send_window = DEFAULT_WINDOW_BYTES
        self._widened_bytes = DEFAULT_WINDOW_BYTES
        self.peer_stream_window = DEFAULT_WINDOW_BYTES
        self.peer_max_frame_bytes = MIN_MAX_FRAME_BYTES
        self.queued_bytes = 0
        self.stream_limit = limits.max_concurrent_streams
        self.paused = False
        self.draining = False
        # True while nothing stands between a small reply and the socket.
        self.fast = True
        self._table_update = b""
        self._turn_left = _TURN_BYTES
        # Streams that wait: ready ones in turn, and those whose own window is shut.
        self._ready: OrderedDict[int, Stream] = OrderedDict()
        self._shut: dict[int, Stream] = {}
        self._reset_ids: OrderedDict[int, None] = OrderedDict()

    @property
    def data_sent_bytes(self) -> int:
        """Flow-controlled bytes sent so far: all that the window ever was, less what is left."""
        return self._widened_bytes - self.send_window

    def write(self, data: bytes) -> None:
        """Append to the output and wake the shell if it was empty."""
        if not self.out:
            self.wake()
        self.out.append(data)

    def take_output(self) -> bytes:
        """Return everything to write now, b"" when there is nothing."""
        out = self.out
        if not out:
            return b""
        data = out[0] if len(out) == 1 else b"".join(out)
        out.clear()
        self._turn_left = _TURN_BYTES
        if self._ready and not self.paused:
            self.pump()
        return data

    def pause(self) -> None:
        """The socket is full: queue data instead of writing it."""
        self.paused = True
        self.fast = False

    def resume(self) -> None:
        """The socket takes data again."""
        self.paused = False
        self.refresh_fast()
        self.pump()

    def refresh_fast(self) -> None:
        """Work out `fast` again after one of its conditions changed."""
        self.fast = not (self.paused or self.draining or self._table_update or self._ready)
        crowded = self.queued_bytes > self.limits.queued_bytes
        self.stream_limit = 0 if crowded else self.limits.max_concurrent_streams

    def write_headers(self, stream_id: int, block: bytes, end_stream: bool) -> None:
        """Write a header block now, after the table size update that the peer may have asked."""
        if self._table_update:
            block, self._table_update = self._table_update + block, b""
            self.refresh_fast()
        self.write(frames.headers(stream_id, block, end_stream, self.peer_max_frame_bytes))

    def shrink_table(self) -> None:
        """The peer wants a smaller HPACK table: ours becomes empty (RFC 7541 section 4.2)."""
        self._table_update = b"\x20"
        self.fast = False

    def enqueue(self, stream: Stream, size_bytes: int) -> None:
        """Note that `stream` has more to send and send what can be sent."""
        self.queued_bytes += size_bytes
        if stream.stream_id not in self._shut:
            self._ready[stream.stream_id] = stream
            self.pump()
        else:
            self.refresh_fast()

    def pump(self) -> None:
        """Send waiting data round-robin until the windows, the socket or a turn's share end it."""
        ready = self._ready
        while ready and not self.paused and self._turn_left > 0:
            stream_id, stream = ready.popitem(last=False)
            sent = stream.flush_queue()
            self.queued_bytes -= sent
            self._turn_left -= sent
            if stream.waiting:
                if self.send_window > 0 and stream.send_window <= 0:
                    self._shut[stream_id] = stream
                else:
                    ready[stream_id] = stream
                    ready.move_to_end(stream_id, last=sent > 0)
            elif stream.wants_drain and not stream.local_done:
                stream.wants_drain = False
                stream.on_drain()
            if not sent and self.send_window <= 0:
                break
        self.refresh_fast()

    def widen(self, stream: Stream | None, increment_bytes: int) -> None:
        """Apply a WINDOW_UPDATE. Raises ConnectionFault when the connection's window overflows."""
        if stream is None:
            self.send_window += increment_bytes
            self._widened_bytes += increment_bytes
            if self.send_window > MAX_WINDOW_BYTES:
                raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "connection window overflow")
        else:
            stream.send_window += increment_bytes
            if stream.send_window > MAX_WINDOW_BYTES:
                self.fail_stream(stream, ErrorCode.FLOW_CONTROL_ERROR, "stream window overflow")
                return
            self._unshut(stream)
        if self._ready:
            self.pump()

    def _unshut(self, stream: Stream) -> None:
        if stream.send_window > 0 and self._shut.pop(stream.stream_id, None) is not None:
            self._ready[stream.stream_id] = stream

    def change_stream_window(self, initial_bytes: int) -> None:
        """Apply the peer's INITIAL_WINDOW_SIZE to every open stream; windows may go negative.

        What may now be sent is left to the next `pump`.
        """
        delta = initial_bytes - self.peer_stream_window
        self.peer_stream_window = initial_bytes
        for stream in self.streams.values():
            stream.send_window += delta
            if stream.send_window > MAX_WINDOW_BYTES:
                raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "stream window overflow")
            self._unshut(stream)

    def end_local(self, stream: Stream) -> None:
        """Our side of `stream` is complete; a server then needs no more of the request."""
        stream.local_done = True
        if stream.remote_done:
            self.forget(stream)
        elif self.server:
            self.reset_stream(stream, ErrorCode.NO_ERROR)

    def reset_stream(self, stream: Stream, code: ErrorCode) -> None:
        """Send RST_STREAM and forget the stream; no effect when it is gone already."""
        if self.streams.get(stream.stream_id) is not stream:
            stream.local_done = stream.remote_done = True
            return
        self.write(frames.reset(stream.stream_id, code))
        self.remember_reset(stream.stream_id)
        self.forget(stream)

    def fail_stream(self, stream: Stream, code: ErrorCode, reason: str) -> None:
        """Reset `stream` because of its peer and tell it."""
        self.reset_stream(stream, code)
        stream.on_reset(code, reason)

    def remember_reset(self, stream_id: int) -> None:
        """Frames that the peer sent before it learns of our RST_STREAM are no error."""
        self._reset_ids[stream_id] = None
        if len(self._reset_ids) > _RESET_MEMORY:
            self._reset_ids.popitem(last=False)

    def forget(self, stream: Stream) -> None:
        """Drop every trace of `stream`."""
        stream.local_done = stream.remote_done = True
        stream_id = stream.stream_id
        self.streams.pop(stream_id, None)
        if stream.waiting:
            self.queued_bytes -= stream.drop_queue()
            self._shut.pop(stream_id, None)
            self._ready.pop(stream_id, None)
            self.refresh_fast()
        if self.draining and not self.streams:
            self.wake()
