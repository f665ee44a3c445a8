"""A history: what clients asked, what they were told, and in which order that happened.

The order is that of positions: the number of the line in a history file, or of the event that a
recorder was told. What ended at a lower position than another began came before it; everything
else is concurrent. Times are only for people, and for leases.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Final, Literal

from sampan.verify.core.request import Record, Request, Result

__all__ = ["NEVER", "Change", "History", "Notice", "Operation", "Outcome", "Watcher"]

NEVER: Final = 1 << 62
"""The position at which an operation ends whose answer never came."""


class Outcome(Enum):
    """What is known of an operation."""

    OK = "ok"
    FAIL = "fail"
    """It surely had no effect."""
    UNKNOWN = "unknown"
    """It may have taken effect, may do so later, or never."""


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation of one process. Times in seconds on the recorder's clock."""

    process: int
    request: Request
    invoked: int
    invoked_s: float
    outcome: Outcome = Outcome.UNKNOWN
    completed: int = NEVER
    completed_s: float = float("inf")
    result: Result | None = None
    error: str = ""

    @property
    def id(self) -> tuple[int, int]:
        """What tells it from all other operations of a history."""
        return self.process, self.invoked

    def pending_at(self, position: int) -> Operation:
        """The operation as it was known at `position`, before anything later was."""
        if self.completed < position:
            return self
        return replace(
            self, outcome=Outcome.UNKNOWN, completed=NEVER, completed_s=float("inf"), result=None
        )


@dataclass(frozen=True, slots=True)
class Change:
    """One key changed; `record` None is a deletion, `prev` is what the watcher was told before."""

    key: bytes
    revision: int
    record: Record | None
    prev: Record | None = None


@dataclass(frozen=True, slots=True)
class Notice:
    """One message to a watcher.

    "events" carries changes of whole revisions (fragments are put together first); "progress" says
    that all up to `revision` was told; "resume" is the watcher's own: it asked again for all from
    `revision` on; "compacted" refused that, what is below `revision` is forgotten; "end" says that
    the watcher was left in peace until it should have known `revision` (0: it was not).
    """

    kind: Literal["events", "progress", "resume", "compacted", "end"]
    position: int
    time_s: float
    revision: int
    changes: tuple[Change, ...] = ()


@dataclass(slots=True)
class Watcher:
    """What one watcher asked for and was told. `start` 0 is from the revision of the answer on."""

    process: int
    name: int
    key: bytes
    range_end: bytes
    start: int
    prev_kv: bool = False
    filters: frozenset[str] = frozenset()
    notices: list[Notice] = field(default_factory=list)


@dataclass(slots=True)
class History:
    """Operations in the order of their beginning, and watchers.

    `revision` and `records` are the store's at the beginning. In a store that is not `exclusive`
    others write too, to keys that the history does not touch: revisions may be missing.
    """

    operations: list[Operation] = field(default_factory=list)
    watchers: list[Watcher] = field(default_factory=list)
    revision: int = 1
    records: tuple[Record, ...] = ()
    exclusive: bool = True

    def until(self, position: int) -> History:
        """What was known before `position`, without watchers."""
        return self.of(
            [one.pending_at(position) for one in self.operations if one.invoked < position]
        )

    def of(self, operations: Sequence[Operation]) -> History:
        """The same store with other operations, without watchers."""
        return History(list(operations), [], self.revision, self.records, self.exclusive)
