"""What was written since the last commit of a backend, or is being committed."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field

__all__ = ["Pairs", "WriteBuffer", "in_range"]

Pairs = list[tuple[bytes, bytes]]


def in_range(key: bytes, start: bytes, end: bytes | None) -> bool:
    """Tell whether start <= key < end (None: no end)."""
    return key >= start and (end is None or key < end)


@dataclass(slots=True)
class WriteBuffer:
    """Writes in memory; deletions of revisions come before the puts of revisions.

    `revisions` is in ascending order, as revisions are assigned in that order. A None in `small`
    (bucket -> key -> value) is a deletion.
    """

    revisions: dict[bytes, bytes] = field(default_factory=dict)
    deleted: set[bytes] = field(default_factory=set)
    small: dict[str, dict[bytes, bytes | None]] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.revisions or self.deleted or self.small)

    def put(self, bucket: str, key: bytes, value: bytes | None) -> None:
        """Set or (None) delete a key of a small bucket."""
        self.small.setdefault(bucket, {})[key] = value

    def followed_by(self, newer: WriteBuffer) -> WriteBuffer:
        """Return one buffer with the effect of this one and then `newer`."""
        revisions = {
            key: raw for key, raw in self.revisions.items() if key not in newer.deleted
        } | newer.revisions
        small = dict(self.small)
        for bucket, changes in newer.small.items():
            small[bucket] = small.get(bucket, {}) | changes
        return WriteBuffer(revisions, self.deleted | newer.deleted, small)

    def revisions_between(self, start: bytes, end: bytes | None) -> Pairs:
        """Return the buffered revisions in that range, ascending."""
        revisions = self.revisions
        if not revisions or next(reversed(revisions)) < start:
            return []
        if end is not None and next(iter(revisions)) >= end:
            return []
        keys = list(revisions)
        stop = len(keys) if end is None else bisect_left(keys, end)
        return [(key, revisions[key]) for key in keys[bisect_left(keys, start) : stop]]

    def overlay(
        self, bucket: str, found: dict[bytes, bytes], start: bytes, end: bytes | None
    ) -> None:
        """Change `found`, the content of a small bucket in that range, by what is buffered."""
        for key, value in self.small.get(bucket, {}).items():
            if value is None:
                found.pop(key, None)
            elif in_range(key, start, end):
                found[key] = value
