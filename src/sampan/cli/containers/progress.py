"""Showing what the daemon reports of a pull, push, load or import."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TextIO

from sampan.cli.containers.command import Failure

__all__ = ["show"]


def show(documents: Iterable[Mapping[str, Any]], out: TextIO, quiet: bool = False) -> list[Any]:
    """Write each report, one line a layer on a terminal; returns the notes (`aux`) among them.

    Raises Failure with the daemon's words when a document is an error.
    """
    lines = _Lines(out)
    notes = []
    for document in documents:
        if document.get("error"):
            detail = document.get("errorDetail") or {}
            raise Failure(str(detail.get("message") or document["error"]))
        if "aux" in document:
            notes.append(document["aux"])
        elif not quiet:
            lines.report(document)
    return notes


class _Lines:
    """What has been written so far: on a terminal, the line of each layer is written over."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._terminal = out.isatty()
        self._rows: dict[str, int] = {}

    def report(self, document: Mapping[str, Any]) -> None:
        identity, status = document.get("id", ""), document.get("status", "")
        if document.get("stream"):
            self._out.write(document["stream"])
        elif self._terminal and identity:
            self._over(identity, f"{identity}: {status} {document.get('progress', '')}".rstrip())
        elif not document.get("progressDetail"):
            # Elsewhere than on a terminal only the steps are told, not how far each is.
            self._rows.clear()
            self._out.write(f"{identity}: {status}\n" if identity else f"{status}\n")
        self._out.flush()

    def _over(self, identity: str, text: str) -> None:
        if identity not in self._rows:
            self._rows[identity] = len(self._rows)
            self._out.write("\n")
        up = len(self._rows) - self._rows[identity]
        self._out.write(f"\x1b[{up}A\x1b[2K\r{text}\r\x1b[{up}B")
