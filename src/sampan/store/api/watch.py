"""The Watch service: many watches on one stream in both directions.

The hub decides what a stream is sent. Here is what it needs of a real connection: a stream that is
not read gets no further events until what waits has gone out; meanwhile its watches fall behind
and are caught up from the history afterwards.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from sampan.store.api.service import Context, parse
from sampan.store.core.watch import WatchHub
from sampan.store.core.watch_stream import WatchStream
from sampan.store.pb.rpc_pb2 import WatchRequest
from sampan.wire.grpc.service import MethodTable, ServerCall, StreamCall, StreamMethod

if TYPE_CHECKING:
    from sampan.store.core.identity import Identity

__all__ = ["BUFFER_BYTES", "Rights", "methods", "start_catching_up"]

BUFFER_BYTES: Final = 1024 * 1024
"""A stream with more than this unsent gets no further events until it has been sent."""

_MIN_PROGRESS_INTERVAL_S = 0.1


class Rights:
    """What the caller of a stream may watch, at first and from then on."""

    def __init__(self, context: Context, call: ServerCall) -> None:
        self._context = context
        self._call = call
        self._identity: Identity | None = None

    def check(self, key: bytes, range_end: bytes) -> None:
        """Raise what stands against a watch of the range."""
        self._identity = self._context.authorize(self._call)
        self._context.state.access.check_range(self._identity, key, range_end)

    def still(self, key: bytes, range_end: bytes) -> bool:
        """Say whether a watch of the range may go on."""
        return self._context.state.access.may_still_read(self._identity, key, range_end)


class _CallSink:
    """A stream's connection; wakes the hub when a full one has room again."""

    __slots__ = ("_call", "_context", "_draining", "_hub", "_send_all")

    def __init__(self, context: Context, call: StreamCall) -> None:
        self._context = context
        self._hub = context.hub
        self._call = call
        self._send_all = call.send_all
        self._draining = False

    def offer(self, messages: Sequence[bytes]) -> bool:
        if self._call.buffered_bytes > BUFFER_BYTES:
            self._wait_for_room()
            return False
        if len(messages) == 1:
            self._call.send(messages[0])
        else:
            self._send_all(messages)
        return True

    def send(self, message: bytes) -> None:
        self._call.send(message)

    @property
    def has_room(self) -> bool:
        """Whether `offer` would take a message now; if not, the hub is woken once it would."""
        if self._call.buffered_bytes > BUFFER_BYTES:
            self._wait_for_room()
        return not self._draining

    def _wait_for_room(self) -> None:
        if not self._draining:
            self._draining = True
            self._context.spawn(self._drained())

    async def _drained(self) -> None:
        try:
            await self._call.drain()
        finally:
            self._draining = False
        self._hub.wake()


class _CatchUp:
    """Calls the hub's `sync` while it has work, a slice per turn of the loop."""

    def __init__(self, hub: WatchHub) -> None:
        self._hub = hub
        self._due = False

    def wake(self) -> None:
        if not self._due:
            self._due = True
            asyncio.get_running_loop().call_soon(self._step)

    def _step(self) -> None:
        self._due = False
        if self._hub.sync():
            self.wake()


class _Progress:
    """The timer of a stream's automatic progress reports."""

    def __init__(self, stream: WatchStream, interval_s: float) -> None:
        self._stream = stream
        self._interval_s = interval_s
        self._loop = asyncio.get_running_loop()
        self._timer = self._loop.call_later(interval_s, self._tick)

    def _tick(self) -> None:
        self._stream.tick()
        self._timer = self._loop.call_later(self._interval_s, self._tick)

    def stop(self) -> None:
        self._timer.cancel()


class _Watch:
    """The handler."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def watch(self, call: StreamCall) -> None:
        context = self._context
        stream = WatchStream(context.hub, _CallSink(context, call), Rights(context, call))
        progress = _Progress(stream, self._interval_s())
        try:
            while (body := await call.receive()) is not None:
                stream.handle(parse(WatchRequest, body))
                if call.buffered_bytes > BUFFER_BYTES:
                    await call.drain()
            # A client that closed its side goes on watching; the call's end cancels this.
            await asyncio.get_running_loop().create_future()
        finally:
            progress.stop()
            stream.close()

    def _interval_s(self) -> float:
        """Return the interval with up to a tenth on top, so that streams do not report at once."""
        interval_s = self._context.config.watch_progress_notify_interval_s
        interval_s = max(interval_s or 600.0, _MIN_PROGRESS_INTERVAL_S)
        return interval_s * (1 + self._context.random.random() / 10)


def start_catching_up(context: Context) -> None:
    """Have the hub's slow watchers caught up, and all looked at when the auth state changes."""
    context.hub.wake = _CatchUp(context.hub).wake
    context.state.auth.observer = context.hub.recheck


def methods(context: Context) -> MethodTable:
    """Return the service's methods by full name; the context's hub is driven from now on."""
    start_catching_up(context)
    return {"/etcdserverpb.Watch/Watch": StreamMethod(_Watch(context).watch)}
