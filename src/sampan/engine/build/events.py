"""A build as `sampan build` hears it: one JSON object an event, in the `aux` of Docker's stream.

Docker's own command line never asks for these, and would ignore them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Final

from sampan.base.diagnostic import Diagnostic
from sampan.images.build.progress import StepStatus

__all__ = ["EVENT", "EventStream", "warning_event"]

EVENT: Final = "sampan.build"


def warning_event(found: Diagnostic) -> dict[str, Any]:
    """Return a finding as an event."""
    span = found.span
    return {
        "event": "warning",
        "severity": found.severity.value,
        "rule": found.rule,
        "file": span.file,
        "line": span.line,
        "column": span.column,
        "end_line": span.end_line or span.line,
        "summary": found.summary,
        "detail": found.detail,
    }


class EventStream:
    """A Progress that writes events."""

    def __init__(self, write: Callable[[bytes], None]) -> None:
        self._write = write

    def tell(self, event: Mapping[str, Any]) -> None:
        """Write one event."""
        line = json.dumps({"id": EVENT, "aux": event}, separators=(",", ":"))
        self._write(line.encode() + b"\r\n")

    def begin(self, steps: int) -> None:
        """So many steps are to be done."""
        self.tell({"event": "begin", "steps": steps})

    def step(self, status: StepStatus) -> None:
        """A step has begun or ended."""
        self.tell(
            {
                "event": "step",
                "key": status.key,
                "name": status.name,
                "inputs": list(status.inputs),
                "started": status.started_s,
                "completed": status.completed_s,
                "cached": status.cached,
                "error": status.error,
                "internal": status.internal,
            }
        )

    def output(self, key: str, stream: str, data: bytes) -> None:
        """A step's command has written something."""
        text = data.decode(errors="replace")
        self.tell({"event": "output", "key": key, "stream": stream, "text": text})

    def warning(self, found: Diagnostic) -> None:
        """Something will surprise."""
        self.tell(warning_event(found))
