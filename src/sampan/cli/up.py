"""`sampan up`: the stack on this machine, one process per service, looked after."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import click

from sampan.base.errors import SampanError
from sampan.cli.command import run_command
from sampan.cli.state_dir import state_dir_option
from sampan.cli.status import table
from sampan.up.shell.state import StateDir

__all__ = ["main"]

_PORT = click.IntRange(0, 65_535)


def main(arguments: Sequence[str]) -> int:
    """Run the command and return its exit code; with -d, 1 unless every service is ready."""
    return run_command(_up, "sampan up", arguments)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@state_dir_option
@click.option("-d", "--detach", is_flag=True, help="Run in the background once it is ready.")
@click.option("--store-port", type=_PORT, default=0, help="Port of the store; 0 takes a free one.")
@click.option(
    "--registry-port", type=_PORT, default=0, help="Port of the registry; 0 takes a free one."
)
@click.option(
    "--build-from-host",
    is_flag=True,
    help="Let builds use this machine's files, read-only: FROM host.",
)
@click.option("--ready-fd", type=int, default=-1, hidden=True)
def _up(
    state: StateDir,
    detach: bool,
    store_port: int,
    registry_port: int,
    build_from_host: bool,
    ready_fd: int,
) -> int:
    """Start store, engine and registry, restart what ends, show what they say, until Ctrl-C."""
    if detach:
        flags = [f"--store-port={store_port}", f"--registry-port={registry_port}"]
        return _in_background(state, [*flags, *(["--build-from-host"] if build_from_host else [])])
    from sampan.loop.runner import run
    from sampan.up.shell.stack import Wishes, serve

    def settled(document: Mapping[str, Any]) -> None:
        if ready_fd >= 0:
            with open(ready_fd, "w", encoding="utf-8") as file:
                json.dump(document, file)
            # Who has started it goes now, and with it the other end of this pipe.
            os.dup2(sys.stdout.fileno(), sys.stderr.fileno())

    if ready_fd >= 0:
        os.set_inheritable(ready_fd, False)  # Or the services would keep it open.
    wishes = Wishes(store_port, registry_port, build_from_host)
    with state.held():
        return run(serve(state, wishes, None if ready_fd >= 0 else sys.stdout, settled))


def _in_background(state: StateDir, flags: Sequence[str]) -> int:
    """Start the supervisor as a process of its own and wait for its word."""
    with state.held():
        pass  # Said here and now, rather than by a process that nobody sees.
    reading, writing = os.pipe()
    with open(reading, encoding="utf-8") as ready:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "sampan.cli.main", "up"),
                f"--state-dir={state.path}",
                *flags,
                f"--ready-fd={writing}",
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
            pass_fds=(writing,),
            text=True,
        )
        os.close(writing)
        word = ready.read()
    if not word:
        assert process.stderr is not None
        told = process.stderr.read().strip().removeprefix("Error: ")
        raise SampanError(told or f"the supervisor ended: see {state.path / 'up.log'}")
    document = json.loads(word)
    click.echo(table(document), nl=False)
    failed = {name: one for name, one in document.items() if one["state"] != "ready"}
    for name, one in failed.items():
        click.echo(f"{name} does not start: {one['reason'] or 'no answer yet'}", err=True)
    if failed:
        click.echo(f"The rest runs; the whole log is {state.path / 'up.log'}", err=True)
    else:
        place = "" if state.path.as_posix() == "/var/lib/sampan" else f" --state-dir {state.path}"
        click.echo(f'For docker and etcdctl: eval "$(sampan env{place})"')
    return 1 if failed else 0
