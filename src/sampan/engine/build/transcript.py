"""A build as the classic builder tells it: lines of JSON with text in them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from sampan.base.diagnostic import Diagnostic, DiagnosticsError
from sampan.engine.build.events import EventStream
from sampan.images.build.progress import StepStatus
from sampan.images.core.build.failure import CommandError
from sampan.images.shell.index import Entry

__all__ = ["Transcript"]


class Transcript:
    """Turns progress into lines and gives them to `write`. Quiet, it tells the result only.

    `events` hears what the classic builder has no words for: warnings, and with `in_events` the
    steps instead of the classic words for them.
    """

    def __init__(
        self,
        write: Callable[[bytes], None],
        *,
        quiet: bool,
        events: EventStream | None = None,
        in_events: bool = False,
    ) -> None:
        self._write = write
        self._events = events
        self._steps = events if in_events else None
        self._quiet = quiet
        self._begun: set[str] = set()
        self._total = 0

    def _line(self, document: dict[str, Any]) -> None:
        self._write(json.dumps(document, separators=(",", ":")).encode() + b"\r\n")

    def text(self, text: str) -> None:
        """Tell a text."""
        self._line({"stream": text})

    def begin(self, steps: int) -> None:
        """So many steps are to be done."""
        self._total = steps
        if self._steps is not None:
            self._steps.begin(steps)

    def step(self, status: StepStatus) -> None:
        """A step has begun or ended."""
        if self._quiet:
            return
        if self._steps is not None:
            self._steps.step(status)
            return
        if status.internal:
            if status.error:
                self.text(f"[Warning] {status.name}: {status.error}\n")
            return
        if status.key not in self._begun:
            self._begun.add(status.key)
            self.text(f"Step {len(self._begun)}/{self._total} : {status.name}\n")
        if status.completed_s is not None and status.cached and status.inputs:
            self.text(" ---> Using cache\n")

    def output(self, key: str, stream: str, data: bytes) -> None:
        """A step's command has written something."""
        if self._steps is not None:
            self._steps.output(key, stream, data)
        elif not self._quiet:
            self.text(data.decode(errors="replace"))

    def warning(self, found: Diagnostic) -> None:
        """Something will surprise; the classic builder has no checks and no words for them."""
        if self._events is not None:
            self._events.warning(found)

    def done(self, entry: Entry, tags: list[str]) -> None:
        """The image is there."""
        self._line({"aux": {"ID": entry.id}})
        if self._steps is not None:
            return
        if self._quiet:
            self.text(f"{entry.id}\n")
            return
        self.text(f"Successfully built {entry.id.removeprefix('sha256:')[:12]}\n")
        for tag in tags:
            self.text(f"Successfully tagged {tag}\n")

    def failed(self, error: Exception) -> None:
        """It has not worked."""
        message = str(error)
        if self._events is not None and isinstance(error, DiagnosticsError):
            for found in error.diagnostics:
                self._events.warning(found)
        detail: dict[str, Any] = {"message": message}
        if isinstance(error, CommandError):
            detail["code"] = error.exit_code
        self._line({"errorDetail": detail, "error": message})
