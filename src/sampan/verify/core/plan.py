"""What must be ordered, sorted by how its place is known: the input of the search by revisions.

A write that was answered names its revision, so it has one place only. What has none: writes of
unknown outcome, and the ends of leases, which may fall into any gap between the named revisions.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from sampan.verify.core.history import NEVER, History, Operation, Outcome
from sampan.verify.core.request import (
    Branched,
    Delete,
    Deleted,
    Done,
    Grant,
    KeepAlive,
    Put,
    Range,
    Ranged,
    Record,
    Request,
    Result,
    Revoke,
    Txn,
    Wrote,
    may_write,
)

__all__ = ["Plan", "expiries", "has_revisions", "records_in", "wrote"]


def wrote(result: Result | None) -> bool:
    """Say whether an answer tells that something was changed."""
    if isinstance(result, Branched):
        return any(map(wrote, result.results))
    return isinstance(result, Wrote) or (isinstance(result, Deleted) and result.deleted > 0)


def records_in(request: Request, result: Result | None) -> Iterator[Record]:
    """Every whole record that an answer shows: not those of which keys alone were asked for."""
    match result:
        case Wrote(_, prev):
            yield from () if prev is None else (prev,)
        case Ranged(_, kvs) if not (isinstance(request, Range) and request.keys_only):
            yield from kvs
        case Deleted(_, _, prevs):
            yield from prevs
        case Branched(_, succeeded, results) if isinstance(request, Txn):
            branch = request.success if succeeded else request.failure
            for asked, one in zip(branch, results, strict=False):
                yield from records_in(asked, one)


def has_revisions(history: History) -> bool:
    """Say whether every answer that could name a revision does."""
    return all(
        one.result is None or one.result.revision is not None or isinstance(one.result, Done)
        for one in history.operations
    )


def expiries(history: History) -> list[Operation]:
    """The ends by time of all leases: they may happen once the last renewal has run out, or never.

    A lease that nobody is seen to grant may end at any time. Their processes are below zero.
    """
    last_s: dict[int, float] = {}
    ttl_s: dict[int, float] = {}
    used: set[int] = set()
    for one in history.operations:
        request = one.request
        if isinstance(request, Grant) and one.outcome is not Outcome.FAIL:
            ttl_s[request.lease] = request.ttl_s
            last_s[request.lease] = one.invoked_s
        elif isinstance(request, KeepAlive) and isinstance(one.result, Done):
            if one.result.ttl_s > 0 and request.lease in ttl_s:
                last_s[request.lease] = max(last_s[request.lease], one.invoked_s)
        used.update(_leases(request))
    begins = {lease: last_s[lease] + ttl_s[lease] for lease in ttl_s}
    positions = sorted(
        (moment_s, position)
        for one in history.operations
        for moment_s, position in ((one.invoked_s, one.invoked), (one.completed_s, one.completed))
        if position != NEVER
    )
    return list(_placed({lease: begins.get(lease, 0.0) for lease in used}, positions))


def _placed(begins: dict[int, float], positions: list[tuple[float, int]]) -> Iterator[Operation]:
    for number, (lease, begin_s) in enumerate(sorted(begins.items()), 1):
        # Just before the first event at that time or later, so behind everything earlier.
        after = bisect_left(positions, (begin_s, 0))
        if after < len(positions):
            yield Operation(-number, Revoke(lease), positions[after][1] - 1, begin_s)


def _leases(request: object) -> Iterator[int]:
    if isinstance(request, Put) and request.lease:
        yield request.lease
    elif isinstance(request, Txn):
        for one in (*request.success, *request.failure):
            yield from _leases(one)


@dataclass(slots=True)
class Plan:
    """The operations of a history by what decides their place.

    `required` is in the order of completion: each must be placed before anything that began after
    it ended. `writes` and `reads` are by their revision; `views` are reads of which only the
    revision matters, not the moment. `free` may be placed in gaps.
    """

    required: list[Operation] = field(default_factory=list)
    writes: dict[int, list[Operation]] = field(default_factory=lambda: defaultdict(list))
    reads: dict[int, list[Operation]] = field(default_factory=lambda: defaultdict(list))
    views: dict[int, list[Operation]] = field(default_factory=lambda: defaultdict(list))
    free: list[Operation] = field(default_factory=list)
    seen: dict[int, dict[bytes, Record]] = field(default_factory=lambda: defaultdict(dict))
    last_revision: int = 0

    @classmethod
    def of(cls, history: History) -> Plan:
        """Sort the operations of a history; failed ones and unanswered reads say nothing."""
        plan = cls()
        for one in history.operations:
            if one.outcome is Outcome.OK:
                plan._answered(one)
            elif one.outcome is Outcome.UNKNOWN and may_write(one.request):
                plan.free.append(one)
        plan.free += expiries(history)
        plan.free.sort(key=lambda one: one.invoked)
        plan.required.sort(key=lambda one: one.completed)
        for group in (*plan.reads.values(), *plan.views.values()):
            group.sort(key=lambda one: one.invoked)
        plan.last_revision = max([*plan.writes, *plan.reads, *plan.views], default=0)
        return plan

    def _answered(self, one: Operation) -> None:
        request, result = one.request, one.result
        if isinstance(request, Revoke):
            self.required.append(one)
            self.free.append(one)
        if not isinstance(request, Put | Delete | Txn | Range) or result is None:
            return
        revision = result.revision or 0
        self._note(records_in(request, result))
        if isinstance(request, Range) and request.revision:
            self.views[request.revision].append(one)
        if isinstance(request, Range) and request.serializable:
            if not request.revision:
                self.views[revision].append(one)
            return
        self.required.append(one)
        (self.writes if wrote(result) else self.reads)[revision].append(one)

    def _note(self, records: Iterable[Record]) -> None:
        for record in records:
            self.seen[record.mod][record.key] = record
