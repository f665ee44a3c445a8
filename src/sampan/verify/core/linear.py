"""Is a history linearizable? An order as proof, or the smallest part that has none."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from sampan.verify.core.budget import Budget, Exhausted
from sampan.verify.core.chain import Chain, DeadEnd
from sampan.verify.core.history import History, Outcome, Watcher
from sampan.verify.core.plan import has_revisions, wrote
from sampan.verify.core.request import Grant, KeepAlive
from sampan.verify.core.search import Search, parts
from sampan.verify.core.testimony import Testimony
from sampan.verify.core.timeline import Step

__all__ = ["Linearity", "Verdict", "linearity", "smallest"]


class Verdict(Enum):
    """What a check came to."""

    OK = "ok"
    VIOLATION = "violation"
    UNDECIDED = "undecided"


@dataclass(frozen=True, slots=True)
class Linearity:
    """`steps` is the order found by revisions, empty without; `dead_end` why there is none."""

    verdict: Verdict
    steps: tuple[Step, ...] = ()
    dead_end: DeadEnd | None = None
    reason: str = ""


def linearity(
    history: History,
    budget: Budget | None = None,
    *,
    strict: bool = False,
    witnesses: Sequence[Watcher] | None = None,
) -> Linearity:
    """Check the operations of a history against the model of one store.

    Watchers only help to choose between orders; with `strict` an order must agree with them. They
    are those of the history, if no other `witnesses` are named.
    """
    budget = budget or Budget()
    testimony = Testimony(history.watchers if witnesses is None else witnesses)
    try:
        if has_revisions(history):
            return _by_revision(history, budget, testimony, strict)
        return _by_key(history, budget)
    except Exhausted as spent:
        return Linearity(Verdict.UNDECIDED, reason=str(spent))


def _by_revision(history: History, budget: Budget, testimony: Testimony, strict: bool) -> Linearity:
    chain = Chain(history, budget, testimony, strict)
    if chain.run():
        return Linearity(Verdict.OK, tuple(chain.steps))
    return Linearity(Verdict.VIOLATION, (), chain.dead_end)


def _by_key(history: History, budget: Budget) -> Linearity:
    for part in parts(history):
        search = Search(part, budget)
        if not search.run():
            return Linearity(Verdict.VIOLATION, (), search.dead_end)
    return Linearity(Verdict.OK)


def smallest(history: History, budget: Budget) -> tuple[History, DeadEnd | None]:
    """Return the shortest beginning that is not linearizable, cut to what matters; its dead end.

    First what came after the last straw goes (a beginning of a linearizable history is one), then
    keys that do not concern it, then reads that are not needed.
    """
    ends = sorted(one.completed for one in history.operations if one.outcome is Outcome.OK)
    dead_end = None
    try:
        last = bisect_left(ends, True, key=lambda end: _fails(history.until(end + 1), budget))
        history = history.until(ends[min(last, len(ends) - 1)] + 1)
        dead_end = linearity(history, budget).dead_end
        if dead_end is not None:
            history = _without_strangers(history, dead_end, budget)
        return _without_reads(history, budget), dead_end
    except Exhausted:
        return history, dead_end


def _fails(history: History, budget: Budget) -> bool:
    verdict = linearity(history, budget).verdict
    if verdict is Verdict.UNDECIDED:
        raise Exhausted("more than allowed for making the history smaller")
    return verdict is Verdict.VIOLATION


def _without_strangers(history: History, dead_end: DeadEnd, budget: Budget) -> History:
    """Keep the keys that the culprit is connected with; all else may have been other clients'."""
    for part in parts(history):
        ids = {one.id for one in part.operations}
        if dead_end.culprit.id in ids:
            kept = [
                one
                for one in history.operations
                if one.id in ids
                or (isinstance(one.request, Grant | KeepAlive) and one.outcome is not Outcome.FAIL)
            ]
            smaller = History(kept, [], history.revision, history.records, exclusive=False)
            return smaller if _fails(smaller, budget) else history
    return history


def _without_reads(history: History, budget: Budget) -> History:
    """Drop answered operations that changed nothing, in ever smaller portions, while it fails."""
    reads = [one.id for one in history.operations if one.result and not wrote(one.result)]
    size = len(reads)
    try:
        while size:
            for portion in [set(reads[at : at + size]) for at in range(0, len(reads), size)]:
                left = [one for one in history.operations if one.id not in portion]
                smaller = history.of(left)
                if _fails(smaller, budget):
                    history = smaller
                    reads = [one for one in reads if one not in portion]
            size //= 2
    except Exhausted:
        pass
    return history
