"""What Docker's own command line asks and says for a line of words, recorded.

`python -m tests.cli.containers.goldens` records it anew with the docker command line on PATH, and
takes new lines from standard input if it is not a terminal.
"""

from __future__ import annotations

import json
import re
import shlex
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tests.cli.containers.recorder import Asked, Recorder, recording
from tests.real import require

__all__ = ["FILES", "PLACE", "RECORDED", "Golden", "comparable", "goldens", "prepare", "record"]

RECORDED = Path(__file__).parent / "testdata" / "docker28.jsonl"
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
_EMPTY: tuple[object, ...] = (None, "", 0, False, [], {}, [0, 0])
# It looks these up by name first, and waits for containers that it does not attach to.
_LOOKED_UP = re.compile(r"GET /(containers/box/json|networks/box)|POST /containers/\w{64}/wait")


class Golden(NamedTuple):
    """A command line, what it asks of a daemon, how it ends and what it prints."""

    line: str
    requests: list[list[Any]]
    code: int
    stdout: str
    stderr: str

    @property
    def argv(self) -> list[str]:
        """The words."""
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


def _request(asked: Asked) -> list[Any]:
    query: dict[str, Any] = {name: asked.query[name] for name in sorted(asked.query)}
    if "filters" in query:
        query["filters"] = json.loads(query["filters"][0])
    return [asked.method, asked.path, comparable(query), comparable(asked.body)]


def goldens() -> list[Golden]:
    """Everything that is recorded."""
    return [Golden(**json.loads(line)) for line in RECORDED.read_text().splitlines()]


def prepare(place: Path) -> None:
    """Write the files that the command lines name."""
    for name, text in FILES.items():
        (place / name).write_text(text)


def record(recorder: Recorder, program: Sequence[str], line: str) -> Golden:
    """Run a command line; paths below the recorder's place are told as /PLACE."""
    recorder.asked.clear()
    done = recorder.call(program, shlex.split(line))
    text = json.dumps([list(one) for one in recorder.asked])
    asked = [Asked(*one) for one in json.loads(text.replace(str(recorder.place), PLACE))]
    name = Path(program[0]).name
    return Golden(
        line,
        [_request(one) for one in asked if not _LOOKED_UP.match(f"{one.method} {one.path}")],
        done.returncode,
        done.stdout.replace(str(recorder.place), PLACE),
        re.sub(rf"\b{name}\b", "sampan", done.stderr.replace(str(recorder.place), PLACE)),
    )


def _record_all() -> None:
    lines = [golden.line for golden in goldens()]
    if not sys.stdin.isatty():
        lines = list(dict.fromkeys([*lines, *filter(None, map(str.strip, sys.stdin))]))
    with tempfile.TemporaryDirectory() as name, recording(Path(name)) as recorder:
        prepare(recorder.place)
        docker = [str(require("docker"))]
        found = [record(recorder, docker, line)._asdict() for line in lines]
    RECORDED.write_text("".join(json.dumps(one) + "\n" for one in found))


if __name__ == "__main__":
    _record_all()
