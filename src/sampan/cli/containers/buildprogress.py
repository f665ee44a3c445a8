"""Showing a build while it goes on: redrawn on a terminal, line by line, or as it comes."""

from __future__ import annotations

import io
import json
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TextIO

from sampan.base.errors import InvalidError
from sampan.cli.containers import terminal
from sampan.cli.containers.command import Failure
from sampan.cli.containers.core.buildview import BuildView, findings, plain_lines
from sampan.cli.containers.progress import show

__all__ = ["FORMS", "follow", "form_of"]

FORMS = ("auto", "plain", "tty", "quiet", "rawjson")
_EVENT = "sampan.build"
_REDRAW_S = 0.1


def form_of(wanted: str, quiet: bool) -> str:
    """Return the form to show a build in: "" is the classic builder's words.

    Raises InvalidError for a form that does not exist.
    """
    if wanted not in FORMS:
        raise InvalidError(f"invalid progress mode {wanted}: use {', '.join(FORMS)}")
    if quiet or wanted == "quiet":
        return "quiet"
    if wanted == "auto":
        return "tty" if terminal.is_terminal(sys.stdout.fileno()) else ""
    return wanted


def follow(documents: Iterable[Mapping[str, Any]], form: str) -> list[Any]:
    """Show a build until its end; returns Docker's notes. Raises Failure with its error."""
    view = BuildView()
    events = _Events(documents, view)
    try:
        match form:
            case "tty":
                return _on_terminal(events, view, sys.stdout)
            case "plain":
                return show(events.telling(_plain), sys.stdout)
            case "rawjson":
                return show(events.telling(_raw), sys.stdout)
            case _:
                return show(events, sys.stdout)
    finally:
        if form != "rawjson":
            for line in findings(view.warnings):
                print(line, file=sys.stderr)


def _plain(view: BuildView, event: Mapping[str, Any]) -> None:
    for line in plain_lines(view, event):
        print(line, flush=True)


def _raw(_: BuildView, event: Mapping[str, Any]) -> None:
    print(json.dumps(event, separators=(",", ":")), flush=True)


class _Events:
    """Takes the events out of a stream of documents into a view; the rest goes on."""

    def __init__(self, documents: Iterable[Mapping[str, Any]], view: BuildView) -> None:
        self._documents = documents
        self._view = view
        self.lock = threading.Lock()

    def __iter__(self) -> Iterator[Mapping[str, Any]]:
        return self.telling(lambda view, event: None)

    def telling(self, tell: Any) -> Iterator[Mapping[str, Any]]:
        """Yield the rest; `tell` is called with the view and each event that it has taken."""
        for document in self._documents:
            if document.get("id") != _EVENT:
                yield document
                continue
            with self.lock:
                self._view.take(document["aux"])
            tell(self._view, document["aux"])


class _Screen:
    """Rows that are written over again and again."""

    def __init__(self, view: BuildView, out: TextIO) -> None:
        self._view = view
        self._out = out
        self._began_s = time.time()
        self._shown = 0

    def draw(self, *, done: bool = False) -> None:
        height, width = terminal.size()
        size = (height if height and not done else 10_000 if done else 24, width or 80)
        now_s = time.time()
        rows = self._view.rows(size, now_s, now_s - self._began_s, done=done)
        up = f"\x1b[{self._shown}A" if self._shown else ""
        self._out.write(f"{up}\r\x1b[J" + "".join(f"{row}\n" for row in rows))
        self._out.flush()
        self._shown = len(rows)


def _on_terminal(events: _Events, view: BuildView, out: TextIO) -> list[Any]:
    screen, ended = _Screen(view, out), threading.Event()

    def redraw() -> None:
        while not ended.wait(_REDRAW_S):
            with events.lock:
                screen.draw()

    drawing = threading.Thread(target=redraw, daemon=True)
    drawing.start()
    try:
        return show(events, io.StringIO())
    except Failure:
        ended.set()
        drawing.join()
        screen.draw(done=True)
        _tell_failed(view, out)
        raise
    finally:
        if not ended.is_set():
            ended.set()
            drawing.join()
            screen.draw(done=True)


def _tell_failed(view: BuildView, out: TextIO) -> None:
    step = view.failed()
    if step is not None:
        lines = "\n".join(line for line in step.output if line.strip())
        out.write(f"------\n > {step.name}:\n{lines}\n------\n")
