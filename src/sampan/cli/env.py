"""`sampan env`: variables by which docker, etcdctl and others find the stack."""

from __future__ import annotations

from collections.abc import Sequence

import click

from sampan.cli.command import run_command
from sampan.cli.state_dir import state_dir_option
from sampan.up.core.environment import exports, variables
from sampan.up.shell.state import StateDir

__all__ = ["main"]


def main(arguments: Sequence[str]) -> int:
    """Run the command; returns 1 when nothing runs."""
    return run_command(_env, "sampan env", arguments)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@state_dir_option
def _env(state: StateDir) -> int:
    """Print lines for a shell: eval "$(sampan env)"."""
    click.echo(exports(variables(state.endpoints())), nl=False)
    return 0
