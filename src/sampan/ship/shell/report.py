"""What the user sees: a line a step, with its time; and what went wrong."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from sampan.base.errors import SampanError

__all__ = ["Report", "Step", "StepFailed"]


class StepFailed(SampanError):
    """A step did not succeed: `step`, why (the message), what to do, and its last output."""

    def __init__(self, step: str, why: str, hint: str, output: str = "") -> None:
        super().__init__(why)
        self.step = step
        self.hint = hint
        self.output = output


class Step:
    """One step under way; `text` is what is said of it at its end."""

    def __init__(self) -> None:
        self.text = ""


class Report:
    """Writes the lines; `steps` has the seconds of those that are done."""

    def __init__(self, out: TextIO, *, verbose: bool = False) -> None:
        self._out = out
        self.verbose = verbose
        self.steps: dict[str, float] = {}

    @contextmanager
    def step(self, name: str) -> Iterator[Step]:
        """Time a step and say its line when it has succeeded."""
        began_s = time.monotonic()
        step = Step()
        if self._out.isatty() and not self.verbose:
            # Overwritten by the line of its end.
            self._out.write(f"  {name:<8} ...\r")
            self._out.flush()
        yield step
        took_s = time.monotonic() - began_s
        self.steps[name] = round(took_s, 3)
        self._out.write(f"  {name:<8} {step.text:<52} {took_s:6.2f} s\n")
        self._out.flush()

    def say(self, text: str) -> None:
        """Write a line as it is."""
        self._out.write(text + "\n")
        self._out.flush()

    def failed(self, error: StepFailed) -> None:
        """Write what failed, why, and what to do."""
        for line in error.output.splitlines():
            self._out.write(f"  | {line}\n")
        self.say(f"  {error.step:<8} FAILED: {error}")
        self.say(f"  to do    {error.hint}")
