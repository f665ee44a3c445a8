"""Putting a history together while it happens; used by clients, simulators and the file reader."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from sampan.verify.core.history import Change, History, Notice, Operation, Outcome, Watcher
from sampan.verify.core.request import Record, Request, Result

__all__ = ["RecordError", "Recorder"]


class RecordError(ValueError):
    """An event that cannot have happened, such as an answer without a question."""


class Recorder:
    """Takes events in the order in which they happen; `history` is what they make.

    Each process does one operation at a time. Times are seconds and never go back.
    """

    def __init__(
        self, revision: int = 1, records: Iterable[Record] = (), *, exclusive: bool = True
    ) -> None:
        self.history = History(revision=revision, records=tuple(records), exclusive=exclusive)
        self._open: dict[int, int] = {}
        self._watchers: dict[int, Watcher] = {}
        self._position = 0
        self._time_s = 0.0

    def invoke(self, process: int, time_s: float, request: Request) -> None:
        """A process asks. Raises RecordError when its last operation has not ended."""
        if process in self._open:
            raise RecordError(f"process {process} asks again before its last operation ended")
        position = self._next(time_s)
        self._open[process] = len(self.history.operations)
        self.history.operations.append(Operation(process, request, position, time_s))

    def ok(self, process: int, time_s: float, result: Result) -> None:
        """It was answered."""
        self._end(process, time_s, Outcome.OK, result, "")

    def fail(self, process: int, time_s: float, error: str = "") -> None:
        """It surely had no effect."""
        self._end(process, time_s, Outcome.FAIL, None, error)

    def unknown(self, process: int, time_s: float, error: str = "") -> None:
        """Nobody knows whether it had an effect, or will have; the process goes on without it."""
        self._end(process, time_s, Outcome.UNKNOWN, None, error)

    def watch(self, time_s: float, watcher: Watcher) -> None:
        """A watcher begins."""
        if watcher.name in self._watchers:
            raise RecordError(f"there is a watcher {watcher.name} already")
        self._next(time_s)
        self._watchers[watcher.name] = watcher
        self.history.watchers.append(watcher)

    def notice(
        self,
        watcher: int,
        time_s: float,
        kind: str,
        revision: int,
        changes: Iterable[Change] = (),
    ) -> None:
        """A watcher is told something; see `Notice` for the kinds."""
        if watcher not in self._watchers:
            raise RecordError(f"there is no watcher {watcher}")
        if kind not in ("events", "progress", "resume", "compacted", "end"):
            raise RecordError(f"a watcher is not told {kind!r}")
        position = self._next(time_s)
        notice = Notice(kind, position, time_s, revision, tuple(changes))  # type: ignore[arg-type]
        self._watchers[watcher].notices.append(notice)

    def _next(self, time_s: float) -> int:
        if time_s < self._time_s:
            raise RecordError(f"time goes back from {self._time_s} s to {time_s} s")
        self._time_s = time_s
        self._position += 1
        return self._position

    def _end(
        self, process: int, time_s: float, outcome: Outcome, result: Result | None, error: str
    ) -> None:
        number = self._open.pop(process, None)
        if number is None:
            raise RecordError(f"process {process} has asked nothing that could end")
        position = self._next(time_s)
        operation = self.history.operations[number]
        if outcome is Outcome.UNKNOWN:
            ended = replace(operation, error=error)
        else:
            ended = replace(
                operation,
                outcome=outcome,
                completed=position,
                completed_s=time_s,
                result=result,
                error=error,
            )
        self.history.operations[number] = ended
