"""A call with a stream of messages on either side or both, served by one task."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

from sampan.loop.rpc_call import GZIP_HEAD, HEAD, OK_TRAILERS, RpcCall
from sampan.wire.grpc.framing import MessageReader, pack
from sampan.wire.grpc.metadata import encode_metadata
from sampan.wire.grpc.service import StreamCall
from sampan.wire.grpc.status import Code, Metadata, RpcError
from sampan.wire.h2.headers import encode_headers
from sampan.wire.h2.settings import MIN_MAX_FRAME_BYTES

__all__ = ["StreamServerCall"]

_LOG = logging.getLogger(__name__)


class StreamServerCall(RpcCall):
    """Implements `StreamCall`.

    Received data is credited to the client while less than a stream window of it waits unread, so
    a handler that does not read stops its client and holds a bounded amount.
    """

    _task: asyncio.Task[None] | None = None
    _readable: asyncio.Future[None] | None = None
    _drained: asyncio.Future[None] | None = None
    _take_at_once: Callable[[bytes], None] | None = None
    _ended = False

    def on_request(self, body: bytes) -> None:
        """Take a request that arrived in one piece."""
        self.on_head(False)
        self.on_data(body, True)

    def on_head(self, end_stream: bool) -> None:
        """Start the handler."""
        self._inbox: deque[bytes] = deque()
        self._unread_bytes = 0
        self._withheld_bytes = 0
        self._reader = MessageReader(self.host.limits.receive_message_bytes, self.route.gzip_in)
        self._ended = end_stream
        self.arm()
        method = self.route.method
        assert method is not None
        handler: Callable[[StreamCall], Awaitable[None]] = method.handler  # type: ignore[assignment]
        self._task = self.host.loop.create_task(self._serve(handler))

    def on_data(self, data: bytes, end_stream: bool) -> None:
        """Take a piece of the request."""
        if self.done:
            return
        try:
            messages = self._reader.feed(data)
            self._unread_bytes += sum(map(len, messages))
            self.hold(self._unread_bytes + self._reader.pending_bytes)
            if end_stream and self._reader.pending_bytes:
                raise RpcError(Code.INTERNAL, "grpc: the stream ended within a message")
        except RpcError as error:
            self.fail(error.code, error.message)
            return
        self._ended = end_stream
        self.route.stats.count_received(len(messages))
        if self._take_at_once is not None:
            self._hand_over(messages, len(data))
            return
        self._inbox.extend(messages)
        if self._unread_bytes < self.link.limits.stream_window_bytes:
            self.credit(len(data))
        else:
            self._withheld_bytes += len(data)
        if messages or end_stream:
            self._wake_reader()

    def _hand_over(self, messages: Sequence[bytes], size_bytes: int) -> None:
        """Let whoever consumes the stream have the messages now."""
        self._unread_bytes = 0
        self.hold(self._reader.pending_bytes)
        self.credit(size_bytes)
        try:
            for message in messages:
                if self._take_at_once is not None and not self.done:
                    self._take_at_once(message)
        except RpcError as error:
            self.fail(error.code, error.message, error.metadata)
        except Exception:
            self._fail_internally()
        if self._ended:
            self._wake_reader()

    def on_trailers(self, trailers: object) -> None:
        """The request ends with trailers, which gRPC ignores."""
        self._ended = True
        self._wake_reader()

    async def receive(self) -> bytes | None:
        """Return the next message, None after the client's half-close."""
        while True:
            if self.done:
                raise RpcError(Code.CANCELLED, "context canceled")
            if self._inbox:
                return self._take()
            if self._ended:
                return None
            self._readable = self.host.loop.create_future()
            await self._readable

    def _take(self) -> bytes:
        message = self._inbox.popleft()
        self._unread_bytes -= len(message)
        self.hold(self._unread_bytes + self._reader.pending_bytes)
        if self._withheld_bytes and self._unread_bytes < self.link.limits.stream_window_bytes:
            withheld, self._withheld_bytes = self._withheld_bytes, 0
            self.credit(withheld)
        return message

    async def consume(self, take: Callable[[bytes], None]) -> None:
        """Hand every message to `take` as it arrives; return at the client's half-close."""
        while self._inbox:
            take(self._take())
        if not self._ended and not self.done:
            self._take_at_once = take
            self._readable = self.host.loop.create_future()
            await self._readable
        if self.done:
            raise RpcError(Code.CANCELLED, "context canceled")

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while (message := await self.receive()) is not None:
            yield message

    def send(self, message: bytes) -> None:
        """Queue one message for sending."""
        if self.done:
            return
        if not self._head_sent:
            self.send_metadata(())
        self.route.stats.count_sent()
        self.send_data(pack(message, self.route.gzip_out))

    def send_all(self, messages: Sequence[bytes]) -> None:
        """Queue several messages, many to a frame."""
        if self.done:
            return
        if not self._head_sent:
            self.send_metadata(())
        self.route.stats.count_sent(len(messages))
        gzip = self.route.gzip_out
        data = b"".join([pack(message, gzip) for message in messages])
        for start in range(0, len(data), MIN_MAX_FRAME_BYTES):
            self.send_data(data[start : start + MIN_MAX_FRAME_BYTES])

    @property
    def buffered_bytes(self) -> int:
        """Bytes that flow control or the socket has not taken yet."""
        return self.queued_bytes

    async def drain(self) -> None:
        """Wait until everything queued is on its way, or the call is done."""
        while self.queued_bytes and not self.done:
            self.wants_drain = True
            if self._drained is None or self._drained.done():
                self._drained = self.host.loop.create_future()
            await asyncio.shield(self._drained)

    def on_drain(self) -> None:
        """Let `drain` return."""
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)

    def send_metadata(self, metadata: Metadata) -> None:
        """Send the response headers now; only the first call has an effect."""
        if self.done or self._head_sent:
            return
        block = GZIP_HEAD if self.route.gzip_out else HEAD
        self.send_headers(block + encode_headers(encode_metadata(metadata)))
        self._head_sent = True

    async def _serve(self, handler: Callable[[StreamCall], Awaitable[None]]) -> None:
        try:
            await handler(self)
        except RpcError as error:
            self.fail(error.code, error.message, error.metadata)
        except asyncio.CancelledError:
            self.fail(Code.UNAVAILABLE, "the server is shutting down")
            raise
        except Exception:
            self._fail_internally()
        else:
            self._complete()

    def _fail_internally(self) -> None:
        """End the call after an error that nobody has foreseen; it is the current one."""
        _LOG.exception("%s failed", self.path)
        self.fail(Code.INTERNAL, "internal error")

    def _complete(self) -> None:
        if self.done:
            return
        self.send_headers(OK_TRAILERS if self._head_sent else HEAD + OK_TRAILERS, end_stream=True)
        self.finish(Code.OK)

    def finish(self, code: Code | int) -> None:
        """End the handler, unless it is the one that ended the call."""
        super().finish(code)
        self._wake_reader()
        self.on_drain()
        task, self._task = self._task, None
        if task is None:
            return  # the connection ended before the handler began
        self._inbox.clear()
        if task is not asyncio.current_task():
            task.cancel()

    def _wake_reader(self) -> None:
        if self._readable is not None and not self._readable.done():
            self._readable.set_result(None)
