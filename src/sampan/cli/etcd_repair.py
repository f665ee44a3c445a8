"""`sampan etcd repair`: what is sound of a damaged data directory, in a new one."""

from __future__ import annotations

from pathlib import Path

import click

from sampan.cli.etcd_log import stderr_log
from sampan.store.shell.repair import repair as save_what_is_sound

__all__ = ["repair"]


@click.command()
@click.option(
    "--data-dir", required=True, type=click.Path(path_type=Path), help="The damaged directory."
)
@click.option("--to", required=True, type=click.Path(path_type=Path), help="The new directory.")
def repair(data_dir: Path, to: Path) -> None:
    """Save what is sound of a damaged data directory into a new one and say what was lost.

    The server must be stopped. The damaged directory is not changed.
    """
    report = save_what_is_sound(data_dir, to, stderr_log())
    for line in report.lines():
        print(line)
    print(f"start the server with --data-dir {to}")
