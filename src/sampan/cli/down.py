"""`sampan down`: ends the stack, containers too."""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Sequence

import click

from sampan.base.errors import SampanError
from sampan.cli.command import run_command
from sampan.cli.state_dir import state_dir_option
from sampan.up.shell.state import StateDir

__all__ = ["main"]


def main(arguments: Sequence[str]) -> int:
    """Run the command; returns 0 also when nothing ran."""
    return run_command(_down, "sampan down", arguments)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@state_dir_option
@click.option("--timeout", "timeout_s", default=60.0, show_default=True, help="Seconds to wait.")
def _down(state: StateDir, timeout_s: float) -> int:
    """End the services in order, and the containers with the engine; what they keep stays."""
    pid = state.holder()
    if not pid:
        click.echo(f"nothing is up in {state.path}")
        return 0
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        return 0
    try:
        # The number has not been given to another process if the lock is still held.
        if state.holder() == pid:
            signal.pidfd_send_signal(process, signal.SIGTERM)
            if not select.select([process], [], [], timeout_s)[0]:
                raise SampanError(f"the stack still runs after {timeout_s:g} s (process {pid})")
    finally:
        os.close(process)
    click.echo(f"down; what it keeps is in {state.path}")
    return 0
