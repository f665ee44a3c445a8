"""What becomes of a proposed entry, for those who wait for it and for those who do not."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from sampan.store.core.log import Log
from sampan.wire.grpc.status import Code, Metadata, RpcError

__all__ = ["Outcome", "Unheard", "barrier"]


class Outcome:
    """A responder whose answer a coroutine awaits as `future`, which may raise RpcError."""

    __slots__ = ("future",)

    def __init__(self) -> None:
        self.future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def reply(self, message: bytes) -> None:
        """Take the serialized response."""
        if not self.future.done():
            self.future.set_result(message)

    def fail(self, code: Code, message: str, metadata: Metadata = ()) -> None:
        """Take the error."""
        if not self.future.done():
            self.future.set_exception(RpcError(code, message, metadata))


async def barrier(log: Log) -> None:
    """Wait until everything acknowledged before is applied here. Raises RpcError."""
    passed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def ready() -> None:
        if not passed.done():
            passed.set_result(None)

    def failed(error: RpcError) -> None:
        if not passed.done():
            passed.set_exception(error)

    log.read_barrier(ready, failed)
    await passed


class Unheard:
    """A responder for an entry that nobody waits for; `settled` is called either way."""

    __slots__ = ("_settled",)

    def __init__(self, settled: Callable[[], None] | None = None) -> None:
        self._settled = settled

    def reply(self, message: bytes) -> None:
        """Take the serialized response."""
        del message
        if self._settled is not None:
            self._settled()

    def fail(self, code: Code, message: str, metadata: Metadata = ()) -> None:
        """Take the error: nobody is told, the proposer tries again when it is due."""
        del code, message, metadata
        if self._settled is not None:
            self._settled()
