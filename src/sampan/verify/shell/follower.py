"""A recording watcher: writes down every message as it comes, and asks again when a stream breaks.

It uses the bare stream: the client's own watch would hide what a server does wrong.
"""

from __future__ import annotations

import asyncio
import random

from sampan.store.client import Client, Event, RpcError
from sampan.store.pb import rpc_pb2
from sampan.verify.core.history import Change, Watcher
from sampan.verify.shell.calls import record_of
from sampan.verify.shell.tape import Tape

__all__ = ["Follower", "change_of"]

_PATH = "/etcdserverpb.Watch/Watch"
_REQUIRE_LEADER = (("hasleader", "true"),)
_PAUSE_S = 0.1
_FILTERS = {
    "noput": rpc_pb2.WatchCreateRequest.NOPUT,
    "nodelete": rpc_pb2.WatchCreateRequest.NODELETE,
}


class Follower:
    """One watcher over all the streams that it needs; `next` is what it has not been told yet."""

    def __init__(
        self, client: Client, tape: Tape, watcher: Watcher, dice: random.Random, *, bookmarks: bool
    ) -> None:
        self._client = client
        self._tape = tape
        self.watcher = watcher
        self._dice = dice
        self._bookmarks = bookmarks
        self._fragments: list[Change] = []
        self.next = watcher.start
        self.moved = asyncio.Event()
        self.resumptions = 0

    async def run(self) -> None:
        """Follow until cancelled; breaks off now and then of its own will."""
        self._tape.watch(self.watcher)
        begun = False
        while True:
            try:
                async with asyncio.timeout(self._dice.uniform(1.0, 8.0)):
                    if begun and self.next:
                        self.resumptions += 1
                        self._tape.notice(self.watcher, "resume", self.next)
                    begun = True
                    await self._stream()
            except TimeoutError:
                continue
            await asyncio.sleep(_PAUSE_S)

    def end(self, revision: int) -> None:
        """Nothing more will be listened to; all up to `revision` should be known."""
        self._tape.notice(self.watcher, "end", revision)

    async def _stream(self) -> None:
        """Follow one stream until it ends."""
        dispatcher = self._client.dispatcher
        self._fragments.clear()
        try:
            index, stream = await dispatcher.stream(_PATH, metadata=_REQUIRE_LEADER)
        except RpcError:
            return
        try:
            stream.send(self._create().SerializeToString())
            while (message := await stream.receive()) is not None:
                response = rpc_pb2.WatchResponse.FromString(message)
                if not self._told(response):
                    return
                if self._bookmarks and self._dice.random() < 0.05:
                    ask = rpc_pb2.WatchRequest(progress_request=rpc_pb2.WatchProgressRequest())
                    stream.send(ask.SerializeToString())
        except RpcError as error:
            dispatcher.note_failure(index, error)
        finally:
            stream.cancel()

    def _create(self) -> rpc_pb2.WatchRequest:
        watcher = self.watcher
        create = rpc_pb2.WatchCreateRequest(
            key=watcher.key,
            range_end=watcher.range_end,
            start_revision=self.next,
            prev_kv=watcher.prev_kv,
            filters=[_FILTERS[name] for name in sorted(watcher.filters)],
            progress_notify=self._bookmarks,
            fragment=True,
        )
        return rpc_pb2.WatchRequest(create_request=create)

    def _told(self, response: rpc_pb2.WatchResponse) -> bool:
        """Write one message down; False when the watch is over."""
        revision = response.header.revision
        if response.canceled:
            if response.compact_revision:
                self._tape.notice(self.watcher, "compacted", response.compact_revision)
                self.next = max(self.next, response.compact_revision)
            return False
        if response.created:
            if self.next == 0:
                self.next = revision + 1
                self._tape.notice(self.watcher, "resume", self.next)
            return True
        if response.events:
            self._changes(response)
        elif not self._fragments:
            self._tape.notice(self.watcher, "progress", revision)
            self.next = max(self.next, revision + 1)
        self.moved.set()
        return True

    def _changes(self, response: rpc_pb2.WatchResponse) -> None:
        self._fragments += map(change_of, map(Event.of, response.events))
        if response.fragment:
            return
        changes, self._fragments = tuple(self._fragments), []
        self._tape.notice(self.watcher, "events", response.header.revision, changes)
        self.next = max(self.next, changes[-1].revision + 1)


def change_of(event: Event) -> Change:
    """The client's event as a change."""
    record = None if event.type == "delete" else record_of(event.kv)
    prev = record_of(event.prev_kv) if event.prev_kv else None
    return Change(event.kv.key, event.kv.mod_revision, record, prev)
