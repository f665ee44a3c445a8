"""The watch hub: takes what changed and hands it to everyone who watches.

Watchers are *synced* or not. A synced watcher has seen everything up to the store's revision;
`notify` gives it each new batch of changes as it comes. A watcher that starts in the past, or
whose stream did not keep up, is unsynced: `sync` reads the history for it, a slice at a time, until
it has caught up and joins the synced ones. So a slow stream holds nobody back, and nothing is
buffered for it: the store itself is the buffer. If the store is compacted past what such a watcher
has to see next, the watch is canceled.

Watchers join between two batches of the state machine, never inside one; so do all calls except
`leave` and `recheck`. Then joining is atomic: a watcher sees each matching event once, in order,
without a gap.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, Protocol

from sampan.base.errors import invariant
from sampan.store.core.encode import varint
from sampan.store.core.watch_events import (
    FRAGMENT_BYTES,
    Change,
    Response,
    encode_responses,
)
from sampan.store.core.watch_groups import Cohort, Owner, Sink, Watcher, WatchGroup

__all__ = ["SLICE_BYTES", "SLICE_REVS", "History", "WatchHub"]

SLICE_REVS: Final = 1000
"""Revisions that one call of `sync` reads at most."""

SLICE_BYTES: Final = 1024 * 1024
"""Bytes of events after which `sync` reads no further revision."""

_SMALL_BYTES = 1024
"""A body below this is offered for all watchers of a stream at once."""


class History(Protocol):
    """The key space as far as the past is concerned."""

    @property
    def revision(self) -> int:
        """The newest main revision."""

    @property
    def compact_revision(self) -> int:
        """The oldest main revision that is whole."""

    def changes(self, start_rev: int, end_rev: int) -> Iterator[Change]:
        """Yield the changes of the main revisions [start_rev, end_rev), oldest first."""

    def previous(self, key: bytes, before_rev: int) -> bytes | None:
        """Return the serialized KeyValue of `key` just before `before_rev`, None if it has none."""


class WatchHub:
    """All watchers of a store.

    `header(revision)` gives a serialized ResponseHeader. `listen(True)` is called when there is a
    synced watcher, `listen(False)` by a `notify` that finds none any more: between them `notify`
    has to be called for every batch, otherwise it need not. `wake` is called when `sync` has work.
    """

    def __init__(
        self,
        history: History,
        header: Callable[[int], bytes],
        *,
        listen: Callable[[bool], None] | None = None,
        wake: Callable[[], None] | None = None,
        fragment_bytes: int = FRAGMENT_BYTES,
    ) -> None:
        self.history = history
        self.events_total = 0
        self.wake: Callable[[], None] = wake or _nothing
        self._header = header
        self._listen = listen or _ignore
        self._listening = False
        self._fragment_bytes = fragment_bytes
        self._synced = WatchGroup()
        self._unsynced: dict[Watcher, None] = {}
        self._joined_rev = 0
        self._after_sync: dict[Callable[[], bool], None] = {}
        self._streams: dict[Owner, None] = {}

    # ---- what the numbers are

    @property
    def stream_count(self) -> int:
        """How many streams are open."""
        return len(self._streams)

    @property
    def watcher_count(self) -> int:
        """How many watchers there are."""
        return len(self._synced) + len(self._unsynced)

    @property
    def slow_watcher_count(self) -> int:
        """How many of them are not synced."""
        return len(self._unsynced)

    @property
    def revision(self) -> int:
        """The store's revision."""
        return self.history.revision

    def head(self, revision: int) -> bytes:
        """Return a response header as the first field of a response."""
        header = self._header(revision)
        return b"".join((b"\n", varint(len(header)), header))

    # ---- coming and going

    def open(self, stream: Owner) -> None:
        """Get to know a stream, for `recheck`."""
        self._streams[stream] = None

    def close(self, stream: Owner) -> None:
        """Forget a stream that has no watchers any more."""
        self._streams.pop(stream, None)

    def recheck(self) -> None:
        """Let every stream look at its permissions anew, because the auth state has changed."""
        for stream in list(self._streams):
            stream.recheck()

    def join(self, watcher: Watcher, start_rev: int) -> None:
        """Let the watcher see every change from `start_rev` on (0: from now on)."""
        revision = self.history.revision
        if start_rev == 0 or start_rev > revision:
            watcher.min_rev = max(start_rev, revision + 1)
            if start_rev > revision + 1:
                watcher.wish = watcher.wish._replace(first_rev=start_rev)
            self._enter(watcher)
        elif start_rev < self.history.compact_revision:
            watcher.owner.compacted(watcher, self.history.compact_revision)
        else:
            watcher.min_rev = start_rev
            self._unsynced[watcher] = None
            self.wake()

    def leave(self, watcher: Watcher) -> None:
        """Forget the watcher."""
        if watcher.synced:
            self._exit(watcher)
        else:
            self._unsynced.pop(watcher, None)

    def after_sync(self, callback: Callable[[], bool]) -> None:
        """Call `callback` after every call of `sync` until it returns True."""
        self._after_sync[callback] = None

    # ---- delivering

    def notify(self, changes: list[Change], revision: int) -> None:
        """Deliver the changes of one batch; `revision` is the store's after it."""
        if not len(self._synced):
            self._listening = False
            self._listen(False)
            return
        invariant(
            not changes or changes[0][2] > self._joined_rev, "a watcher joined inside a batch"
        )
        for cohort, hits in self._synced.match(changes).items():
            responses = encode_responses(hits, cohort.wish, fragment_bytes=self._fragment_bytes)
            for watcher, unseen_rev in self._deliver(cohort, responses, revision):
                if watcher.synced:
                    self._exit(watcher)
                    watcher.min_rev = unseen_rev
                    self._unsynced[watcher] = None

    def sync(self) -> bool:
        """Bring unsynced watchers a slice of history nearer; return whether to call again now.

        The slice starts where the watcher stands that waited longest; whoever stands inside it
        takes part. Watchers whose stream has no room wait until it has.
        """
        self._drop_compacted()
        leader = next((each for each in self._unsynced if each.sink.has_room), None)
        if leader is not None:
            self._sync_from(leader.min_rev)
        for callback in list(self._after_sync):
            if callback():
                del self._after_sync[callback]
        return any(each.sink.has_room for each in self._unsynced)

    def _sync_from(self, start_rev: int) -> None:
        revision = self.history.revision
        changes, end_rev = self._slice(start_rev, revision + 1)
        group = WatchGroup()
        present = [
            watcher
            for watcher in self._unsynced
            if start_rev <= watcher.min_rev < end_rev and watcher.sink.has_room
        ]
        for watcher in present:
            group.add(watcher, watcher.wish._replace(first_rev=watcher.min_rev))
        late: dict[Watcher, int] = {}
        for cohort, hits in group.match(changes).items():
            late.update(self._deliver(cohort, self._recall(hits, cohort), end_rev - 1))
        for watcher in present:
            if watcher not in self._unsynced:
                continue
            del self._unsynced[watcher]
            watcher.min_rev = late.get(watcher, end_rev)
            if watcher.min_rev > revision:
                self._enter(watcher)
            else:
                self._unsynced[watcher] = None

    def _slice(self, start_rev: int, end_rev: int) -> tuple[list[Change], int]:
        """Return the changes of a slice and the first revision behind it."""
        end_rev = min(end_rev, start_rev + SLICE_REVS)
        changes: list[Change] = []
        size = last = 0
        for change in self.history.changes(start_rev, end_rev):
            if size >= SLICE_BYTES and change[2] != last:
                return changes, change[2]
            changes.append(change)
            size += len(change[1])
            last = change[2]
        return changes, end_rev

    def _recall(self, hits: list[Change], cohort: Cohort) -> list[Response]:
        return encode_responses(hits, cohort.wish, self.history.previous, self._fragment_bytes)

    def _deliver(
        self, cohort: Cohort, responses: list[Response], revision: int
    ) -> list[tuple[Watcher, int]]:
        """Hand out the responses; return who did not take all, with the first revision missed."""
        late: list[tuple[Watcher, int]] = []
        if not responses:
            return late
        heads = [self.head(response.last_rev) for response in responses[:-1]]
        heads.append(self.head(revision))
        last = responses[-1]
        single = len(responses) == len(last.bodies) == 1 and len(last.bodies[0]) < _SMALL_BYTES
        # A sink may end its stream when it finds the connection gone, and the watches with it.
        for sink, members in list(cohort.members.items()):
            watchers = list(members)
            if single:
                head, body = heads[0], last.bodies[0]
                if sink.offer([head + watcher.tag + body for watcher in watchers]):
                    self.events_total += last.events * len(watchers)
                else:
                    late += [(watcher, last.first_rev) for watcher in watchers]
            else:
                late += self._deliver_large(sink, watchers, heads, responses)
            if cohort.wish.progress_notify:
                for watcher in watchers:
                    watcher.quiet = False
        return late

    def _deliver_large(
        self, sink: Sink, watchers: list[Watcher], heads: list[bytes], responses: list[Response]
    ) -> list[tuple[Watcher, int]]:
        """Hand out one response at a time: all fragments of it, or none."""
        late: list[tuple[Watcher, int]] = []
        for watcher in watchers:
            for head, response in zip(heads, responses, strict=True):
                first, *rest = response.bodies
                if not sink.offer([head + watcher.tag + first]):
                    late.append((watcher, response.first_rev))
                    break
                for body in rest:
                    sink.send(head + watcher.tag + body)
                self.events_total += response.events
        return late

    def replaced(self, seen_rev: int) -> None:
        """The store's content was replaced by a newer one, up to which nobody was notified.

        Everybody has seen everything up to `seen_rev` and catches up from there; who waits for a
        revision that is still to come goes on waiting.
        """
        revision = self.history.revision
        for watcher in list(self._synced):
            next_rev = max(watcher.min_rev, seen_rev + 1)
            if next_rev > revision:
                continue
            self._exit(watcher)
            watcher.min_rev = next_rev
            self._unsynced[watcher] = None
        self.wake()

    # ---- inside

    def _enter(self, watcher: Watcher) -> None:
        watcher.synced = True
        self._joined_rev = self.history.revision
        self._synced.add(watcher)
        if not self._listening:
            self._listening = True
            self._listen(True)

    def _exit(self, watcher: Watcher) -> None:
        watcher.synced = False
        self._synced.remove(watcher)

    def _drop_compacted(self) -> None:
        compact_rev = self.history.compact_revision
        for watcher in [each for each in self._unsynced if each.min_rev < compact_rev]:
            del self._unsynced[watcher]
            watcher.owner.compacted(watcher, compact_rev)


def _nothing() -> None:
    """Do nothing."""


def _ignore(on: bool) -> None:
    """Do nothing: `notify` is called for every batch anyway."""
    del on
