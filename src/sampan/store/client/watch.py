"""A watch that survives anything: the shell that carries out what `resume` decides.

Each watch has a stream of its own. Real clients put many watches on one stream; here one slow
consumer then would hold the others back (or make the client buffer without bound), one denied or
broken watch would disturb the rest, and a progress request would wait for all of them. A stream
costs little: HTTP/2 multiplexes them on one connection and gives each its own flow control.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Literal

from sampan.loop.channel import ClientStream
from sampan.store.client import resume
from sampan.store.client.calls import Calls
from sampan.store.client.keys import Key, key_bytes, prefix_end
from sampan.store.client.resume import Resume, Step
from sampan.store.client.values import WatchBatch
from sampan.store.pb import rpc_pb2
from sampan.wire.grpc.status import Code, RpcError

__all__ = ["Filter", "Watch", "Watches"]

Filter = Literal["noput", "nodelete"]

_LIST_TIMEOUT_S = 60.0
_PATH = "/etcdserverpb.Watch/Watch"
# A member cut off from its leader breaks the stream instead of staying silent.
_REQUIRE_LEADER = (("hasleader", "true"),)


class Watch(AsyncIterator[WatchBatch]):
    """An endless iterator of batches; ends by `aclose`, or raises RpcError for a real refusal.

    Nothing is opened before the first `__anext__` or `ready`.
    """

    def __init__(self, calls: Calls, create: rpc_pb2.WatchCreateRequest, state: Resume) -> None:
        self._calls = calls
        self._dispatcher = calls.dispatcher
        self._create = create
        self._resume = state
        self._stream: ClientStream | None = None
        self._endpoint = 0
        self._step: Step | None = None
        self._closed = False

    @property
    def next_revision(self) -> int:
        """The first revision not yet delivered; 0 until the server has answered."""
        return self._resume.next_rev

    async def ready(self) -> None:
        """Wait until the server has accepted the watch: later changes will be seen."""
        while self._step is None or not isinstance(self._step.next, resume.Read):
            if self._step is not None and self._step.batch is not None:
                return
            await self._advance()

    def __aiter__(self) -> Watch:
        return self

    async def __anext__(self) -> WatchBatch:
        while True:
            if self._closed:
                raise StopAsyncIteration
            # A batch stays in the step until it is handed over: a cancelled wait loses none.
            if self._step is not None and self._step.batch is not None:
                batch = self._step.batch
                self._step = Step(self._step.next)
                return batch
            await self._advance()

    async def aclose(self) -> None:
        """End the watch; a waiting iteration stops."""
        self._closed = True
        self._drop_stream()

    async def __aenter__(self) -> Watch:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.aclose()

    def __del__(self) -> None:
        # An abandoned iterator (a `break`) must not leave its stream filling up.
        if self._stream is not None:
            self._stream.cancel()

    async def _advance(self) -> None:
        """Do the next thing; `_step` changes only when it is done."""
        if self._dispatcher.closed:
            raise RpcError(Code.CANCELLED, "the client is closed")
        if self._step is None:
            self._step = self._resume.step(resume.Begin())
            return
        event: resume.Input
        match self._step.next:
            case resume.Read():
                event = await self._read()
            case resume.Check():
                event = await self._list(count_only=True)
            case resume.Open(start_revision):
                event = await self._open(start_revision)
            case resume.Wait(delay_s):
                self._drop_stream()
                await asyncio.sleep(delay_s)
                event = resume.Waited()
            case resume.Refresh():
                self._drop_stream()
                event = await self._refresh()
            case resume.List():
                self._drop_stream()
                event = await self._list(count_only=False)
            case resume.Fail(error):
                self._drop_stream()
                raise error
        self._step = self._resume.step(event)

    async def _open(self, start_revision: int) -> resume.Input:
        self._drop_stream()
        self._create.start_revision = start_revision
        try:
            opened = await self._dispatcher.stream(_PATH, metadata=_REQUIRE_LEADER)
        except RpcError as error:
            return resume.Broken(error)
        self._endpoint, self._stream = opened
        request = rpc_pb2.WatchRequest(create_request=self._create)
        self._stream.send(request.SerializeToString())
        return await self._read()

    async def _read(self) -> resume.Input:
        stream = self._stream
        if stream is None:
            return resume.Broken(None)
        try:
            message = await stream.receive()
        except RpcError as error:
            if self._closed:
                raise StopAsyncIteration from None
            self._dispatcher.note_failure(self._endpoint, error)
            return resume.Broken(error)
        if message is None:
            return resume.Broken(None)
        return resume.Received(rpc_pb2.WatchResponse.FromString(message))

    async def _refresh(self) -> resume.Input:
        try:
            await self._dispatcher.refresh_token()
        except RpcError as error:
            return resume.ReadFailed(error)
        return resume.Refreshed()

    async def _list(self, count_only: bool) -> resume.Input:
        request = rpc_pb2.RangeRequest(
            key=self._create.key, range_end=self._create.range_end, count_only=count_only
        )
        path = "/etcdserverpb.KV/Range"
        try:
            reply = await self._calls.call(
                path, request, rpc_pb2.RangeResponse, repeatable=True, timeout_s=_LIST_TIMEOUT_S
            )
        except RpcError as error:
            return resume.ReadFailed(error)
        return resume.Checked(reply) if count_only else resume.Listed(reply)

    def _drop_stream(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.cancel()


class Watches(Calls):
    """The watch service."""

    def watch(
        self,
        key: Key,
        *,
        range_end: Key = b"",
        prefix: bool = False,
        start_revision: int = 0,
        prev_kv: bool = False,
        filters: Sequence[Filter] = (),
        progress_notify: bool = False,
    ) -> Watch:
        """Watch `key`, [key, range_end), or with `prefix` all keys that start with `key`.

        `async for batch in client.watch(...)` yields every change from `start_revision` on (0: from
        now) once, in order, through reconnections and server restarts; see `WatchBatch` for what a
        relist means. `progress_notify` yields empty batches when the server says how far it is.
        Permission denied and bad requests raise RpcError.
        """
        kinds = rpc_pb2.WatchCreateRequest
        named = {"noput": kinds.NOPUT, "nodelete": kinds.NODELETE}
        create = rpc_pb2.WatchCreateRequest(
            key=(key_bytes(key) or b"\0") if prefix else key_bytes(key),
            range_end=prefix_end(key) if prefix else key_bytes(range_end),
            prev_kv=prev_kv,
            progress_notify=progress_notify,
            fragment=True,
            filters=[named[name] for name in filters],
        )
        state = Resume(
            self.dispatcher.backoff(0.25, 2.0),
            start_revision=start_revision,
            authenticated=self.dispatcher.authenticated,
            report_progress=progress_notify,
        )
        return Watch(self, create, state)
