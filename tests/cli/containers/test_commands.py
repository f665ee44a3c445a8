"""The table of commands: everything in it is there, documented, and explains itself."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from tests.real import ROOT

from sampan.cli.containers.core.flags import Flag
from sampan.cli.containers.main import GLOBAL_FLAGS, load, main
from sampan.cli.containers.table import ALIASES, COMMANDS, GROUPS, find

SAMPAN = str(Path(sys.executable).parent / "sampan")


def test_every_command_is_listed_in_the_documentation() -> None:
    document = (ROOT / "docs/compat/cli.md").read_text()
    rows = r"^\| `([a-z ]+)` \| (?:supported|partly|not yet) \|"
    assert sorted(re.findall(rows, document, re.M)) == sorted(COMMANDS)


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_has_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    command = load(name)
    assert main([*name.split(), "--help"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"Usage:  sampan {name}")
    for flag in command.flags:
        if not flag.hidden:
            assert f"--{flag.name}" in shown
            assert flag.help
    assert _unambiguous(command.flags)


def _unambiguous(flags: tuple[Flag, ...]) -> bool:
    names = [flag.name for flag in flags]
    shorts = [flag.short for flag in flags if flag.short]
    known = set(names)
    return len(known) == len(names) and len(set(shorts)) == len(shorts) and all(
        flag.alias in known for flag in flags if flag.alias
    )  # fmt: skip


def test_groups_and_aliases_lead_to_commands() -> None:
    assert set(ALIASES.values()) <= set(COMMANDS)
    assert {name.split()[0] for name in COMMANDS if " " in name} == set(GROUPS)
    assert find(["image", "list", "-a"]) == ("image ls", ["-a"])
    assert find(["ps", "image"]) == ("ps", ["image"])
    assert find(["image"]) == ("", ["image"])
    assert _unambiguous(GLOBAL_FLAGS)


@pytest.mark.parametrize("group", sorted(GROUPS))
def test_a_group_lists_its_commands(group: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([group]) == 0
    shown = capsys.readouterr().out
    inside = {name.split()[1] for name in COMMANDS if name.startswith(f"{group} ")}
    assert set(re.findall(r"^  ([a-z]+) ", shown, re.M)) == inside


def test_a_command_imports_only_what_it_needs() -> None:
    script = (
        "import sys\nfrom sampan.cli.containers.main import load\nload('run')\nload('ps')\n"
        "heavy = ('click', 'asyncio', 'ssl', 'dataclasses', 'argparse', 'h11', 'threading',"
        " 'subprocess', 'tarfile', 'sampan.engine.daemon', 'sampan.images')\n"
        "print([name for name in heavy if name in sys.modules])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "[]\n"


def test_the_program_lists_the_commands_in_groups() -> None:
    done = subprocess.run(
        [SAMPAN, "--help"], capture_output=True, text=True, timeout=60, check=True
    )
    titles = ["Programs:", "Common Commands:", "Management Commands:", "Commands:"]
    places = [done.stdout.index(f"\n{title}\n") for title in titles]
    assert places == sorted(places)
    for name in COMMANDS:
        assert re.search(rf"^  {name.split()[0]} +\S", done.stdout, re.M), name
