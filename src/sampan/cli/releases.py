"""`sampan releases`: what was shipped, when, and how it ended."""

from __future__ import annotations

from collections.abc import Sequence

import click

from sampan.cli.command import run_command
from sampan.cli.state_dir import state_dir_option
from sampan.cli.targets import run_interruptible, targets
from sampan.ship.core.release import Release, current
from sampan.ship.shell.building import megabytes
from sampan.ship.shell.ledger import Ledger
from sampan.ship.shell.shipping import Targets
from sampan.up.shell.state import StateDir

__all__ = ["main"]


def main(arguments: Sequence[str]) -> int:
    """Run the command."""
    return run_command(_releases, "sampan releases", arguments)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("name", default="")
@state_dir_option
def _releases(name: str, state: StateDir) -> int:
    """List the releases of NAME, or of everything; the one that runs is marked."""
    found = run_interruptible(_read(targets(state), name))
    running = set()
    for one in {release.name for release in found}:
        now = current([release for release in found if release.name == one])
        if now is not None:
            running.add((one, now.number))
    head = ("", "NAME", "RELEASE", "CREATED", "OUTCOME", "IMAGE", "SIZE", "")
    rows = [head, *(_row(one, (one.name, one.number) in running) for one in found)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        click.echo("  ".join(cells).rstrip())
    return 0


async def _read(where: Targets, name: str) -> list[Release]:
    async with Ledger.open(where.store) as ledger:
        return await ledger.releases(name)


def _row(release: Release, runs: bool) -> tuple[str, ...]:
    note = release.detail.splitlines()[0][:80] if release.detail else ""
    if release.rollback_of:
        note = f"back to {release.rollback_of}. {note}".rstrip()
    return (
        "*" if runs else " ",
        release.name,
        str(release.number),
        release.created,
        release.outcome,
        release.image.removeprefix("sha256:")[:12] or "-",
        megabytes(release.size_bytes) if release.size_bytes else "-",
        note,
    )
