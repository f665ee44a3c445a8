"""Who watches what: watchers, and groups of them that can be asked by key."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

from sampan.store.core.encode import varint
from sampan.store.core.intervals import IntervalMap
from sampan.store.core.watch_events import Change, Wish

__all__ = ["Cohort", "Owner", "Sink", "WatchGroup", "Watcher"]


class Sink(Protocol):
    """Where the serialized WatchResponses of a stream go."""

    def offer(self, messages: Sequence[bytes]) -> bool:
        """Take the messages and return True, or return False when too much waits already."""
        ...

    def send(self, message: bytes) -> None:
        """Take the message whatever is waiting."""
        ...

    @property
    def has_room(self) -> bool:
        """Whether `offer` would take a message now."""
        ...


class Owner(Protocol):
    """The stream of a watcher, as the hub sees it."""

    def compacted(self, watcher: Watcher, compact_rev: int) -> None:
        """Cancel the watch: what it has to see next was compacted away at `compact_rev`."""
        ...

    def recheck(self) -> None:
        """Cancel the watches that are no longer permitted."""
        ...


class Watcher:
    """One watch of a stream.

    `min_rev` is the first revision it has not seen yet (exact while it is not synced), `tag` its
    watch ID as the field of a response, `quiet` whether nothing came since the last progress tick
    (kept only for a watcher that wishes to be told of progress).
    """

    __slots__ = (
        "min_rev",
        "owner",
        "quiet",
        "sink",
        "synced",
        "tag",
        "watch_id",
        "wish",
    )

    def __init__(
        self,
        watch_id: int,
        wish: Wish,
        sink: Sink,
        owner: Owner,
        *,
        min_rev: int = 0,
    ) -> None:
        self.watch_id = watch_id
        self.owner = owner
        self.tag = b"\x10" + varint(watch_id) if watch_id else b""
        self.wish = wish
        self.sink = sink
        self.min_rev = min_rev
        self.quiet = True
        self.synced = False


class Cohort:
    """The watchers of a group that share a wish, by stream, in the order in which they joined."""

    __slots__ = ("members", "wish")

    def __init__(self, wish: Wish) -> None:
        self.wish = wish
        self.members: dict[Sink, dict[Watcher, None]] = {}


_Cohorts = dict[Wish, Cohort]


class WatchGroup:
    """Watchers by the keys they watch."""

    def __init__(self) -> None:
        self._count = 0
        self._keys: dict[bytes, _Cohorts] = {}
        self._ranges: IntervalMap[_Cohorts] = IntervalMap()

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Watcher]:
        for cohorts in (*self._keys.values(), *self._ranges.values()):
            for cohort in cohorts.values():
                for watchers in cohort.members.values():
                    yield from watchers

    def add(self, watcher: Watcher, wish: Wish | None = None) -> None:
        """Let a watcher in, with a wish other than its own if one is given."""
        wish = wish or watcher.wish
        cohorts = self._cohorts(wish)
        if cohorts is None:
            cohorts = {}
            if wish.range_end:
                self._ranges.add(wish.key, wish.range_end, cohorts)
            else:
                self._keys[wish.key] = cohorts
        cohort = cohorts.get(wish)
        if cohort is None:
            cohort = cohorts[wish] = Cohort(wish)
        cohort.members.setdefault(watcher.sink, {})[watcher] = None
        self._count += 1

    def remove(self, watcher: Watcher) -> None:
        """Take a watcher out; KeyError when it is not in."""
        wish = watcher.wish
        cohorts = self._cohorts(wish)
        if cohorts is None:
            raise KeyError(wish)
        cohort = cohorts[wish]
        siblings = cohort.members[watcher.sink]
        del siblings[watcher]
        self._count -= 1
        if not siblings:
            del cohort.members[watcher.sink]
        if cohort.members:
            return
        del cohorts[wish]
        if cohorts:
            return
        if wish.range_end:
            self._ranges.remove(wish.key, wish.range_end)
        else:
            del self._keys[wish.key]

    def match(self, changes: Iterable[Change]) -> dict[Cohort, list[Change]]:
        """Return the cohorts that some change is for, each with its changes in order."""
        hits: dict[Cohort, list[Change]] = {}
        keys, ranges = self._keys, self._ranges
        has_ranges = len(ranges) > 0
        for change in changes:
            found = keys.get(change[0])
            if found is not None:
                for cohort in found.values():
                    hits.setdefault(cohort, []).append(change)
            if has_ranges:
                for found in ranges.at(change[0]):
                    for cohort in found.values():
                        hits.setdefault(cohort, []).append(change)
        return hits

    def _cohorts(self, wish: Wish) -> _Cohorts | None:
        if wish.range_end:
            return self._ranges.get(wish.key, wish.range_end)
        return self._keys.get(wish.key)
