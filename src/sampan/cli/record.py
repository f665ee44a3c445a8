"""`sampan record`: writes down what clients of any etcd are told, for `sampan verify`."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sampan.base.errors import SampanError
from sampan.cli.command import run_command

if TYPE_CHECKING:
    from sampan.verify.shell.session import Options, Recording

__all__ = ["main"]


def main(arguments: Sequence[str]) -> int:
    """Run the command and return its exit code."""
    return run_command(_record, "sampan record", arguments)


async def _until_told(options: Options, out: Path) -> Recording:
    """Record for the time that was asked for, or until a signal ends it."""
    from sampan.verify.shell.session import record

    over = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, over.set)
    return await record(options, out, over)


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.option("--endpoints", default="127.0.0.1:2379", help="Members, separated by commas.")
@click.option("--clients", type=click.IntRange(1, 200), default=5, help="How many clients.")
@click.option("--seconds", type=float, default=10.0, help="How long.")
@click.option("--rate", type=float, default=200.0, help="Operations a second, all clients.")
@click.option("--keys", type=click.IntRange(2, 100), default=8, help="How many keys.")
@click.option("--seed", type=int, default=1, help="Picks the operations.")
@click.option("--prefix", default="record/", help="All keys below it are deleted first.")
@click.option("--timeout", type=float, default=3.0, help="Seconds before an outcome is unknown.")
@click.option("--compact/--no-compact", default=True, help="Compact meanwhile.")
@click.option("--bookmarks/--no-bookmarks", default=True, help="Ask watches for progress.")
@click.option("--shared", is_flag=True, help="Others write to this store too, elsewhere.")
@click.option("--out", required=True, type=Path, metavar="FILE", help="Where the history goes.")
def _record(
    out: Path, endpoints: str, prefix: str, timeout: float, shared: bool, **rest: object
) -> int:
    """Drive a mixed workload against an etcd, Sampan's or the original, and record its history.

    Puts, reads of every kind, deletions, transactions, leases, compactions and watchers that break
    off and resume, on a few keys. Do to the store meanwhile what you like; then let
    `sampan verify FILE` tell whether what it said was possible. SIGINT or SIGTERM ends it earlier.
    """
    from sampan.loop import runner
    from sampan.verify.shell.session import Options

    options = Options(
        endpoints=tuple(part for part in endpoints.split(",") if part),
        prefix=prefix.encode(),
        timeout_s=timeout,
        exclusive=not shared,
        **rest,  # type: ignore[arg-type]
    )
    if not options.endpoints or not prefix:
        raise click.UsageError("needs at least one endpoint and a prefix")
    try:
        recording = runner.run(_until_told(options, out))
    except OSError as error:
        raise SampanError(f"cannot write {out}: {error.strerror}") from None
    click.echo(f"{recording.line()}\nwritten to {out}")
    return 0
