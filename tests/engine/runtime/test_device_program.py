"""Device rules as a program: its instructions, and what the kernel makes of them."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.real import absent, require_root

from sampan.base.errors import InvalidError
from sampan.engine.runtime.core.device_program import device_program
from sampan.engine.runtime.shell.cgroups import layout
from sampan.engine.runtime.shell.device_filter import attach_device_program

DENY_ALL = {"allow": False, "access": "rwm"}
ZERO, FULL = (1, 5), (1, 7)


def resources(*rules: Mapping[str, Any]) -> dict[str, Any]:
    return {"devices": list(rules)}


def rule(allow: bool, kind: str, numbers: tuple[int, int], access: str) -> dict[str, Any]:
    major, minor = numbers
    return {"allow": allow, "type": kind, "major": major, "minor": minor, "access": access}


def instructions(program: bytes) -> list[tuple[int, int, int, int]]:
    return list(struct.iter_unpack("<BBhi", program))


def test_the_instructions() -> None:
    program = device_program(resources(DENY_ALL, rule(True, "c", ZERO, "r")))
    assert program is not None
    assert instructions(program)[6:] == [
        (0xBC, 0x31, 0, 0),  # what is asked for ...
        (0x54, 0x01, 0, 5),  # ... beyond reading
        (0x55, 0x01, 5, 0),
        (0x55, 0x02, 4, 2),  # not a character device
        (0x55, 0x04, 3, 1),
        (0x55, 0x05, 2, 5),
        (0xB7, 0x00, 0, 1),
        (0x95, 0x00, 0, 0),
        (0xB7, 0x00, 0, 0),
        (0x95, 0x00, 0, 0),
    ]


def test_without_rules_there_is_no_program() -> None:
    assert device_program({}) is None
    everything = device_program(
        resources(rule(True, "a", (-1, -1), "rwm"), DENY_ALL, {"allow": True})
    )
    assert everything is not None
    assert len(instructions(everything)) == 8, "what follows a rule for everything is left out"


@pytest.mark.parametrize("wrong", [rule(True, "x", ZERO, "r"), rule(True, "c", ZERO, "q")])
def test_a_wrong_rule_is_refused(wrong: Mapping[str, Any]) -> None:
    with pytest.raises(InvalidError, match="unknown"):
        device_program(resources(wrong))


@pytest.fixture
def group() -> Iterator[Path]:
    require_root()
    unified = layout().unified
    if unified is None:
        absent("needs a mount of the unified hierarchy")
    place = Path(unified) / f"device-program-{os.getpid()}"
    place.mkdir()
    yield place
    place.rmdir()


def tried(group: Path, attempts: Sequence[tuple[str, str]]) -> list[bool]:
    """Which of (path, mode) a process in the group may open."""
    receive, send = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            (group / "cgroup.procs").write_text("0")
            os.write(send, bytes(map(_opens, attempts)))
        finally:
            os._exit(0)
    os.close(send)
    os.waitpid(pid, 0)
    with os.fdopen(receive, "rb") as pipe:
        return [bool(one) for one in pipe.read()]


def _opens(attempt: tuple[str, str]) -> bool:
    try:
        os.close(os.open(attempt[0], os.O_RDONLY if attempt[1] == "r" else os.O_WRONLY))
    except PermissionError:
        return False
    return True


@pytest.mark.root
def test_the_kernel_takes_and_obeys_it(group: Path) -> None:
    program = device_program(
        resources(
            DENY_ALL,
            {"allow": True, "type": "c", "access": "m"},
            rule(True, "c", ZERO, "r"),
            rule(True, "c", FULL, "rwm"),
            rule(False, "c", FULL, "w"),
        )
    )
    assert program is not None
    attach_device_program(str(group), program)
    attempts = [("/dev/zero", "r"), ("/dev/zero", "w"), ("/dev/full", "r"), ("/dev/full", "w")]
    assert tried(group, [*attempts, ("/dev/null", "r")]) == [True, False, True, False, False]
