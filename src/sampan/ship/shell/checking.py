"""The check of the build settings before the build, by whoever knows the language."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from sampan.base.diagnostic import Diagnostic, Severity
from sampan.ship.shell.report import Report, StepFailed

__all__ = ["Check", "check"]

Check = Callable[[Path], Sequence[Diagnostic]]
"""Looks at a source directory and says what of it cannot work or will surprise."""


def check(report: Report, look: Check, directory: Path) -> None:
    """Show what was found; StepFailed when something of it cannot work."""
    with report.step("check") as step:
        found = [one for one in look(directory) if one.severity is not Severity.NOTE]
        errors = [one for one in found if one.severity is Severity.ERROR]
        if errors:
            lines = [line for one in found for line in (str(one), f"  {one.detail}")]
            more = f", and {len(errors) - 1} more" if len(errors) > 1 else ""
            raise StepFailed(
                "check",
                f"{errors[0]}{more}",
                f"`sampan go check --fix {directory}` mends what is safe; --no-check ships anyway",
                "\n".join(lines),
            )
        step.text = f"{len(found)} warning{'s' if len(found) > 1 else ''}" if found else "fine"
    for one in found:
        report.say(f"  | {one}")
