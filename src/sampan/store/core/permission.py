"""What one user may read and write: key ranges, merged over all of the user's roles.

A range is (key, range_end) as in requests: an empty `range_end` means the one key, a single zero
byte means everything from `key` on, anything else is exclusive. A request is permitted when the
union of the granted ranges covers it without a gap; ranges that merely touch leave none.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass

from sampan.store.pb.auth_pb2 import Permission

__all__ = ["EVERYTHING", "NOTHING", "Grants", "RangeSet", "is_valid_range", "merge_grants"]

_OPEN_END = b"\0"


def is_valid_range(key: bytes, range_end: bytes) -> bool:
    """Say whether a permission may be granted on this range: a key, and no end before it."""
    if not key:
        return False
    return not range_end or range_end == _OPEN_END or key < range_end


def _interval(key: bytes, range_end: bytes) -> tuple[bytes, bytes | None]:
    """Return the half-open interval of a request's range; an end of None is infinity."""
    if not range_end:
        return key, key + b"\0"
    return key, None if range_end == _OPEN_END else range_end


class RangeSet:
    """A union of key ranges, immutable; membership costs one binary search."""

    __slots__ = ("_begins", "_ends")

    def __init__(self, ranges: Iterable[tuple[bytes, bytes]]) -> None:
        """Merge `ranges`, each (key, range_end) as in a request; empty intervals are dropped."""
        self._begins: list[bytes] = []
        self._ends: list[bytes | None] = []
        intervals = [_interval(key, range_end) for key, range_end in ranges]
        for begin, end in sorted(intervals, key=lambda interval: interval[0]):
            if end is None or begin < end:
                self._add(begin, end)

    def _add(self, begin: bytes, end: bytes | None) -> None:
        """Take one more interval; they come sorted by `begin`."""
        if not self._ends:
            self._begins.append(begin)
            self._ends.append(end)
            return
        last = self._ends[-1]
        if last is None:
            return
        if begin > last:
            self._begins.append(begin)
            self._ends.append(end)
        elif end is None or end > last:
            self._ends[-1] = end

    def covers(self, key: bytes, range_end: bytes = b"") -> bool:
        """Say whether every key of the request's range is in the set.

        A range that ends at or before its key is covered by nothing.
        """
        begin, end = _interval(key, range_end)
        if end is not None and begin >= end:
            return False
        at = bisect_right(self._begins, begin) - 1
        if at < 0:
            return False
        last = self._ends[at]
        if last is None:
            return True
        return begin < last and end is not None and end <= last


@dataclass(frozen=True, slots=True)
class Grants:
    """A user's permissions. `root` may do everything, administration included."""

    root: bool
    read: RangeSet
    write: RangeSet

    def may_read(self, key: bytes, range_end: bytes = b"") -> bool:
        """Say whether the whole range may be read."""
        return self.root or self.read.covers(key, range_end)

    def may_write(self, key: bytes, range_end: bytes = b"") -> bool:
        """Say whether the whole range may be written or deleted."""
        return self.root or self.write.covers(key, range_end)


NOTHING = Grants(False, RangeSet(()), RangeSet(()))
"""The permissions of a user without roles."""

EVERYTHING = Grants(True, RangeSet(()), RangeSet(()))
"""The permissions of whoever has the root role."""


def merge_grants(permissions: Iterable[Permission]) -> Grants:
    """Return what these permissions, of all of a user's roles, allow together."""
    read: list[tuple[bytes, bytes]] = []
    write: list[tuple[bytes, bytes]] = []
    for permission in permissions:
        granted = (permission.key, permission.range_end)
        if permission.permType != Permission.WRITE:
            read.append(granted)
        if permission.permType != Permission.READ:
            write.append(granted)
    return Grants(False, RangeSet(read), RangeSet(write))
