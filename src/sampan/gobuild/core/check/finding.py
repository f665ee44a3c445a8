"""Findings with their evidence, remedy and, where it is safe, the edit that repairs them."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence

from sampan.base.diagnostic import Diagnostic, Severity, Span
from sampan.base.record import record

__all__ = ["Edit", "Finding", "SourceFile", "edited", "finding", "logical_lines", "shown_diff"]


@record
class SourceFile:
    """A text file of the project, by its path within it."""

    path: str
    text: str

    @property
    def lines(self) -> list[str]:
        """The lines without their ends."""
        return self.text.split("\n")


@record
class Edit:
    """Replace columns `start` to before `end` (from 0) of a line (from 1)."""

    file: str
    line: int
    start: int
    end: int
    text: str


@record
class Finding:
    """A diagnostic, the line that shows it, and what to do; `edit` only when it is safe."""

    diagnostic: Diagnostic
    evidence: str
    remedy: str
    edit: Edit | None = None


def logical_lines(lines: Iterable[str], first: int = 1) -> Iterator[list[tuple[int, str]]]:
    """Yield numbered lines, those joined by a backslash together; no comments and messages."""
    held: list[tuple[int, str]] = []
    for number, line in enumerate(lines, first):
        if line.lstrip().lstrip("@").startswith(("#", "//", "echo ", "printf ")):
            continue
        held.append((number, line))
        if not line.endswith("\\") or number - held[0][0] >= 200:
            yield held
            held = []
    if held:
        yield held


def finding(
    severity: Severity,
    rule: str,
    summary: str,
    source: SourceFile,
    line: int,
    column: int,
    remedy: str,
    why: str = "",
    edit: Edit | None = None,
) -> Finding:
    """Make a finding at a place (from 1); the line there is its evidence."""
    lines = source.lines
    evidence = lines[line - 1].strip() if 0 < line <= len(lines) else ""
    detail = f"{why} {remedy}".strip()
    span = Span(source.path, line, column)
    return Finding(Diagnostic(severity, rule, summary, span, detail), evidence[:200], remedy, edit)


def edited(files: Mapping[str, SourceFile], found: Iterable[Finding]) -> dict[str, str]:
    """Return the new texts of files after all edits; the same edit twice counts once."""
    by_file: dict[str, set[Edit]] = {}
    for one in found:
        if one.edit:
            by_file.setdefault(one.edit.file, set()).add(one.edit)
    return {path: _applied(files[path], edits) for path, edits in by_file.items()}


def _applied(source: SourceFile, edits: set[Edit]) -> str:
    lines = source.lines
    done: list[tuple[int, int]] = []
    for edit in sorted(edits, key=lambda one: (one.line, one.start, one.text), reverse=True):
        if done and done[-1] <= (edit.line, edit.end) and edit.end > edit.start:
            if done[-1][0] == edit.line and done[-1][1] < edit.end:
                continue
        line = lines[edit.line - 1]
        lines[edit.line - 1] = line[: edit.start] + edit.text + line[edit.end :]
        done.append((edit.line, edit.start))
    return "\n".join(lines)


def shown_diff(files: Mapping[str, SourceFile], texts: Mapping[str, str]) -> str:
    """Return what changes, as `diff -u` shows it."""
    parts: list[str] = []
    for path in sorted(texts):
        before: Sequence[str] = files[path].text.splitlines(keepends=True)
        after = texts[path].splitlines(keepends=True)
        parts += difflib.unified_diff(before, after, f"a/{path}", f"b/{path}")
    return "".join(parts)
