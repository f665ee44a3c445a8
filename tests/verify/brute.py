"""Linearizability by trying every order: the meaning of the word, for a handful of operations."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace

from tests.verify.right import Store

from sampan.verify import (
    Branched,
    Compact,
    Deleted,
    Done,
    Grant,
    History,
    KeepAlive,
    Operation,
    Outcome,
    Put,
    Range,
    Ranged,
    Record,
    Result,
    Wrote,
)


def linearizable(history: History, revisions: bool = True) -> bool:
    """Say whether some order of the answered operations, and of some unanswered, explains all."""
    left = [
        one
        for one in history.operations
        if not isinstance(one.request, Grant | KeepAlive | Compact)
        and (one.outcome is Outcome.OK or one.outcome is Outcome.UNKNOWN)
    ]
    return _order(Store(), left, revisions)


def _order(store: Store, left: list[Operation], revisions: bool) -> bool:
    if all(one.outcome is Outcome.UNKNOWN for one in left):
        return True
    first_end = min(one.completed for one in left)
    for one in left:
        if one.invoked < first_end:
            after = deepcopy(store)
            if _explained(after, one, revisions):
                if _order(after, [other for other in left if other is not one], revisions):
                    return True
    return False


def _explained(store: Store, one: Operation, revisions: bool) -> bool:
    past = one.request.revision if isinstance(one.request, Range) else 0
    if past and past not in store.past:
        return False
    if isinstance(one.request, Put) and 0 < one.request.lease < store.lease:
        return False
    right = store.do(one.request)
    if one.result is None or isinstance(one.result, Done):
        return True
    return one.result == (right if revisions else plain(right))


def plain(result: Result) -> Result:
    """An answer without revisions and versions."""
    match result:
        case Wrote(_, prev):
            return Wrote(None, prev and plain_record(prev))
        case Ranged(_, kvs, count, more):
            return Ranged(None, tuple(map(plain_record, kvs)), count, more)
        case Deleted(_, deleted, prevs):
            return Deleted(None, deleted, tuple(map(plain_record, prevs)))
        case Branched(_, succeeded, results):
            return Branched(None, succeeded, tuple(map(plain, results)))
        case Done():
            return Done(None)


def plain_record(record: Record) -> Record:
    return Record(record.key, record.value, 0, 0, 0, record.lease)


def without_revisions(history: History) -> History:
    """The history of a store that tells none."""
    return history.of(
        [replace(one, result=one.result and plain(one.result)) for one in history.operations]
    )
