"""`sampan status`: what of the stack runs."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any

import click

from sampan.cli.command import run_command
from sampan.cli.state_dir import state_dir_option
from sampan.up.shell.state import StateDir

__all__ = ["main", "table"]

_DOWN = 3


def main(arguments: Sequence[str]) -> int:
    """Run the command; returns 0 when all is ready, 1 when something is not, 3 when down."""
    return run_command(_status, "sampan status", arguments)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@state_dir_option
@click.option("--json", "as_json", is_flag=True, help="Print it for programs.")
def _status(state: StateDir, as_json: bool) -> int:
    """Show the services, where they answer, and what ended the ones that do not run."""
    document = state.read("status.json") if state.holder() else {}
    if as_json:
        click.echo(json.dumps(document, indent=2))
    elif document:
        click.echo(table(document), nl=False)
        for name, one in document.items():
            if one["state"] != "ready" and one["reason"]:
                click.echo(f"{name}: {one['reason']}")
    else:
        click.echo(f"nothing is up in {state.path}: `sampan up -d` starts the stack")
    if not document:
        return _DOWN
    return 0 if all(one["state"] == "ready" for one in document.values()) else 1


def table(document: Mapping[str, Any]) -> str:
    """Return the services' states as lines."""
    rows = [("SERVICE", "STATE", "FOR", "RESTARTS", "PID", "ADDRESS")]
    for name, one in document.items():
        age_s = max(0, int(time.time() - one["since"]))
        pid = str(one["pid"] or "-")
        rows.append((name, one["state"], _age(age_s), str(one["restarts"]), pid, one["endpoint"]))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        + "\n"
        for row in rows
    )


def _age(seconds: int) -> str:
    if seconds < 60:
        return f"{seconds}s"
    if seconds < 3600:
        return f"{seconds // 60}m{seconds % 60:02}s"
    return f"{seconds // 3600}h{seconds % 3600 // 60:02}m"
