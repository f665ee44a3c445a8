"""Which revisions of which keys exist: the newest record of each live key, and what came before.

The newest record of every live key is in memory, value included: a read at the current revision
never touches the backend. Of older revisions only the numbers are kept; their records are read from
the backend.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator

from sortedcontainers import SortedList

from sampan.store.core.ranges import FROM_KEY

__all__ = ["KeyIndex", "OrderedKeys", "Past", "Record"]

Record = tuple[bytes, int, int, int, int, int]
"""framed KeyValue, create revision, mod revision (main), mod sub, version, lease id.

A plain tuple: it is made once a put, and the garbage collector forgets tuples of plain values.
"""


class OrderedKeys:
    """A sorted set of keys that sorts only when somebody asks for a range.

    New keys gather in a set and are merged when they are next needed in order, so that a burst of
    puts costs one merge instead of one search each.
    """

    __slots__ = ("_fresh", "_sorted")

    def __init__(self) -> None:
        self._sorted: SortedList[bytes] = SortedList()
        self._fresh: set[bytes] = set()

    def __len__(self) -> int:
        return len(self._sorted) + len(self._fresh)

    def add(self, key: bytes) -> None:
        """Add a key that is not in the set."""
        self._fresh.add(key)

    def discard(self, key: bytes) -> None:
        """Take a key out, if it is in."""
        if key in self._fresh:
            self._fresh.remove(key)
        else:
            self._sorted.discard(key)

    def replace(self, keys: Iterable[bytes]) -> None:
        """Make the set hold these keys and no others."""
        self._sorted = SortedList()
        self._fresh = set(keys)

    def merged(self) -> SortedList[bytes]:
        """Return all keys, sorted."""
        if self._fresh:
            self._sorted.update(self._fresh)
            self._fresh = set()
        return self._sorted

    def count(self, start: bytes, end: bytes) -> int:
        """Return how many keys lie in [start, end); `end` of `\\0` means no upper bound."""
        keys = self.merged()
        high = len(keys) if end == FROM_KEY else keys.bisect_left(end)
        return int(max(0, high - keys.bisect_left(start)))

    def between(self, start: bytes, end: bytes, limit: int = 0) -> tuple[list[bytes], int]:
        """Return the keys of [start, end) in order, `limit` at most (0: all), and their full count.

        `end` of `\\0` means no upper bound.
        """
        keys = self.merged()
        low = keys.bisect_left(start)
        high = len(keys) if end == FROM_KEY else keys.bisect_left(end)
        count = max(0, high - low)
        if limit and count > limit:
            high = low + limit
        return list(keys.islice(low, high)), count


class Past:
    """The superseded revisions of one key, oldest first.

    Two arrays of 8-byte numbers: main revisions, and subs; a tombstone's sub is stored as -1 - sub.
    """

    __slots__ = ("mains", "subs")

    def __init__(self) -> None:
        self.mains = array("q")
        self.subs = array("q")

    def add(self, main: int, sub: int, tombstone: bool = False) -> None:
        """Append a revision newer than all before."""
        self.mains.append(main)
        self.subs.append(-1 - sub if tombstone else sub)

    def at(self, revision: int) -> tuple[int, int] | None:
        """Return (main, sub) that was current at `revision`; None if the key did not exist then."""
        i = bisect_right(self.mains, revision) - 1
        if i < 0 or self.subs[i] < 0:
            return None
        return self.mains[i], self.subs[i]

    def split(self, revision: int, alive_after: int) -> Iterator[tuple[int, int, bool]]:
        """Drop what a compaction at `revision` makes unreadable; yield its (main, sub, tombstone).

        The newest revision at or before `revision` stays, for it is what a read there sees, unless
        the key was overwritten by its live record (main `alive_after`, 0 for none) at or before it.
        A tombstone stays only when it is exactly at `revision`: a watch from there must see it.
        """
        cut = bisect_right(self.mains, revision)
        superseded = alive_after and alive_after <= revision
        if cut and not superseded:
            newest_deleted = self.subs[cut - 1] < 0
            if not newest_deleted or self.mains[cut - 1] == revision:
                cut -= 1
        for main, sub in zip(self.mains[:cut], self.subs[:cut], strict=True):
            yield main, (sub if sub >= 0 else -1 - sub), sub < 0
        del self.mains[:cut]
        del self.subs[:cut]


class KeyIndex:
    """Live records by key, superseded revisions by key, and both sets of keys in order."""

    def __init__(self) -> None:
        self.live: dict[bytes, Record] = {}
        self.past: dict[bytes, Past] = {}
        self.live_keys = OrderedKeys()
        # Keys that do not exist now but did at a revision that can still be read.
        self.dead_keys = OrderedKeys()

    def supersede(self, key: bytes, main: int, sub: int, tombstone: bool = False) -> None:
        """Note that revision (main, sub) of `key` is no longer its newest."""
        past = self.past.get(key)
        if past is None:
            past = self.past[key] = Past()
        past.add(main, sub, tombstone)

    def bury(self, key: bytes, main: int, sub: int) -> None:
        """Note that `key`, already taken out of `live`, was deleted at (main, sub)."""
        self.supersede(key, main, sub, tombstone=True)
        self.live_keys.discard(key)
        self.dead_keys.add(key)

    def revive(self, key: bytes) -> None:
        """Note that `key` is live from now on and was not before."""
        self.live_keys.add(key)
        if key in self.past:
            self.dead_keys.discard(key)

    def settle(self) -> None:
        """Bring the ordered key sets in line with records that were put in without them."""
        self.live_keys.replace(self.live)
        self.dead_keys.replace(self.past.keys() - self.live.keys())

    def at(self, key: bytes, revision: int) -> tuple[int, int] | None:
        """Return the (main, sub) under which a read of `key` at `revision` finds it, or None."""
        record = self.live.get(key)
        if record is not None and record[2] <= revision:
            return record[2], record[3]
        past = self.past.get(key)
        return None if past is None else past.at(revision)

    def keys_between(self, start: bytes, end: bytes) -> list[bytes]:
        """Return every key of [start, end), in order, that lives now or did at a kept revision."""
        keys, _ = self.live_keys.between(start, end)
        dead, _ = self.dead_keys.between(start, end)
        return sorted(keys + dead) if dead else keys
