"""A build as a person sees it: its steps as rows of a terminal, or line by line.

Takes the events of a build (see `sampan.engine.build.events`) and the time; writes nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

__all__ = ["BuildView", "Step", "findings", "plain_lines", "source_excerpt"]

_TAIL = 6
_KEPT = 200
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|[\x00-\x08\x0b-\x1f\x7f]")


class Step(NamedTuple):
    """One step as far as it is; times are seconds since 1970."""

    number: int
    name: str
    started: float | None
    completed: float | None
    cached: bool
    error: str
    output: list[str]


class BuildView:
    """What has happened so far."""

    def __init__(self) -> None:
        self.steps: dict[str, Step] = {}
        self.warnings: list[Mapping[str, Any]] = []
        self._total = 0

    def take(self, event: Mapping[str, Any]) -> None:
        """Take an event."""
        match event.get("event"):
            case "begin":
                self._total = int(event["steps"])
            case "step":
                self._step(event)
            case "output":
                self._output(event)
            case "warning":
                self.warnings.append(event)

    def _step(self, event: Mapping[str, Any]) -> None:
        key = str(event["key"])
        before = self.steps.get(key)
        self.steps[key] = Step(
            before.number if before else len(self.steps) + 1,
            str(event["name"]),
            event["started"],
            event["completed"],
            bool(event["cached"]),
            str(event["error"]),
            before.output if before else [],
        )

    def _output(self, event: Mapping[str, Any]) -> None:
        step = self.steps.get(str(event["key"]))
        if step is None:
            return
        first, *rest = str(event["text"]).replace("\r\n", "\n").split("\n")
        if step.output:
            step.output[-1] += first
        else:
            step.output.append(first)
        step.output.extend(rest)
        del step.output[:-_KEPT]

    def head(self, elapsed_s: float, *, done: bool) -> str:
        """Return the first row."""
        ended = sum(step.completed is not None for step in self.steps.values())
        total = max(self._total, len(self.steps))
        return f"[+] Building {elapsed_s:.1f}s ({ended}/{total}){' FINISHED' if done else ''}"

    def rows(
        self, size: tuple[int, int], now_s: float, elapsed_s: float, *, done: bool = False
    ) -> list[str]:
        """Return what fits on a terminal of `size` rows and columns: the last steps, if not all.

        The output of commands that run is below them, its last lines.
        """
        height, width = size
        found = []
        for step in self.steps.values():
            found.append(_row(step, width, now_s))
            if step.completed is None or (step.error and done):
                tail = [_plain(line) for line in step.output if line.strip()][-_TAIL:]
                found += [f" => => # {line}"[: width - 1] for line in tail]
        room = max(height - 2, 1)
        return [self.head(elapsed_s, done=done)[: width - 1], *found[-room:]]

    def failed(self) -> Step | None:
        """Return the step that has failed, the first one to."""
        broken = [one for one in self.steps.values() if one.error and one.output]
        return broken[0] if broken else None


def _plain(text: str) -> str:
    """Return a text without what would move the cursor."""
    return _CONTROL.sub("", text.rpartition("\r")[2].expandtabs())


def _row(step: Step, width: int, now_s: float) -> str:
    spent = ""
    if step.started is not None:
        spent = f"{max((step.completed or now_s) - step.started, 0):.1f}s"
    word = "ERROR " if step.error else "CACHED " if step.cached else ""
    left = f" => {word}{_plain(step.name)}"
    room = max(width - len(spent) - 2, 10)
    if len(left) > room:
        left = left[: room - 3] + "..."
    return f"{left:<{room}} {spent}"


def plain_lines(view: BuildView, event: Mapping[str, Any]) -> Iterator[str]:
    """Return the lines that tell an event which the view has taken already."""
    step = view.steps.get(str(event.get("key")))
    if step is None:
        return
    mark = f"#{step.number}"
    if event["event"] == "output":
        text = str(event["text"]).removesuffix("\n")
        yield from (f"{mark} {_plain(line)}" for line in text.split("\n"))
        return
    if step.completed is None and not step.error:
        yield f"{mark} {step.name}"
        return
    if step.cached or not step.output:
        yield f"{mark} {step.name}"
    if step.error:
        yield f"{mark} ERROR: {step.error}"
    elif step.cached:
        yield f"{mark} CACHED"
    else:
        yield f"{mark} DONE {max((step.completed or 0) - (step.started or 0), 0):.1f}s"


def findings(found: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Return what to tell of warnings at the end of a build."""
    if not found:
        return
    yield f"{len(found)} warning{'s' if len(found) != 1 else ''} found:"
    for one in found:
        yield f" - {one['rule']} ({one['file']}:{one['line']}): {one['summary']}"


def source_excerpt(one: Mapping[str, Any], lines: Sequence[str]) -> Iterator[str]:
    """Return one finding in full, with the lines of the file that it is about."""
    yield f"{str(one['severity']).upper()}: {one['rule']}: {one['summary']}"
    if one["detail"]:
        yield str(one["detail"])
    yield f"{one['file']}:{one['line']}"
    yield "-" * 20
    first, last = int(one["line"]), int(one["end_line"])
    for number in range(max(first - 2, 1), min(last + 2, len(lines)) + 1):
        mark = ">>>" if first <= number <= last else "   "
        yield f"{number:4} | {mark} {_plain(lines[number - 1])}"
    yield "-" * 20
