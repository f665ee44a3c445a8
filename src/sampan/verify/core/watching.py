"""Were watchers told the truth? Each notice against what etcd guarantees and what really changed.

The guarantees by their names in etcd's documentation: ordered, unique, atomic, reliable, resumable,
bookmarkable; and that previous values and filters are right, and that nothing is made up.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from sampan.verify.core.difference import kv_text, text_of
from sampan.verify.core.history import Change, History, Notice, Operation, Watcher
from sampan.verify.core.request import Compact, in_range
from sampan.verify.core.timeline import Timeline, wanted

__all__ = ["Problem", "disagreements", "watch_problems"]


@dataclass(frozen=True, slots=True)
class Problem:
    """A guarantee that was broken for a watcher, at which revision, and how."""

    guarantee: str
    watcher: int
    position: int
    revision: int
    text: str


@dataclass(slots=True)
class _Follower:
    """One pass over a watcher's notices. It knows all up to `reached`."""

    watcher: Watcher
    timeline: Timeline | None
    compactions: Sequence[Operation] = ()
    reached: int = -1
    resumed: bool = False
    bookmark: int = -1
    told: set[tuple[int, bytes]] = field(default_factory=set)

    def problems(self) -> Iterator[Problem]:
        if self.watcher.start > 0:
            self.reached = self.watcher.start - 1
        for notice in self.watcher.notices:
            match notice.kind:
                case "events":
                    yield from self._events(notice)
                case "progress":
                    yield from self._reached(notice, "bookmarkable")
                    self.bookmark = max(self.bookmark, notice.revision)
                case "end" if notice.revision:
                    yield from self._reached(notice, self._loss())
                case "compacted":
                    yield from self._compacted(notice)
                case "resume":
                    self.resumed = self.reached >= 0
                    if not self.resumed:  # a watch from now on: this is where it begins
                        self.reached = notice.revision - 1

    def _problem(self, guarantee: str, notice: Notice, revision: int, text: str) -> Problem:
        return Problem(guarantee, self.watcher.name, notice.position, revision, text)

    def _loss(self) -> str:
        return "resumable" if self.resumed else "reliable"

    def _events(self, notice: Notice) -> Iterator[Problem]:
        last = self.reached
        for change in notice.changes:
            yield from self._placed(notice, change, last)
            yield from self._asked_for(notice, change)
            last = max(last, change.revision)
            self.told.add((change.revision, change.key))
        if self.timeline is not None:
            yield from self._compared(notice, self.timeline, last)
        self.reached = last
        self.resumed = self.resumed and not notice.changes

    def _placed(self, notice: Notice, change: Change, last: int) -> Iterator[Problem]:
        """Order and uniqueness, within the message and against those before it."""
        revision, what = change.revision, _event_text(change)
        if (revision, change.key) in self.told:
            yield self._problem("unique", notice, revision, f"told again: {what}")
        elif revision <= self.bookmark:
            text = f"told after a progress notice said {self.bookmark}: {what}"
            yield self._problem("bookmarkable", notice, revision, text)
        elif revision < last:
            yield self._problem("ordered", notice, revision, f"told after revision {last}: {what}")
        elif revision == self.reached and any(told == revision for told, _ in self.told):
            text = f"the revision comes in two messages; the second has {what}"
            yield self._problem("atomic", notice, revision, text)
        elif revision <= self.reached:
            text = f"from before revision {self.reached + 1}, where the watch begins: {what}"
            yield self._problem("ordered", notice, revision, text)

    def _asked_for(self, notice: Notice, change: Change) -> Iterator[Problem]:
        if wanted(self.watcher, change):
            return
        what = _event_text(change)
        if in_range(change.key, self.watcher.key, self.watcher.range_end):
            names = ", ".join(sorted(self.watcher.filters))
            text = f"told in spite of the filter {names}: {what}"
        else:
            text = f"told, though the key is not watched: {what}"
        yield self._problem("filters", notice, change.revision, text)

    def _compared(self, notice: Notice, timeline: Timeline, last: int) -> Iterator[Problem]:
        """Nothing of (reached, last] is missing, nothing is made up, and all of it is right."""
        told = {(one.revision, one.key): one for one in notice.changes}
        for change in timeline.between(self.reached, last):
            if wanted(self.watcher, change) and (change.revision, change.key) not in told:
                yield self._missing(notice, change, {one.revision for one in notice.changes})
        for change in notice.changes:
            right = {one.key: one for one in timeline.at(change.revision)}.get(change.key)
            if right is None:
                if change.revision > timeline.begin:
                    text = f"nothing in the history made {_event_text(change)}"
                    yield self._problem("nothing made up", notice, change.revision, text)
            else:
                yield from self._right(notice, change, right)

    def _missing(self, notice: Notice, change: Change, told: set[int]) -> Problem:
        text = f"never told: {_event_text(change)}"
        guarantee = "atomic" if change.revision in told else self._loss()
        return self._problem(guarantee, notice, change.revision, text)

    def _right(self, notice: Notice, change: Change, right: Change) -> Iterator[Problem]:
        if change.record != right.record:
            text = f"told as {_event_text(change)}, right is {kv_text(right.record)}"
            yield self._problem("right value", notice, change.revision, text)
        prev = right.prev if self.watcher.prev_kv else None
        if change.prev != prev and not (change.prev is None and self._forgotten(notice, change)):
            text = (
                f"the previous value of {text_of(change.key)} is told as {kv_text(change.prev)}, "
                f"right is {kv_text(prev)}"
            )
            yield self._problem("prevKV", notice, change.revision, text)

    def _forgotten(self, notice: Notice, change: Change) -> bool:
        """Say whether a compaction may have removed the previous value: etcd then tells none."""
        return any(
            isinstance(one.request, Compact)
            and one.request.revision >= change.revision
            and one.invoked < notice.position
            for one in self.compactions
        )

    def _reached(self, notice: Notice, guarantee: str) -> Iterator[Problem]:
        """All up to the notice's revision must have been told before."""
        if self.reached < 0:
            self.reached = notice.revision
        if self.timeline is not None and notice.revision > self.reached:
            for change in self.timeline.between(self.reached, notice.revision):
                if wanted(self.watcher, change):
                    text = f"not told before the watcher was at {notice.revision}: " + _event_text(
                        change
                    )
                    yield self._problem(guarantee, notice, change.revision, text)
        self.reached = max(self.reached, notice.revision)

    def _compacted(self, notice: Notice) -> Iterator[Problem]:
        if notice.revision <= self.reached + 1:
            text = (
                f"refused as compacted at {notice.revision}, "
                f"but it asked for what comes from {self.reached + 1} on"
            )
            yield self._problem("resumable", notice, notice.revision, text)
        # What is gone cannot be told; the watcher goes on behind it.
        self.reached = max(self.reached, notice.revision - 1)


def watch_problems(history: History, timeline: Timeline | None) -> list[Problem]:
    """Check every watcher; without a timeline only what needs none."""
    compactions = [one for one in history.operations if isinstance(one.request, Compact)]
    return [
        problem
        for watcher in history.watchers
        for problem in _Follower(watcher, timeline, compactions).problems()
    ]


def disagreements(watchers: Sequence[Watcher]) -> list[Problem]:
    """Find changes that two watchers were told differently: for histories without an order."""
    first: dict[tuple[int, bytes], tuple[int, Change]] = {}
    found = []
    for watcher in watchers:
        for notice in watcher.notices:
            for change in notice.changes:
                place = change.revision, change.key
                name, other = first.setdefault(place, (watcher.name, change))
                if other.record != change.record:
                    text = (
                        f"told as {_event_text(change)}, but watcher {name} was told "
                        f"{_event_text(other)}"
                    )
                    found.append(
                        Problem("right value", watcher.name, notice.position, change.revision, text)
                    )
    return found


def _event_text(change: Change) -> str:
    if change.record is None:
        return f"deletion of {text_of(change.key)} at revision {change.revision}"
    return f"put of {text_of(change.key)} = {kv_text(change.record)}"
