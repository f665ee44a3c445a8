"""What changed at which revision, by an order of the operations; what watchers must be told."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from sampan.verify.core.history import Change, Operation, Watcher
from sampan.verify.core.model import Changes
from sampan.verify.core.request import in_range

__all__ = ["Step", "Timeline", "wanted"]


@dataclass(frozen=True, slots=True)
class Step:
    """One revision of the order found: who made it (None: somebody outside) and what changed."""

    revision: int
    operation: Operation | None
    changes: Changes
    before: Changes


class Timeline:
    """All changes in the order of revisions, from after `begin` to `end`."""

    def __init__(self, begin: int, steps: Iterable[Step]) -> None:
        self.begin = begin
        self.end = begin
        self._revisions: list[int] = []
        self._changes: list[Change] = []
        for step in steps:
            self.end = step.revision
            for key in sorted(step.changes):
                self._revisions.append(step.revision)
                change = Change(key, step.revision, step.changes[key], step.before.get(key))
                self._changes.append(change)

    def between(self, after: int, until: int) -> Iterator[Change]:
        """The changes at the revisions in (after, until]."""
        first = bisect_right(self._revisions, after)
        last = bisect_right(self._revisions, until)
        yield from self._changes[first:last]

    def at(self, revision: int) -> Iterator[Change]:
        """The changes at one revision."""
        first = bisect_left(self._revisions, revision)
        last = bisect_right(self._revisions, revision)
        yield from self._changes[first:last]


def wanted(watcher: Watcher, change: Change) -> bool:
    """Say whether a watcher asked for a change: by range and filters."""
    kind = "nodelete" if change.record is None else "noput"
    return kind not in watcher.filters and in_range(change.key, watcher.key, watcher.range_end)
