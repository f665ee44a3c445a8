"""Writing a history file while it happens."""

from __future__ import annotations

import time
from typing import TextIO

from sampan.verify.core import jsonl
from sampan.verify.core.history import Change, History, Notice, Watcher
from sampan.verify.core.request import Request, Result

__all__ = ["Tape"]


class Tape:
    """A history file being written, one line an event, in the order of the calls.

    `answered`, `unknown` and `failed` count what operations came to.
    """

    def __init__(self, file: TextIO, beginning: History) -> None:
        self._file = file
        self._began_s = time.monotonic()
        self.answered = self.unknown = self.failed = 0
        self._write("history", 0, jsonl.encode_head(beginning))

    def invoke(self, process: int, request: Request) -> None:
        """A process asks."""
        self._write("invoke", process, jsonl.encode_request(request))

    def ok(self, process: int, result: Result) -> None:
        """It was answered."""
        self.answered += 1
        self._write("ok", process, jsonl.encode_result(result))

    def fail(self, process: int, error: str) -> None:
        """It surely had no effect."""
        self.failed += 1
        self._write("fail", process, {"error": error})

    def lost(self, process: int, error: str) -> None:
        """Nobody knows whether it had an effect, or will have."""
        self.unknown += 1
        self._write("unknown", process, {"error": error})

    def watch(self, watcher: Watcher) -> None:
        """A watcher begins."""
        self._write("watch", watcher.process, jsonl.encode_watcher(watcher))

    def notice(
        self, watcher: Watcher, kind: str, revision: int, changes: tuple[Change, ...] = ()
    ) -> None:
        """A watcher is told something; `Notice` has the kinds."""
        notice = Notice(kind, 0, 0.0, revision, changes)  # type: ignore[arg-type]
        self._write(kind, watcher.process, jsonl.encode_notice(watcher.name, notice))

    def _write(self, kind: str, process: int, fields: dict[str, object]) -> None:
        now_s = time.monotonic() - self._began_s
        self._file.write(jsonl.line(kind, now_s, process, fields) + "\n")
