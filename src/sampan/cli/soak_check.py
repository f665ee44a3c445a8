"""Were the watchers told the truth? Holds what they saw against what was written. Pure.

A watcher's history is complete but for its gaps: a relist stands for the revisions that it skips.
What must hold:
- a watcher's revisions ascend, each change comes once, and it gets as far as the final revision;
- watchers agree: what one saw at a revision, all saw that have no gap there;
- an acknowledged write is seen at its revision, and nowhere else;
- a write whose outcome is unknown is seen once, or by nobody;
- nothing is seen that was not written;
- a relist shows each key as the changes before it left it.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from sampan.store.client import Event, Relist, WatchBatch

__all__ = ["Change", "History", "Write", "check"]

_SHOWN = 20
_FOREVER = 2**63


@dataclass(frozen=True, slots=True)
class Change:
    """One key changed; `value` None is a deletion."""

    key: bytes
    value: bytes | None

    @classmethod
    def of(cls, event: Event) -> Change:
        """Make it from a watch event."""
        return cls(event.kv.key, None if event.type == "delete" else event.kv.value)


@dataclass(frozen=True, slots=True)
class Write:
    """An attempted change, and the revision it was acknowledged with; None: outcome unknown."""

    change: Change
    revision: int | None


@dataclass(slots=True)
class History:
    """What one watcher saw, from `start_rev` on."""

    name: str
    start_rev: int
    batches: list[WatchBatch] = field(default_factory=list)

    @property
    def reached(self) -> int:
        """The last revision that the watcher knows about."""
        return self.batches[-1].revision if self.batches else self.start_rev - 1

    @property
    def relists(self) -> Iterator[Relist]:
        """The relists among the batches."""
        return (batch.relist for batch in self.batches if batch.relist is not None)


class _Seen:
    """One history put in order: changes by revision, gaps, and what was wrong with it."""

    def __init__(self, history: History) -> None:
        self.name = history.name
        self.problems: list[str] = []
        self.changes: dict[int, set[Change]] = defaultdict(set)
        # Ascending and apart, as a watcher only moves forward.
        self.gaps: list[tuple[int, int]] = []
        self.reached = history.start_rev - 1
        for batch in history.batches:
            self._take(batch)

    def _take(self, batch: WatchBatch) -> None:
        if batch.relist is not None:
            self.gaps.append((self.reached + 1, batch.relist.revision))
        last = self.reached + 1
        for event in batch.events:
            revision = event.kv.mod_revision
            if revision < last:
                self.problems.append(f"{self.name}: revision {revision} came after {last}")
            last = max(last, revision)
            change = Change.of(event)
            if change in self.changes[revision]:
                self.problems.append(f"{self.name}: {change} doubled at revision {revision}")
            self.changes[revision].add(change)
        if batch.revision < self.reached:
            self.problems.append(f"{self.name}: went back to {batch.revision}")
        self.reached = max(self.reached, batch.revision)

    def covers(self, revision: int) -> bool:
        """True when the watcher must have seen what happened at `revision`."""
        place = bisect_right(self.gaps, (revision, _FOREVER)) - 1
        in_gap = place >= 0 and revision <= self.gaps[place][1]
        return revision <= self.reached and not in_gap


def check(
    writes: Sequence[Write], histories: Sequence[History], final_revision: int
) -> tuple[str, ...]:
    """Return what is wrong, nothing when all is well; everyone must be at `final_revision`."""
    seen = [_Seen(history) for history in histories]
    truth: dict[int, set[Change]] = defaultdict(set)
    for watcher in seen:
        for revision, changes in watcher.changes.items():
            truth[revision] |= changes
    problems = [problem for watcher in seen for problem in watcher.problems]
    problems += _unfinished(seen, final_revision)
    problems += _disagreements(seen, truth)
    problems += _wrong_writes(writes, seen, truth)
    relists = [(relist, history.name) for history in histories for relist in history.relists]
    problems += _wrong_relists(relists, writes, truth)
    return tuple(problems[:_SHOWN])


def _unfinished(seen: Iterable[_Seen], final_revision: int) -> Iterator[str]:
    for watcher in seen:
        if watcher.reached < final_revision:
            yield f"{watcher.name}: stopped at revision {watcher.reached} of {final_revision}"


def _disagreements(seen: Iterable[_Seen], truth: dict[int, set[Change]]) -> Iterator[str]:
    for watcher in seen:
        for revision in sorted(truth):
            missing = truth[revision] - watcher.changes.get(revision, set())
            if missing and watcher.covers(revision):
                yield f"{watcher.name}: missed {min(missing, key=str)} at revision {revision}"


def _wrong_writes(
    writes: Sequence[Write], seen: Sequence[_Seen], truth: dict[int, set[Change]]
) -> Iterator[str]:
    places: dict[Change, list[int]] = defaultdict(list)
    for revision, changes in truth.items():
        for change in changes:
            places[change].append(revision)
    attempted = {write.change for write in writes}
    for change in places.keys() - attempted:
        yield f"{change} was seen and never written"
    for write in writes:
        found = places.get(write.change, [])
        if write.change.value is not None and len(found) > 1:
            yield f"{write.change} was applied more than once: revisions {sorted(found)}"
        if write.revision is None:
            continue
        if write.change not in truth.get(write.revision, ()):
            if any(watcher.covers(write.revision) for watcher in seen):
                yield f"{write.change}, acknowledged at {write.revision}, was seen by nobody there"


def _wrong_relists(
    relists: Sequence[tuple[Relist, str]],
    writes: Sequence[Write],
    truth: dict[int, set[Change]],
) -> Iterator[str]:
    known = {(revision, change) for revision, changes in truth.items() for change in changes}
    known |= {(write.revision, write.change) for write in writes if write.revision is not None}
    timeline = sorted(known, key=lambda item: item[0], reverse=True)
    attempted = {write.change for write in writes}
    unknown = {write.change for write in writes if write.revision is None}
    # The newest change of each key that anyone knows of, up to the relist at hand.
    newest: dict[bytes, tuple[int, Change]] = {}
    for relist, name in sorted(relists, key=lambda item: item[0].revision):
        while timeline and timeline[-1][0] <= relist.revision:
            revision, change = timeline.pop()
            newest[change.key] = (revision, change)
        for problem in _wrong_relist(relist, newest, attempted, unknown):
            yield f"{name}, relist at {relist.revision}: {problem}"


def _wrong_relist(
    relist: Relist,
    newest: dict[bytes, tuple[int, Change]],
    attempted: set[Change],
    unknown: set[Change],
) -> Iterator[str]:
    listed = {kv.key: kv for kv in relist.kvs}
    for key, (revision, change) in newest.items():
        kv = listed.get(key)
        if kv is None:
            # A deletion of unknown outcome may have happened unseen, in a gap that all share.
            if change.value is not None and Change(key, None) not in unknown:
                yield f"{key!r}, written at {revision}, is missing"
        elif kv.mod_revision < revision:
            yield f"{key!r} is older than its change at {revision}"
        elif kv.mod_revision == revision and kv.value != change.value:
            yield f"{key!r} differs from its change at {revision}"
    for key, kv in listed.items():
        if Change(key, kv.value) not in attempted:
            yield f"{key!r} = {kv.value!r} was never written"
