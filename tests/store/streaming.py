"""A member with the watch, lease, election and lock services, and calls that are held open."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeVar

from google.protobuf.message import Message
from tests.store.served import Call, Member

from sampan.store.api import election, kv, lease, lock, watch
from sampan.store.core import encode
from sampan.store.core.watch import WatchHub
from sampan.store.pb import rpc_pb2 as pb
from sampan.wire.grpc.service import StreamMethod, UnaryMethod
from sampan.wire.grpc.status import Code, RpcError

_M = TypeVar("_M", bound=Message)

_PATIENCE_S = 10


class Bidi(Call):
    """A stream in both directions; while it is `unread` nothing of what is sent leaves it."""

    def __init__(self, token: str = "") -> None:
        super().__init__(token=token)
        self.unread = False
        self._inbound: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._arrived = asyncio.Event()
        self._room = asyncio.Event()
        self._at = 0
        self.task: asyncio.Task[None] | None = None

    # ---- the service's side

    async def receive(self) -> bytes | None:
        return await self._inbound.get()

    async def consume(self, take: Callable[[bytes], None]) -> None:
        async for message in self:
            take(message)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while (message := await self.receive()) is not None:
            yield message

    def send(self, message: bytes) -> None:
        if not self.done:
            super().send(message)
            self._arrived.set()
            if self.unread:
                self.buffered_bytes += len(message)

    async def drain(self) -> None:
        while self.buffered_bytes and not self.done:
            self._room.clear()
            await self._room.wait()

    # ---- the test's side

    def ask(self, request: Message) -> None:
        self._inbound.put_nowait(request.SerializeToString())

    def half_close(self) -> None:
        self._inbound.put_nowait(None)

    def read(self) -> None:
        """Let out what waits."""
        self.unread = False
        self.buffered_bytes = 0
        self._room.set()

    async def next(self, answer: type[_M]) -> _M:
        """Return the next message."""
        async with asyncio.timeout(_PATIENCE_S):
            while len(self.sent) <= self._at:
                self._arrived.clear()
                await self._arrived.wait()
        self._at += 1
        return answer.FromString(self.sent[self._at - 1])

    async def cancel(self) -> None:
        """End the call as a client does that goes away."""
        self.fail(Code.CANCELLED, "gone")
        self.outcome.exception()
        if self.task is not None:
            self.task.cancel()
            await asyncio.gather(self.task, return_exceptions=True)


class Serving(Member):
    """A member that can be watched."""

    def __init__(self) -> None:
        super().__init__()
        self.context.hub = WatchHub(
            self.mvcc, lambda revision: encode.header(7, 8, revision, 1), listen=self._listen
        )
        self.lessor.promote()
        for service in (kv, watch, lease, election, lock):
            self.methods.update(service.methods(self.context))
        self.open: list[Bidi] = []

    def _listen(self, on: bool) -> None:
        self.mvcc.observer = self.context.hub.notify if on else None

    def start(self, path: str, request: Message) -> Call:
        """Start a unary call; its `outcome` comes later."""
        method = self.methods[path]
        assert isinstance(method, UnaryMethod)
        call = Call(token=self.token)
        try:
            method.handler(call, request.SerializeToString())
        except RpcError as error:
            call.fail(error.code, error.message)
        return call

    async def call(self, path: str, request: Message, answer: type[_M]) -> _M:
        async with asyncio.timeout(_PATIENCE_S):
            return answer.FromString(await self.start(path, request).outcome)

    def stream_of(self, path: str) -> Bidi:
        """Open a stream."""
        method = self.methods[path]
        assert isinstance(method, StreamMethod)
        call = Bidi(self.token)
        self.open.append(call)

        async def serve() -> None:
            try:
                await method.handler(call)
            except RpcError as error:
                call.fail(error.code, error.message)
            else:
                call.reply(b"")

        call.task = asyncio.get_running_loop().create_task(serve())
        return call

    async def put(self, key: bytes, value: bytes = b"", lease_id: int = 0) -> int:
        request = pb.PutRequest(key=key, value=value, lease=lease_id)
        return (await self.ask("KV/Put", request, pb.PutResponse)).header.revision

    async def get(self, key: bytes) -> pb.RangeResponse:
        return await self.ask("KV/Range", pb.RangeRequest(key=key), pb.RangeResponse)

    async def delete(self, key: bytes) -> None:
        await self.ask("KV/DeleteRange", pb.DeleteRangeRequest(key=key), pb.DeleteRangeResponse)

    async def grant(self, lease_id: int, ttl_s: int = 60) -> pb.LeaseGrantResponse:
        request = pb.LeaseGrantRequest(ID=lease_id, TTL=ttl_s)
        return await self.ask("Lease/LeaseGrant", request, pb.LeaseGrantResponse)

    async def revoke(self, lease_id: int) -> None:
        request = pb.LeaseRevokeRequest(ID=lease_id)
        await self.ask("Lease/LeaseRevoke", request, pb.LeaseRevokeResponse)

    async def settle(self) -> None:
        """Let everything happen that can happen by itself."""
        for _ in range(20):
            await asyncio.sleep(0)

    async def close(self) -> None:
        for call in self.open:
            await call.cancel()
        await super().close()


def serving(test: Callable[[Serving], Awaitable[None]]) -> Callable[[], None]:
    """Make a test of a coroutine that gets a fresh member."""

    async def run() -> None:
        member = Serving()
        try:
            await test(member)
        finally:
            await member.close()

    def start() -> None:
        asyncio.run(run())

    start.__name__ = test.__name__
    return start
