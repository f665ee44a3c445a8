"""The command group that answers `sampan --help`; programs are imported when they are run."""

from __future__ import annotations

import sys
from typing import Any

import click

from sampan import __version__
from sampan.base.nearest import nearest
from sampan.cli.containers.table import COMMANDS, COMMON, GROUPS
from sampan.cli.programs import PROGRAMS, run

__all__ = ["group"]


class _Programs(click.Group):
    """A group whose commands are the programs, each taking its arguments as they are."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(PROGRAMS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in PROGRAMS:
            return None

        def call(arguments: tuple[str, ...]) -> None:
            sys.exit(run(cmd_name, arguments))

        return click.Command(
            cmd_name,
            callback=call,
            params=[click.Argument(["arguments"], nargs=-1, type=click.UNPROCESSED)],
            short_help=PROGRAMS[cmd_name].summary,
            add_help_option=False,
            context_settings={"ignore_unknown_options": True},
        )

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        single = {name: entry.summary for name, entry in COMMANDS.items() if " " not in name}
        sections = {
            "Programs": {name: PROGRAMS[name].summary for name in sorted(PROGRAMS)},
            "Common Commands": {name: single.pop(name) for name in COMMON},
            "Management Commands": dict(sorted(GROUPS.items())),
            "Commands": dict(sorted(single.items())),
        }
        width = max(len(name) for section in sections.values() for name in section)
        for title, section in sections.items():
            with formatter.section(title):
                for name, summary in section.items():
                    formatter.write(f"  {name:<{width}}  {summary}\n")

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in PROGRAMS and not args[0].startswith("-"):
            known = {name.split()[0] for name in COMMANDS}
            guess = nearest(args[0], [*PROGRAMS, *sorted(known)])
            hint = f" Did you mean {guess}?" if guess else ""
            ctx.fail(f"No such command {args[0]!r}.{hint}")
        resolved: Any = super().resolve_command(ctx, args)
        return resolved  # type: ignore[no-any-return]


@click.command(cls=_Programs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="sampan")
def group() -> None:
    """Cloud-native infrastructure in Python: build, run, observe.

    Each program is a server or tool that speaks the original's protocol and takes its flags. The
    other commands are Docker's, with Docker's words, for any daemon that speaks its API.
    """
