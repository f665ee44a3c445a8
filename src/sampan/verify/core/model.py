"""The store as it should be: one operation after the other, on a dictionary.

`perform` says what an operation changes and answers; `Space.apply` makes the changes and tells how
to undo them. `difference` compares an answer of the model with one of a history.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from sampan.verify.core.request import (
    Branched,
    Compare,
    Delete,
    Deleted,
    Done,
    Put,
    Range,
    Ranged,
    Record,
    Request,
    Result,
    Revoke,
    Txn,
    Wrote,
    in_range,
)

__all__ = ["Changes", "Space", "at_revision", "perform"]

Changes = dict[bytes, Record | None]
"""What an operation does to keys; None is a deletion."""


@dataclass(slots=True)
class Space:
    """All keys at one revision."""

    revision: int
    records: dict[bytes, Record] = field(default_factory=dict)

    def apply(self, changes: Mapping[bytes, Record | None]) -> Changes:
        """Make `changes` at the next revision; returns the changes that undo it."""
        undo: Changes = {}
        for key, record in changes.items():
            undo[key] = self.records.get(key)
            self._set(key, record)
        self.revision += 1
        return undo

    def revert(self, undo: Mapping[bytes, Record | None]) -> None:
        """Take back the last `apply`."""
        for key, record in undo.items():
            self._set(key, record)
        self.revision -= 1

    def _set(self, key: bytes, record: Record | None) -> None:
        if record is None:
            self.records.pop(key, None)
        else:
            self.records[key] = record


class _View:
    """A space with the changes of an operation that is being performed."""

    def __init__(self, space: Space) -> None:
        self.space = space
        self.changes: Changes = {}
        self.revision = space.revision + 1

    def get(self, key: bytes) -> Record | None:
        if key in self.changes:
            return self.changes[key]
        return self.space.records.get(key)

    def select(self, start: bytes, end: bytes) -> list[Record]:
        """The records of a range in the order of their keys."""
        if not end:
            one = self.get(start)
            return [] if one is None else [one]
        keys: Iterable[bytes] = self.space.records
        if self.changes:
            keys = {*self.space.records, *self.changes}
        found = (self.get(key) for key in sorted(k for k in keys if in_range(k, start, end)))
        return [record for record in found if record is not None]

    def remove(self, records: Iterable[Record]) -> None:
        for record in records:
            self.changes[record.key] = None


def perform(space: Space, request: Request) -> tuple[Changes, Result]:
    """Return what `request` would change now, and its answer; an empty change moves no revision.

    A read of an old revision is answered from `space` as if that were the revision.
    """
    view = _View(space)
    result = _perform(view, request)
    return view.changes, at_revision(result, view.revision if view.changes else space.revision)


def at_revision(result: Result, revision: int) -> Result:
    """The same answer, naming `revision`."""
    match result:
        case Wrote(_, prev):
            return Wrote(revision, prev)
        case Ranged(_, kvs, count, more):
            return Ranged(revision, kvs, count, more)
        case Deleted(_, deleted, prevs):
            return Deleted(revision, deleted, prevs)
        case Branched(_, succeeded, results):
            return Branched(revision, succeeded, results)
        case Done(_, ttl_s):
            return Done(revision, ttl_s)


def _perform(view: _View, request: Request) -> Result:
    match request:
        case Put():
            return _put(view, request)
        case Range():
            return _range(view, request)
        case Delete():
            gone = view.select(request.key, request.range_end)
            view.remove(gone)
            return Deleted(None, len(gone), tuple(gone) if request.prev_kv else ())
        case Txn():
            # Conditions, inner ones too, see the state before the whole transaction, as in etcd.
            before = _View(view.space)
            succeeded = all(_holds(before, compare) for compare in request.compares)
            branch = request.success if succeeded else request.failure
            return Branched(None, succeeded, tuple(_perform(view, one) for one in branch))
        case Revoke(lease):
            view.remove([one for one in view.space.records.values() if one.lease == lease])
    return Done(None)


def _put(view: _View, put: Put) -> Wrote:
    old = view.get(put.key)
    create, version = (old.create, old.version + 1) if old else (view.revision, 1)
    view.changes[put.key] = Record(put.key, put.value, create, view.revision, version, put.lease)
    return Wrote(None, old if put.prev_kv else None)


def _range(view: _View, request: Range) -> Ranged:
    found = view.select(request.key, request.range_end)
    shown = found[: request.limit] if request.limit else found
    if request.keys_only:
        shown = [Record(r.key, b"", r.create, r.mod, r.version, r.lease) for r in shown]
    more = len(shown) < len(found) and not request.count_only
    return Ranged(None, () if request.count_only else tuple(shown), len(found), more)


def _holds(view: _View, compare: Compare) -> bool:
    found = view.select(compare.key, compare.range_end)
    if compare.range_end:
        return all(_one_holds(record, compare) for record in found)
    return _one_holds(found[0] if found else None, compare)


def _one_holds(record: Record | None, compare: Compare) -> bool:
    if record is None and compare.target == "value":
        return False
    actual: bytes | int = 0 if record is None else getattr(record, compare.target)
    operand = compare.operand
    if isinstance(actual, bytes) is not isinstance(operand, bytes):
        raise TypeError(f"{compare.target} cannot be compared with {operand!r}")
    match compare.relation:
        case "=":
            return actual == operand
        case "!=":
            return actual != operand
        case "<":
            return actual < operand  # type: ignore[operator]
        case ">":
            return actual > operand  # type: ignore[operator]
