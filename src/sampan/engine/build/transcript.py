"""A build as the classic builder tells it: lines of JSON with text in them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from sampan.base.diagnostic import Diagnostic
from sampan.images.build.commands import CommandError
from sampan.images.build.progress import StepStatus
from sampan.images.shell.index import Entry

__all__ = ["Transcript"]


class Transcript:
    """Turns progress into lines and gives them to `write`. Quiet, it tells the result only."""

    def __init__(self, write: Callable[[bytes], None], *, quiet: bool) -> None:
        self._write = write
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

    def step(self, status: StepStatus) -> None:
        """A step has begun or ended."""
        if self._quiet:
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
        if not self._quiet:
            self.text(data.decode(errors="replace"))

    def warning(self, found: Diagnostic) -> None:
        """Something will surprise."""
        if not self._quiet:
            self.text(f"[Warning] {found.span}: {found.summary}\n")

    def done(self, entry: Entry, tags: list[str]) -> None:
        """The image is there."""
        self._line({"aux": {"ID": entry.id}})
        if self._quiet:
            self.text(f"{entry.id}\n")
            return
        self.text(f"Successfully built {entry.id.removeprefix('sha256:')[:12]}\n")
        for tag in tags:
            self.text(f"Successfully tagged {tag}\n")

    def failed(self, error: Exception) -> None:
        """It has not worked."""
        message = str(error)
        detail: dict[str, Any] = {"message": message}
        if isinstance(error, CommandError):
            detail["code"] = error.exit_code
        self._line({"errorDetail": detail, "error": message})
