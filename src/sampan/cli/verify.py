"""`sampan verify`: was what clients of a store were told possible?"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from sampan.cli.command import run_command

__all__ = ["main"]


def main(arguments: Sequence[str]) -> int:
    """Run the command and return its exit code."""
    return run_command(_verify, "sampan verify", arguments)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("paths", metavar="HISTORY.jsonl...", nargs=-1, required=True, type=Path)
@click.option(
    "--seconds", type=float, default=300.0, show_default=True, help="Longest search of a history."
)
@click.option(
    "--states",
    type=click.IntRange(1),
    default=1_000_000,
    show_default=True,
    help="States kept in memory at most.",
)
def _verify(paths: tuple[Path, ...], seconds: float, states: int) -> int:
    """Check that histories are linearizable and that watchers were told the truth.

    A history is what `sampan record` writes; docs/formats/history.md describes it. Exit code 0: all
    is right; 1: something is not, and the smallest part that shows it is printed; 3: undecided
    within the bounds.
    """
    from sampan.verify.core.linear import Verdict
    from sampan.verify.shell.files import check_file

    codes = {Verdict.OK: 0, Verdict.VIOLATION: 1, Verdict.UNDECIDED: 3}
    worst = 0
    for path in paths:
        report = check_file(path, seconds=seconds, states=states)
        click.echo(f"{path}: {report}")
        code = codes[report.verdict]
        worst = code if worst != 1 and code else worst
    return worst
