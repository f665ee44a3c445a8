"""Behaviour as text: commands, a line of dashes, and what they must print.

    put /a 1
    ----
    revision 2

Blocks are separated by an empty line; a line that starts with # is a comment and stays. With
SAMPAN_REWRITE=1 in the environment the files are rewritten with what was printed, to be reviewed
as a diff.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

_LINE = "----"


def run(path: Path, execute: Callable[[str], list[str]]) -> None:
    """Execute every command of the file with `execute` and compare what it returns."""
    wanted = path.read_text()
    printed = "\n\n".join(_block(text, execute) for text in wanted.strip().split("\n\n")) + "\n"
    if os.environ.get("SAMPAN_REWRITE") and printed != wanted:
        path.write_text(printed)
        return
    assert printed == wanted


def _block(text: str, execute: Callable[[str], list[str]]) -> str:
    lines = text.splitlines()
    commands = lines[: lines.index(_LINE)] if _LINE in lines else lines
    output = [
        line
        for command in commands
        if command.strip() and not command.startswith("#")
        for line in execute(command)
    ]
    if all(command.startswith("#") for command in commands):
        return "\n".join(commands)
    return "\n".join([*commands, _LINE, *output])


def words(command: str) -> tuple[list[str], dict[str, str]]:
    """Split a command into its plain words and its name=value words."""
    plain: list[str] = []
    named: dict[str, str] = {}
    for word in command.split():
        name, equals, value = word.partition("=")
        if equals:
            named[name] = value
        else:
            plain.append(word)
    return plain, named
