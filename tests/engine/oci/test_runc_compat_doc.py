"""docs/compat/runc.md lists what there is: no more, no less."""

from __future__ import annotations

import re

from tests.real import ROOT

from sampan.cli.runc import COMMANDS_RUN
from sampan.cli.runc_flags import COMMANDS, GLOBAL_FLAGS

DOCUMENT = (ROOT / "docs/compat/runc.md").read_text()
STATUS = "(supported|partly|not yet)"


def test_every_command_is_listed() -> None:
    listed = re.findall(rf"^\| `([a-z]+)` \| {STATUS} \|", DOCUMENT, re.M)
    assert {name for name, _ in listed} == set(COMMANDS) == set(COMMANDS_RUN)


def test_every_flag_is_listed() -> None:
    flags = {("global", f"--{flag.name}") for flag in GLOBAL_FLAGS}
    flags |= {
        (name, f"--{flag.name}") for name, command in COMMANDS.items() for flag in command.flags
    }
    listed = re.findall(rf"^\| ([a-z]+) \| `(--[a-z0-9-]+)` \| {STATUS} \|", DOCUMENT, re.M)
    assert {(command, flag) for command, flag, _ in listed} == flags
    assert len(listed) == len(flags)
