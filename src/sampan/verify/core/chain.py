"""The search by revisions: an order of all operations that explains every answer.

Wing and Gong's search (1993) with Lowe's memory of states (2017), cut by what etcd's answers say:
a write names its revision, so at every revision at most one answered write can be next, and only
what names none leaves a choice. Nothing is taken for granted: every placement is checked against
the model and against real time, and an order that is returned is a proof.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from sampan.verify.core.budget import Budget
from sampan.verify.core.difference import difference
from sampan.verify.core.history import NEVER, History, Operation
from sampan.verify.core.model import Changes, Space, at_revision, perform
from sampan.verify.core.plan import Plan
from sampan.verify.core.request import Put, Range, Record, Revoke
from sampan.verify.core.testimony import Testimony
from sampan.verify.core.timeline import Step

__all__ = ["Chain", "DeadEnd"]


@dataclass(frozen=True, slots=True)
class DeadEnd:
    """Why the search could not go on: what cannot be placed, next to what, at which revision."""

    kind: str
    revision: int
    culprit: Operation
    text: str
    other: Operation | None = None


@dataclass(frozen=True, slots=True)
class _Move:
    """One way to go on: `operation` is next, with these changes (none: it has no effect)."""

    operation: Operation | None
    changes: Changes


@dataclass(slots=True)
class Chain:
    """One search over one history. `strict`: what fell into a gap must be what watchers saw."""

    history: History
    budget: Budget
    testimony: Testimony = field(default_factory=Testimony)
    strict: bool = False
    steps: list[Step] = field(default_factory=list)
    dead_end: DeadEnd | None = None
    _plan: Plan = field(default_factory=Plan)
    _space: Space = field(default_factory=lambda: Space(0))
    _free: set[tuple[int, int]] = field(default_factory=set)
    _taken: set[tuple[int, int]] = field(default_factory=set)
    _ended: dict[int, int] = field(default_factory=dict)
    _low: int = 0
    _trail: list[Callable[[], None]] = field(default_factory=list)
    _known: set[object] = field(default_factory=set)
    _arrived: int = -1

    def run(self) -> bool:
        """Say whether there is an order; `steps` is one, `dead_end` the farthest way to none.

        Raises Exhausted when the budget is spent.
        """
        self._plan = Plan.of(self.history)
        self._free = {one.id for one in self._plan.free}
        self._space = Space(self.history.revision, {one.key: one for one in self.history.records})
        if not self._nothing_before():
            return False
        branches: list[tuple[int, list[_Move]]] = []
        while True:
            moves = self._settle()
            if moves is None:
                return True
            if moves:
                branches.append((len(self._trail), moves))
            while branches and not branches[-1][1]:
                branches.pop()
            if not branches:
                return False
            mark, left = branches[-1]
            self._back_to(mark)
            self._make(left.pop(0))

    def _settle(self) -> list[_Move] | None:
        """Do what has no alternative; then the choices, none in a dead end, None at the end."""
        plan, space = self._plan, self._space
        while True:
            self.budget.step()
            if not self._arrive():
                return []
            late = self._take_reads()
            named = plan.writes.get(space.revision + 1, [])
            if late is None and not named:
                if self._low == len(plan.required) and space.revision >= plan.last_revision:
                    return self._watched_only() or None
                return self._choices()
            if late is None and self._available(named[0]):
                if not self._take_named(named):
                    return []
            elif not self._pass_blocker():
                return self._blocked(late or named[0])

    def _nothing_before(self) -> bool:
        """Say whether no answer names a revision before the beginning."""
        begin = self.history.revision
        named = {**self._plan.views, **self._plan.reads}
        early = [revision for revision in named if revision < begin]
        early += [revision for revision in self._plan.writes if revision <= begin]
        if not early:
            return True
        one = (self._plan.writes.get(early[0]) or named[early[0]])[0]
        text = f"the store was at revision {begin} before anything of this history"
        return self._dead(DeadEnd("revision from before the beginning", early[0], one, text))

    # At one revision

    def _arrive(self) -> bool:
        """Hold every answer that names this revision against the state; once for each arrival."""
        revision = self._space.revision
        if self._arrived == revision:
            return True
        self._set_arrived(revision)
        for one in self._plan.reads.get(revision, ()):
            asks_past = isinstance(one.request, Range) and one.request.revision
            if not asks_past and not self._agrees(one, "wrong answer"):
                return False
        for one in self._plan.views.get(revision, ()):
            if not self._agrees(one, "wrong answer about the past"):
                return False
            if self.steps and self._made_after(one):
                text = f"revision {revision} was asked for only after this answer was given"
                return self._dead(DeadEnd("answer from the future", revision, one, text))
        return True

    def _agrees(self, one: Operation, kind: str) -> bool:
        if one.result is None:
            return True
        told, at = one.result, self._space.revision
        if isinstance(one.request, Range) and one.request.revision:
            told = at_revision(told, at)
        found = difference(told, perform(self._space, one.request)[1])
        if found is None and one.result.revision is not None and one.result.revision < at:
            found = f"it tells of revision {at}, but names {one.result.revision} as the newest"
        if found is None:
            return True
        return self._dead(DeadEnd(kind, self._space.revision, one, found, self._last_writer()))

    def _made_after(self, view: Operation) -> bool:
        maker = self.steps[-1].operation
        return maker is not None and maker.invoked > view.completed

    def _take_reads(self) -> Operation | None:
        """Place the reads of this revision; returns the first one that cannot be placed yet."""
        for one in self._plan.reads.get(self._space.revision, ()):
            if one.id not in self._taken:
                if not self._available(one):
                    return one
                self._take(one)
        return None

    def _take_named(self, named: list[Operation]) -> bool:
        one = named[0]
        if len(named) > 1:
            at = self._space.revision
            text = f"two writes were answered with revision {at + 1}"
            return self._dead(DeadEnd("revision used twice", at, named[1], text, one))
        changes, right = perform(self._space, one.request)
        found = difference(one.result, right) if one.result is not None else None
        if self._uses_ended(one):
            found = "its lease had ended before"
        if found is not None:
            last = self._last_writer()
            return self._dead(DeadEnd("wrong answer", self._space.revision, one, found, last))
        self._apply(one, changes)
        return True

    # Real time

    def _horizon(self) -> int:
        """What began after this position must wait for what ended there."""
        required = self._plan.required
        return required[self._low].completed if self._low < len(required) else NEVER

    def _available(self, one: Operation) -> bool:
        return one.invoked < self._horizon()

    def _pass_blocker(self) -> bool:
        """Place what holds up the rest if it can be placed without an effect."""
        blocker = self._plan.required[self._low]
        if not self._is_free(blocker):
            return False
        changes, _ = perform(self._space, blocker.request)
        if changes:
            return False
        self._take(blocker)
        return True

    def _is_free(self, one: Operation) -> bool:
        return one.id in self._free

    def _blocked(self, waiting: Operation) -> list[_Move]:
        blocker = self._plan.required[self._low]
        at = self._space.revision
        named = waiting.result.revision if waiting.result else None
        other = blocker.result.revision if blocker.result else None
        kind = "stale read" if waiting in self._plan.reads.get(at, ()) else "revision went back"
        text = (
            f"it names revision {named}, but an operation that ended before it began "
            f"names revision {other}"
        )
        self._dead(DeadEnd(kind, at, waiting, text, blocker))
        return []

    # Choices

    def _choices(self) -> list[_Move]:
        """What may be next when no answer says so; nothing is a dead end."""
        if self._seen_before():
            return []
        moves = self._effects()
        blocker = self._plan.required[self._low] if self._low < len(self._plan.required) else None
        if blocker is not None and self._is_free(blocker):
            if not perform(self._space, blocker.request)[0]:
                moves.append(_Move(blocker, {}))
        if not self.history.exclusive and self._space.revision < self._plan.last_revision:
            # What no watcher saw, though watchers see other revisions, was rather not ours.
            unseen = self.testimony and self._space.revision + 1 not in self.testimony
            moves.insert(0 if unseen else len(moves), _Move(None, {}))
        if not moves:
            self._nobody(blocker)
        return moves

    def _seen_before(self) -> bool:
        """Say whether the search was in this very state; remembers it."""
        state = (
            self._space.revision,
            self._low,
            frozenset(one.id for one in self._plan.free if one.id in self._taken),
            frozenset(self._space.records.values()),
        )
        if state in self._known:
            return True
        self.budget.remember()
        self._known.add(state)
        return False

    def _watched_only(self) -> list[_Move]:
        """All is placed; what watchers saw besides may still be found."""
        if self._space.revision + 1 not in self.testimony:
            return []
        return [move for move in self._effects() if self._watched(move.changes)][:1]

    def _effects(self) -> list[_Move]:
        """The free operations that would make the next revision, likelier ones first."""
        events = self.testimony.at(self._space.revision + 1)
        found: list[tuple[bool, int, _Move]] = []
        asked = set()
        for one in self._plan.free:
            if one.invoked >= self._horizon():
                break
            key = (one.request, one.outcome)
            if one.id in self._taken or key in asked:
                continue
            asked.add(key)
            changes, _ = perform(self._space, one.request)
            if changes and self._shown(changes) and not self._uses_ended(one):
                watched = self._watched(changes)
                if watched or not self.strict:
                    # What changes more than anybody saw is less likely.
                    found.append((not watched, len(changes) - len(events), _Move(one, changes)))
        return [move for *_, move in sorted(found, key=lambda item: item[:2])]

    def _uses_ended(self, one: Operation) -> bool:
        """Say whether a put needs a lease that has ended: the store refuses that."""
        return isinstance(one.request, Put) and one.request.lease in self._ended

    def _shown(self, changes: Changes) -> bool:
        """Say whether the changes are those that answers show of the next revision."""
        seen: Mapping[bytes, Record] = self._plan.seen.get(self._space.revision + 1, {})
        return all(changes.get(key) == record for key, record in seen.items())

    def _watched(self, changes: Changes) -> bool:
        """Say whether the changes are those that watchers were told of at the next revision."""
        return self.testimony.agrees(self._space.revision + 1, changes)

    def _nobody(self, blocker: Operation | None) -> None:
        revision = self._space.revision + 1
        later = blocker or self._next_named()
        if later is not None:
            text = (
                f"nothing in the history can have made revision {revision}, "
                f"which comes before the one that this names"
            )
            self._dead(DeadEnd("revision without a write", revision - 1, later, text))

    def _next_named(self) -> Operation | None:
        named = {**self._plan.reads, **self._plan.views, **self._plan.writes}
        now = self._space.revision
        later = [revision for revision in named if revision > now and named[revision]]
        return named[min(later)][0] if later else None

    def _last_writer(self) -> Operation | None:
        return self.steps[-1].operation if self.steps else None

    # Placing, and taking back

    def _make(self, move: _Move) -> None:
        if move.operation is not None and not move.changes:
            self._take(move.operation)
        else:
            self._apply(move.operation, move.changes)

    def _apply(self, one: Operation | None, changes: Changes) -> None:
        undo = self._space.apply(changes)
        self._trail.append(lambda: self._space.revert(undo))
        self.steps.append(Step(self._space.revision, one, changes, undo))
        self._trail.append(lambda: _drop(self.steps))
        if one is not None:
            self._take(one)

    def _take(self, one: Operation) -> None:
        self._taken.add(one.id)
        if isinstance(one.request, Revoke):
            self._ended[one.request.lease] = self._ended.get(one.request.lease, 0) + 1
        low = self._low
        self._trail.append(lambda: self._untake(one, low))
        required = self._plan.required
        while self._low < len(required) and required[self._low].id in self._taken:
            self._low += 1

    def _untake(self, one: Operation, low: int) -> None:
        self._taken.discard(one.id)
        if isinstance(one.request, Revoke):
            self._ended[one.request.lease] -= 1
            if not self._ended[one.request.lease]:
                del self._ended[one.request.lease]
        self._low = low

    def _set_arrived(self, revision: int) -> None:
        before = self._arrived
        self._arrived = revision

        def undo() -> None:
            self._arrived = before

        self._trail.append(undo)

    def _back_to(self, mark: int) -> None:
        while len(self._trail) > mark:
            self._trail.pop()()

    def _dead(self, end: DeadEnd) -> bool:
        """Keep the dead end that is farthest; returns False."""
        if self.dead_end is None or end.revision >= self.dead_end.revision:
            self.dead_end = end
        return False


def _drop(steps: list[Step]) -> None:
    steps.pop()
