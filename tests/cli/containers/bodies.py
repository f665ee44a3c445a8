"""Request bodies of command lines: those that Docker's own sends, recorded, and how to compare.

`python -m tests.cli.containers.bodies` records them anew with the docker command line on PATH.
"""

from __future__ import annotations

import json
import shlex
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from tests.cli.containers.recorder import Recorder, recording
from tests.real import require

__all__ = ["GOLDEN", "Golden", "comparable", "goldens", "prepare", "record"]

GOLDEN = Path(__file__).parent / "testdata" / "bodies.jsonl"
PLACE = "/PLACE"
FILES = {
    "env": "A=1\n# a comment\n\nUNKNOWN\nGIVEN\n  C=3 \n",
    "labels": "x=1\ny\n",
    "profile.json": '{\n  "defaultAction": "SCMP_ACT_ALLOW",\n  "syscalls": []\n}\n',
}
# What people name themselves: an entry counts even when its value is empty.
_NAMED = frozenset(
    (
        "Volumes", "ExposedPorts", "PortBindings", "Tmpfs", "Labels", "EndpointsConfig", "Sysctls",
        "Annotations", "StorageOpt", "DriverOpts", "Options", "Config", "AuxiliaryAddresses",
    )
)  # fmt: skip
# Docker's command line keeps these in a map, so they come in any order.
_UNORDERED = ("Binds", "Env")
_EMPTY: tuple[object, ...] = (None, "", 0, False, [], {})


class Golden(NamedTuple):
    """A command line, and what Docker's own asks for it."""

    line: str
    requests: list[list[Any]]

    @property
    def argv(self) -> list[str]:
        return shlex.split(self.line)


def comparable(value: Any, named: bool = False) -> Any:
    """The value without what Go writes out for a field that is not set."""
    if isinstance(value, dict):
        members = {
            key: comparable(member, named=key in _NAMED) for key, member in sorted(value.items())
        }
        if named:
            return members
        return {
            key: sorted(member) if key in _UNORDERED else member
            for key, member in members.items()
            if member not in _EMPTY
        }
    return [comparable(member) for member in value] if isinstance(value, list) else value


def goldens() -> list[Golden]:
    """Everything that is recorded."""
    lines = GOLDEN.read_text().splitlines()
    return [Golden(**json.loads(line)) for line in lines]


def prepare(place: Path) -> None:
    """Write the files that the command lines name."""
    for name, text in FILES.items():
        (place / name).write_text(text)


def record(recorder: Recorder, program: list[str], line: str) -> list[list[Any]]:
    """What a command line asks for, without reads and without the name of the place."""
    asked = recorder.run(program, shlex.split(line))
    text = json.dumps([list(one) for one in asked if one.method != "GET"])
    requests = json.loads(text.replace(str(recorder.place), PLACE))
    return [[*request[:3], comparable(request[3])] for request in requests]


def _record_all() -> None:
    lines = [golden.line for golden in goldens()]
    with tempfile.TemporaryDirectory() as name, recording(Path(name)) as recorder:
        prepare(recorder.place)
        docker = [str(require("docker"))]
        found = [{"line": line, "requests": record(recorder, docker, line)} for line in lines]
    GOLDEN.write_text("".join(json.dumps(one) + "\n" for one in found))


if __name__ == "__main__":
    _record_all()
