"""One call of a client: the stream events of HTTP/2 turned into a result, messages and a status."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable

from sampan.loop.channel_codec import (
    metadata_of,
    reset_error,
    response_error,
    status_error,
)
from sampan.loop.channel_errors import NotProcessedError
from sampan.wire.grpc.framing import MessageReader, pack
from sampan.wire.grpc.status import Code, Metadata, RpcError
from sampan.wire.h2.codes import ErrorCode
from sampan.wire.h2.connection import Connection
from sampan.wire.h2.headers import Head
from sampan.wire.h2.sender import Stream

__all__ = ["Call", "ClientStream", "StreamingCall", "UnaryCall"]

# Above this many bytes of unread messages a stream gets no more flow-control credit.
_UNREAD_BYTES = 256 * 1024
_SEND_BUFFER_BYTES = 256 * 1024


class Call(Stream):
    """What unary and streaming calls share: reading a gRPC response off an HTTP/2 stream.

    Subclasses take `on_message` and, once, `on_end` with the error or None. `on_close` is called
    after that.
    """

    def __init__(
        self, connection: Connection, limit_bytes: int, on_close: Callable[[], None]
    ) -> None:
        super().__init__(connection, 0, None)
        self._connection = connection
        self._reader: MessageReader | None = None
        self._limit_bytes = limit_bytes
        self._on_close = on_close
        self.ended = False

    def on_message(self, message: bytes) -> None:
        """Take a response message."""
        raise NotImplementedError

    def on_end(self, error: RpcError | None) -> None:
        """Take the end of the call."""
        raise NotImplementedError

    def on_head(self, end_stream: bool) -> None:
        """Check the response headers; with `end_stream` they are the trailers too."""
        head = self.head
        if head is None:
            return
        error = response_error(head)
        if error is not None:
            self.fail(error)
        elif end_stream:
            self._complete(self._status(head))
        else:
            self._reader = MessageReader(self._limit_bytes, head.get("grpc-encoding") == "gzip")

    def on_data(self, data: bytes, end_stream: bool) -> None:
        """Take a piece of the body."""
        if self._reader is None or self.ended:
            return
        try:
            for message in self._reader.feed(data):
                self.on_message(message)
        except RpcError as error:
            self.fail(error)
            return
        self.credit_received(len(data))
        if end_stream:
            self.fail(RpcError(Code.INTERNAL, "the response ended without trailers"))

    def credit_received(self, size_bytes: int) -> None:
        """Give flow-control credit for bytes received; at once unless overridden."""
        self.credit(size_bytes)

    def on_trailers(self, trailers: Head) -> None:
        """Take the status."""
        error = self._status(trailers)
        if error is None and self._reader is not None and self._reader.pending_bytes:
            error = RpcError(Code.INTERNAL, "the response ended inside a message")
        self._complete(error)

    def on_reset(self, code: ErrorCode, reason: str) -> None:
        """Take the abrupt end: of this stream, or of the whole connection."""
        if code is ErrorCode.REFUSED_STREAM:
            self._complete(NotProcessedError(f"stream refused: {reason}"))
        elif self._connection.dead:
            self._complete(RpcError(Code.UNAVAILABLE, f"connection lost: {reason}"))
        else:
            self._complete(reset_error(code, reason))

    def fail(self, error: RpcError, code: ErrorCode = ErrorCode.CANCEL) -> None:
        """End the call from this side: the server is told to stop."""
        if self.ended:
            return
        if self.stream_id:
            self.reset(code)
        self._complete(error)

    def expire(self) -> None:
        """End the call because its deadline has passed."""
        self.fail(RpcError(Code.DEADLINE_EXCEEDED, "context deadline exceeded"))

    def _status(self, head: Head) -> RpcError | None:
        try:
            return status_error(head)
        except RpcError as error:
            return error

    def _complete(self, error: RpcError | None) -> None:
        if self.ended:
            return
        self.ended = True
        if self.stream_id and not self.local_done:
            # The server answered before it had read the whole request; it wants no more of it.
            self.reset(ErrorCode.CANCEL)
        self.on_end(error)
        self._on_close()


class UnaryCall(Call):
    """One message in, one out: completes `reply` from within `data_received`, without a task."""

    def __init__(
        self,
        connection: Connection,
        limit_bytes: int,
        on_close: Callable[[], None],
        reply: asyncio.Future[bytes],
    ) -> None:
        super().__init__(connection, limit_bytes, on_close)
        self.reply = reply
        self._message: bytes | None = None

    def on_message(self, message: bytes) -> None:
        """Keep the one message."""
        if self._message is not None:
            raise RpcError(Code.INTERNAL, "a unary response has more than one message")
        self._message = message

    def on_end(self, error: RpcError | None) -> None:
        """Complete the future."""
        if self.reply.done():
            return
        if error is not None:
            self.reply.set_exception(error)
        elif self._message is None:
            self.reply.set_exception(RpcError(Code.INTERNAL, "OK without a response message"))
        else:
            self.reply.set_result(self._message)


class StreamingCall(Call):
    """Many messages: they wait here until they are read, and flow control waits with them."""

    def __init__(self, connection: Connection, limit_bytes: int, owner: ClientStream) -> None:
        super().__init__(connection, limit_bytes, owner.closed)
        self._owner = owner

    def on_head(self, end_stream: bool) -> None:
        """Hand the initial metadata over."""
        super().on_head(end_stream)
        if self.head is not None and not self.ended:
            self._owner.got_head(self.head)

    def on_message(self, message: bytes) -> None:
        """Queue a message for the reader."""
        self._owner.got_message(message)

    def credit_received(self, size_bytes: int) -> None:
        """Credit as long as the reader keeps up."""
        self._owner.got_bytes(size_bytes)

    def on_drain(self) -> None:
        """Everything queued has been sent."""
        self._owner.drained()

    def on_end(self, error: RpcError | None) -> None:
        """Tell the reader."""
        self._owner.got_end(error)


def _call(queue: Callable[[], None]) -> None:
    queue()


class ClientStream:
    """A streaming call. `send` and `close_send` never wait; iterate or `receive` to read.

    The connection is made in the background: what is sent before it stands goes out with it. After
    the last message iteration ends (status OK) or raises RpcError; so does `receive`, which returns
    None for OK. Reading again repeats the outcome. Cancelling a waiting `receive` loses nothing.
    """

    def __init__(self, *, gzip: bool = False) -> None:
        self._gzip = gzip
        self._call: StreamingCall | None = None
        self._write_now: Callable[[Callable[[], None]], None] = _call
        self._early: list[bytes] = []
        self._early_close = False
        self._inbox: deque[bytes] = deque()
        self._unread_bytes = 0
        self._owed_bytes = 0
        self._error: RpcError | None = None
        self._ended = False
        self._reader: asyncio.Future[None] | None = None
        self._drainers: list[asyncio.Future[None]] = []
        self._head: Head | None = None
        self._on_closed: Callable[[], None] | None = None

    @property
    def done(self) -> bool:
        """True when the call has ended; messages may still wait to be read."""
        return self._ended

    @property
    def metadata(self) -> Metadata:
        """The server's initial metadata, empty before it has come."""
        return metadata_of(self._head) if self._head is not None else ()

    @property
    def buffered_bytes(self) -> int:
        """Bytes sent that flow control or the connection has not taken yet."""
        if self._call is not None:
            return self._call.queued_bytes
        return sum(map(len, self._early))

    def send(self, message: bytes) -> None:
        """Queue one message. No effect once the call is done."""
        if self._ended:
            return
        if self._call is None:
            self._early.append(message)
        else:
            self._call.send_data(pack(message, self._gzip))

    def send_now(self, message: bytes) -> None:
        """As `send`, but written at once and not in the loop's next turn."""
        self._write_now(lambda: self.send(message))

    def close_send(self) -> None:
        """Half-close: no more messages from this side."""
        if self._ended:
            return
        if self._call is None:
            self._early_close = True
        else:
            self._call.send_data(b"", end_stream=True)

    async def drain(self) -> None:
        """Wait until little of what was sent still waits, or the call is done."""
        if self._ended or self.buffered_bytes < _SEND_BUFFER_BYTES:
            return
        if self._call is not None:
            self._call.wants_drain = True
        waiter = asyncio.get_running_loop().create_future()
        self._drainers.append(waiter)
        await waiter

    async def receive(self) -> bytes | None:
        """Return the next message, None after the last one; raises RpcError for a bad status."""
        while not self._inbox:
            if self._ended:
                if self._error is not None:
                    raise self._error
                return None
            self._reader = asyncio.get_running_loop().create_future()
            try:
                await self._reader
            finally:
                self._reader = None
        message = self._inbox.popleft()
        self._unread_bytes -= len(message)
        if self._owed_bytes and self._unread_bytes < _UNREAD_BYTES:
            owed, self._owed_bytes = self._owed_bytes, 0
            if self._call is not None and not self._ended:
                self._call.credit(owed)
        return message

    async def receive_all(self) -> list[bytes] | None:
        """Return all messages that wait, one at least; None and errors as for `receive`."""
        first = await self.receive()
        if first is None:
            return None
        found = [first]
        while self._inbox:
            found.append(await self.receive() or b"")
        return found

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while (message := await self.receive()) is not None:
            yield message

    def cancel(self) -> None:
        """End the call from this side; reading then raises RpcError CANCELLED."""
        self.fail(RpcError(Code.CANCELLED, "cancelled by the caller"))

    def fail(self, error: RpcError) -> None:
        """End the call from this side with `error`. No effect once it is done."""
        if self._call is not None:
            self._call.fail(error)
        else:
            self.got_end(error)
            self.closed()

    def attach(self, call: StreamingCall, write_now: Callable[[Callable[[], None]], None]) -> None:
        """Put the call, whose headers have been sent, under this stream."""
        self._call = call
        self._write_now = write_now
        for message in self._early:
            call.send_data(pack(message, self._gzip))
        self._early.clear()
        if self._early_close:
            call.send_data(b"", end_stream=True)
        if self._drainers and call.queued_bytes:
            call.wants_drain = True
        else:
            self.drained()

    def when_closed(self, callback: Callable[[], None]) -> None:
        """Call `callback` when the call is over (the channel's bookkeeping)."""
        self._on_closed = callback

    def closed(self) -> None:
        """The call is over."""
        callback, self._on_closed = self._on_closed, None
        if callback is not None:
            callback()

    def got_head(self, head: Head) -> None:
        """The response headers have come."""
        self._head = head

    def got_message(self, message: bytes) -> None:
        """A message has come."""
        self._inbox.append(message)
        self._unread_bytes += len(message)
        self._wake()

    def got_bytes(self, size_bytes: int) -> None:
        """`size_bytes` of body have come, which the server may send again when they are read."""
        if self._unread_bytes >= _UNREAD_BYTES:
            self._owed_bytes += size_bytes
        elif self._call is not None:
            self._call.credit(size_bytes)

    def got_end(self, error: RpcError | None) -> None:
        """The call has ended."""
        if self._ended:
            return
        self._ended = True
        self._error = error
        self._early.clear()
        self._wake()
        self.drained()

    def drained(self) -> None:
        """Nothing waits to be sent any more."""
        drainers, self._drainers = self._drainers, []
        for waiter in drainers:
            if not waiter.done():
                waiter.set_result(None)

    def _wake(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)
