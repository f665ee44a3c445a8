"""`sampan rollback`: an earlier release again."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import click

from sampan.cli.command import run_command
from sampan.cli.state_dir import state_dir_option
from sampan.cli.targets import run_interruptible, targets
from sampan.ship.shell.report import Report
from sampan.ship.shell.shipping import roll_back
from sampan.up.shell.state import StateDir

__all__ = ["main"]


def main(arguments: Sequence[str]) -> int:
    """Run the command; returns 0 when the release is live."""
    return run_command(_rollback, "sampan rollback", arguments)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("name")
@click.argument("number", type=click.IntRange(1), default=None, required=False)
@state_dir_option
def _rollback(name: str, number: int | None, state: StateDir) -> int:
    """Return NAME to release NUMBER, or to the one before; it is a new release of its own."""
    try:
        done = run_interruptible(roll_back(targets(state), name, number or 0, Report(sys.stdout)))
    except KeyboardInterrupt:
        return 130
    return 0 if done else 1
