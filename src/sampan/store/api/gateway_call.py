"""RPCs made inside the process: what a gateway request looks like to a service."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence

from sampan.wire.grpc.service import Peer
from sampan.wire.grpc.status import Code, Metadata, RpcError

__all__ = ["LocalCall", "LocalStreamCall", "LocalUnaryCall"]

_DRAINED_BYTES = 64 * 1024


class LocalCall:
    """A call without a connection; ends by an answer, an error or `cancel`."""

    def __init__(
        self, path: str, *, metadata: Metadata, peer: Peer, timeout_s: float | None = None
    ) -> None:
        self.path = path
        self.metadata = metadata
        self.peer = peer
        self.timeout_s = timeout_s
        self.done = False
        self.error: RpcError | None = None
        self._callbacks: list[Callable[[], object]] = []
        loop = asyncio.get_running_loop()
        self._deadline = loop.call_later(timeout_s, self._late) if timeout_s is not None else None

    def _late(self) -> None:
        self.fail(Code.DEADLINE_EXCEEDED, "context deadline exceeded")

    def fail(self, code: Code, message: str, metadata: Metadata = ()) -> None:
        """End the call with an error status. No effect once the call is done."""
        if not self.done:
            self.error = RpcError(code, message, metadata)
            self.end()

    def cancel(self) -> None:
        """End the call because whoever made it has gone."""
        self.fail(Code.CANCELLED, "context canceled")

    def on_done(self, callback: Callable[[], object]) -> None:
        """Call `callback` once when the call ends, at once if it has."""
        if self.done:
            callback()
        else:
            self._callbacks.append(callback)

    def end(self) -> None:
        """Mark the call as done and tell who waits for that."""
        self.done = True
        if self._deadline is not None:
            self._deadline.cancel()
        callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback()


class LocalUnaryCall(LocalCall):
    """A call that takes one message and answers one."""

    def __init__(
        self, path: str, *, metadata: Metadata, peer: Peer, timeout_s: float | None = None
    ) -> None:
        super().__init__(path, metadata=metadata, peer=peer, timeout_s=timeout_s)
        self._ended = asyncio.Event()
        self._message = b""
        self.on_done(self._ended.set)

    def reply(self, message: bytes) -> None:
        """Answer with `message`. No effect once the call is done."""
        if not self.done:
            self._message = message
            self.end()

    async def result(self) -> bytes:
        """Wait for the answer. Raises the RpcError the call ended with."""
        try:
            await self._ended.wait()
        except asyncio.CancelledError:
            self.cancel()
            raise
        if self.error is not None:
            raise self.error
        return self._message


class LocalStreamCall(LocalCall):
    """A call whose requests are all known at the start; `hold_open` keeps its sending side open."""

    def __init__(
        self,
        path: str,
        requests: Sequence[bytes],
        *,
        hold_open: bool,
        metadata: Metadata,
        peer: Peer,
        timeout_s: float | None = None,
    ) -> None:
        super().__init__(path, metadata=metadata, peer=peer, timeout_s=timeout_s)
        self._requests = deque(requests)
        self._hold_open = hold_open
        self._responses: deque[bytes] = deque()
        self._changed = asyncio.Event()
        self._taken = asyncio.Event()
        self._ended = asyncio.Event()
        self.buffered_bytes = 0
        self.on_done(self._wake)

    def _wake(self) -> None:
        self._ended.set()
        self._changed.set()
        self._taken.set()

    # ---- the service's side

    async def receive(self) -> bytes | None:
        """Return the next request, None after the last. Raises RpcError once the call is done."""
        if not self.done and self._requests:
            return self._requests.popleft()
        if not self.done and self._hold_open:
            await self._ended.wait()
        if self.done:
            raise self.error or RpcError(Code.CANCELLED, "context canceled")
        return None

    async def _iterate(self) -> AsyncIterator[bytes]:
        while (request := await self.receive()) is not None:
            yield request

    async def consume(self, take: Callable[[bytes], None]) -> None:
        """Hand over every request as it comes."""
        async for message in self:
            take(message)

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._iterate()

    def send(self, message: bytes) -> None:
        """Queue one response. No effect once the call is done."""
        if not self.done:
            self._responses.append(message)
            self.buffered_bytes += len(message)
            self._changed.set()

    def send_all(self, messages: Sequence[bytes]) -> None:
        """Queue several responses."""
        for message in messages:
            self.send(message)

    async def drain(self) -> None:
        """Wait until the reader has taken most of what is queued, or the call is done."""
        while not self.done and self.buffered_bytes > _DRAINED_BYTES:
            self._taken.clear()
            await self._taken.wait()

    def send_metadata(self, metadata: Metadata) -> None:
        """Do nothing: the gateway has no use for response headers."""

    # ---- the gateway's side

    async def next_response(self) -> bytes | None:
        """Return the next response, None after the last. Raises the call's RpcError after it."""
        while not self._responses:
            if self.done:
                if self.error is not None:
                    raise self.error
                return None
            self._changed.clear()
            await self._changed.wait()
        message = self._responses.popleft()
        self.buffered_bytes -= len(message)
        self._taken.set()
        return message
