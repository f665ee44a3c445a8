"""The flag that names the state directory of `sampan up` and its relatives."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from sampan.up.shell.state import StateDir, default_state_dir

__all__ = ["state_dir_option"]

F = TypeVar("F", bound=Callable[..., Any])


def state_dir_option(command: F) -> F:
    """Give a command `--state-dir`, which arrives as the StateDir `state`."""
    return click.option(
        "--state-dir",
        "state",
        envvar="SAMPAN_STATE_DIR",
        callback=_state,
        metavar="DIR",
        help="Where the stack keeps its state.  [default: /var/lib/sampan for root, else "
        "$XDG_STATE_HOME/sampan]",
    )(command)


def _state(_: click.Context, __: click.Parameter, text: str | None) -> StateDir:
    return StateDir(Path(text) if text else default_state_dir(os.environ))
