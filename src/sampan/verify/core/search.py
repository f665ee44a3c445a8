"""The search without revisions: Wing and Gong's, with Lowe's memory of states seen.

For histories whose answers name no revision. It is cut by keys: operations whose keys no
transaction or range connects do not concern each other, and a history is linearizable when each
part is (Herlihy and Wing's locality).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from sampan.verify.core.budget import Budget
from sampan.verify.core.chain import DeadEnd
from sampan.verify.core.difference import difference
from sampan.verify.core.history import NEVER, History, Operation, Outcome
from sampan.verify.core.model import Changes, Space, perform
from sampan.verify.core.plan import expiries
from sampan.verify.core.request import (
    Delete,
    Put,
    Range,
    Record,
    Request,
    Revoke,
    Txn,
    in_range,
    may_write,
)

__all__ = ["Search", "parts"]


def parts(history: History) -> list[History]:
    """Cut a history into parts that share no key; leases connect the keys that they are put to."""
    operations = [*_relevant(history), *expiries(history)]
    keys = sorted({key for one in operations for key in _points(one.request)})
    groups = _Groups()
    lease_keys: dict[int, list[bytes]] = {}
    for one in operations:
        for key, lease in _leased(one.request):
            lease_keys.setdefault(lease, []).append(key)
    touched = [_touched(one.request, keys, lease_keys) for one in operations]
    for group in touched:
        groups.join(group)
    cut: dict[bytes, list[Operation]] = {}
    for one, group in zip(operations, touched, strict=True):
        cut.setdefault(groups.find(group[0]) if group else b"", []).append(one)
    return [_part(history, cut[root]) for root in sorted(cut)]


def _part(history: History, operations: list[Operation]) -> History:
    return history.of(sorted(operations, key=lambda one: one.invoked))


def _relevant(history: History) -> Iterator[Operation]:
    for one in history.operations:
        known = one.outcome is Outcome.OK or (
            one.outcome is Outcome.UNKNOWN and may_write(one.request)
        )
        if known and isinstance(one.request, Put | Delete | Txn | Range | Revoke):
            if not isinstance(one.request, Range) or not (
                one.request.serializable or one.request.revision
            ):
                yield one


def _points(request: Request) -> Iterator[bytes]:
    """The keys that a request names, ends of ranges left aside."""
    if isinstance(request, Txn):
        yield from (compare.key for compare in request.compares)
        for one in (*request.success, *request.failure):
            yield from _points(one)
    elif isinstance(request, Put | Range | Delete):
        yield request.key


def _leased(request: Request) -> Iterator[tuple[bytes, int]]:
    if isinstance(request, Put) and request.lease:
        yield request.key, request.lease
    elif isinstance(request, Txn):
        for one in (*request.success, *request.failure):
            yield from _leased(one)


def _touched(request: Request, keys: list[bytes], leases: dict[int, list[bytes]]) -> list[bytes]:
    found: list[bytes] = []
    match request:
        case Put(key):
            found = [key]
        case Range(key, end) | Delete(key, end):
            found = [key, *(one for one in keys if in_range(one, key, end))]
        case Revoke(lease):
            found = leases.get(lease, [])
        case Txn(compares, success, failure):
            for compare in compares:
                found += [compare.key]
                found += [one for one in keys if in_range(one, compare.key, compare.range_end)]
            for one in (*success, *failure):
                found += _touched(one, keys, leases)
    return found


class _Groups:
    """Disjoint sets of keys."""

    def __init__(self) -> None:
        self._parent: dict[bytes, bytes] = {}

    def find(self, key: bytes) -> bytes:
        root = key
        while self._parent.get(root, root) != root:
            root = self._parent[root]
        while self._parent.get(key, key) != root:
            self._parent[key], key = root, self._parent.get(key, key)
        return root

    def join(self, keys: Iterable[bytes]) -> None:
        roots = [self.find(key) for key in keys]
        for root in roots[1:]:
            self._parent[self.find(root)] = self.find(roots[0])


@dataclass(slots=True)
class Search:
    """One search over the operations of one part."""

    history: History
    budget: Budget
    dead_end: DeadEnd | None = None
    _operations: list[Operation] = field(default_factory=list)
    _ends: list[tuple[int, int]] = field(default_factory=list)
    _required: int = 0
    _deepest: int = -1

    def run(self) -> bool:
        """Say whether there is an order that explains every answer. Raises Exhausted."""
        self._operations = self.history.operations
        self._required = sum(
            1 << number for number, one in enumerate(self._operations) if one.outcome is Outcome.OK
        )
        self._ends = sorted(
            (one.completed, 1 << number)
            for number, one in enumerate(self._operations)
            if one.outcome is Outcome.OK
        )
        start = {record.key: record for record in self.history.records}
        known: set[tuple[int, frozenset[tuple[bytes, bytes, int, int]]]] = set()
        stack = [(0, 0, start)]
        while stack:
            self.budget.step()
            placed, low, records = stack.pop()
            placed, low = self._greedy(placed, low, records)
            if placed & self._required == self._required:
                return True
            state = (placed, frozenset(_values(records)))
            if state not in known:
                self.budget.remember()
                known.add(state)
                stack += self._next(placed, low, records)
        return False

    def _greedy(self, placed: int, low: int, records: dict[bytes, Record]) -> tuple[int, int]:
        """Place every answered operation that fits now and changes nothing: later is no better.

        But the end of a lease without keys: there may be some later.
        """
        moved = True
        while moved:
            moved = False
            low, horizon = self._low(placed, low)
            for bit, one in self._open(placed, horizon):
                if one.result is not None and not isinstance(one.request, Revoke):
                    changes, right = perform(Space(1, records), one.request)
                    if not changes and difference(one.result, right, revisions=False) is None:
                        placed |= bit
                        moved = True
        return placed, low

    def _next(
        self, placed: int, low: int, records: dict[bytes, Record]
    ) -> list[tuple[int, int, dict[bytes, Record]]]:
        low, horizon = self._low(placed, low)
        found = []
        for bit, one in self._open(placed, horizon):
            changes, right = perform(Space(1, records), one.request)
            wrong = one.result and difference(one.result, right, revisions=False)
            if wrong:
                self._stuck(one, wrong, (placed & self._required).bit_count())
            elif changes or isinstance(one.request, Revoke):
                found.append((placed | bit, low, _changed(records, changes)))
        # What surely happened is tried first.
        found.sort(key=lambda state: state[0] & self._required)
        return found

    def _open(self, placed: int, horizon: int) -> Iterator[tuple[int, Operation]]:
        first = (~placed & (placed + 1)).bit_length() - 1
        for number in range(first, len(self._operations)):
            one = self._operations[number]
            if one.invoked >= horizon:
                return
            if not placed & (1 << number):
                yield 1 << number, one

    def _low(self, placed: int, low: int) -> tuple[int, int]:
        """The first end that is not placed yet, and its position: what began later must wait."""
        while low < len(self._ends) and placed & self._ends[low][1]:
            low += 1
        return low, self._ends[low][0] if low < len(self._ends) else NEVER

    def _stuck(self, one: Operation, wrong: str, depth: int) -> None:
        if depth >= self._deepest:
            self._deepest = depth
            self.dead_end = DeadEnd("no order explains it", 0, one, wrong)


def _changed(records: dict[bytes, Record], changes: Changes) -> dict[bytes, Record]:
    after = {**records, **changes}
    return {key: record for key, record in after.items() if record is not None}


def _values(records: dict[bytes, Record]) -> Iterator[tuple[bytes, bytes, int, int]]:
    for record in records.values():
        yield record.key, record.value, record.version, record.lease
