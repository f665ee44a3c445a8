"""`sampan ship`: from a source directory to a running service."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import click

from sampan.base.diagnostic import Diagnostic
from sampan.cli.command import run_command
from sampan.cli.state_dir import state_dir_option
from sampan.cli.targets import host_go, run_interruptible, targets
from sampan.ship.shell.report import Report
from sampan.ship.shell.shipping import ship
from sampan.ship.shell.source import Source, read_source
from sampan.up.shell.state import StateDir

__all__ = ["main"]


def main(arguments: Sequence[str]) -> int:
    """Run the command; returns 0 when the release is live, 1 when it is not, 130 on Ctrl-C."""
    return run_command(_ship, "sampan ship", arguments)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("directory", type=click.Path(path_type=Path), default=Path("."))
@state_dir_option
@click.option("--platform", default="", help="Build and run for it: linux/arm64.")
@click.option("--watch", "-w", is_flag=True, help="Ship again whenever a file changes.")
@click.option("--check/--no-check", default=True, help="Check the settings of a Go build first.")
@click.option("--verbose", "-v", is_flag=True, help="Show what the build prints.")
def _ship(
    directory: Path, state: StateDir, platform: str, watch: bool, check: bool, verbose: bool
) -> int:
    """Build DIRECTORY, verify the image, run it, wait until it is healthy, say where it is.

    The version before runs until the new one is healthy, and stays when it does not become so.
    sampan.toml in DIRECTORY may say ports, limits and the health check.
    """
    where = targets(state)
    go = host_go(state)

    def read() -> Source:
        return read_source(directory, host_go=go)

    async def once(source: Source) -> bool:
        is_go = (source.directory / "go.mod").is_file()
        look = _go_problems if check and is_go else None
        _announce(source)
        return await ship(where, source, Report(sys.stdout, verbose=verbose), platform, look)

    try:
        if watch:
            from sampan.ship.shell.watch import ship_on_change

            run_interruptible(ship_on_change(read, once, click.echo))
        return 0 if run_interruptible(once(read())) else 1
    except KeyboardInterrupt:
        click.echo("interrupted", err=True)
        return 130


def _announce(source: Source) -> None:
    click.echo(f"{source.settings.name}: from {source.directory}")
    if source.generated:
        click.echo("no Dockerfile: this one is used (write it to Dockerfile to change it)\n")
        click.echo("".join(f"    {line}\n" for line in source.generated.splitlines()))


def _go_problems(directory: Path) -> Sequence[Diagnostic]:
    """Ask the Go doctor about the directory's settings."""
    from sampan.gobuild.core.check.project import check_project
    from sampan.gobuild.shell.catalogue import release_named
    from sampan.gobuild.shell.project import read_project

    project, _ = read_project(str(directory))
    return [one.diagnostic for one in check_project(project, release_named(""))]
