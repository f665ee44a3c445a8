"""Running a click command as one of the programs."""

from __future__ import annotations

from collections.abc import Sequence

import click

from sampan.base.errors import SampanError

__all__ = ["run_command"]


def run_command(command: click.Command, name: str, arguments: Sequence[str]) -> int:
    """Run `command` and return its exit code: 1 for a SampanError, 2 for bad usage."""
    try:
        code = command.main(list(arguments), prog_name=name, standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except SampanError as error:
        click.echo(f"Error: {error}", err=True)
        return 1
    except click.Abort:
        return 130
    return code if isinstance(code, int) else 0
