"""Device rules as a program for the unified hierarchy, which has no files for them.

The kernel asks the program about each opening and making of a device. Rules are looked at from the
last to the first: one that allows must allow all that is asked, one that forbids needs to forbid a
part; without a match the answer is no. Source: bpf(2), linux/bpf.h (struct bpf_cgroup_dev_ctx),
OCI runtime specification 1.2 "allowed device list".
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Any, Final

from sampan.base.errors import InvalidError
from sampan.engine.runtime.core.fields import Fields

__all__ = ["device_program"]

_LOAD, _AND, _SHIFT_RIGHT, _COPY, _SET = 0x61, 0x54, 0x74, 0xBC, 0xB7
_JUMP_EQUAL, _JUMP_DIFFERENT, _EXIT = 0x15, 0x55, 0x95
_RESULT, _CONTEXT, _TYPE, _ACCESS, _MAJOR, _MINOR = 0, 1, 2, 3, 4, 5
_KINDS: Final = {"b": 1, "c": 2, "u": 2}
_BITS: Final = {"m": 1, "r": 2, "w": 4}
_ALL_BITS: Final = 7


def device_program(resources: Mapping[str, Any]) -> bytes | None:
    """Return the program's instructions, None when the resources say nothing about devices.

    Raises InvalidError for a type or access that is none.
    """
    rules = Fields(resources, "$.linux.resources").each("devices", lambda one: one)
    if not rules:
        return None
    program = [
        _instruction(_LOAD, _TYPE, _CONTEXT),
        _instruction(_COPY, _ACCESS, _TYPE),
        _instruction(_AND, _TYPE, value=0xFFFF),
        _instruction(_SHIFT_RIGHT, _ACCESS, value=16),
        _instruction(_LOAD, _MAJOR, _CONTEXT, offset=4),
        _instruction(_LOAD, _MINOR, _CONTEXT, offset=8),
    ]
    for rule in reversed(rules):
        block = _block(rule)
        program += block
        if len(block) == len(_answer(True)):
            return b"".join(program)  # it fits everything; the kernel refuses dead instructions
    return b"".join([*program, *_answer(False)])


def _block(rule: Fields) -> list[bytes]:
    """Return the instructions of one rule; each test that fails jumps behind them."""
    allow = rule.flag("allow")
    kind = rule.text("type", "a") or "a"
    if kind != "a" and kind not in _KINDS:
        raise rule.refuse("type", f"unknown device type {kind!r}")
    access = 0
    for letter in rule.text("access", "rwm") or "rwm":
        if letter not in _BITS:
            raise rule.refuse("access", f"unknown access {letter!r}")
        access |= _BITS[letter]
    tests: list[tuple[int, int, int]] = []
    if kind != "a":
        tests.append((_JUMP_DIFFERENT, _TYPE, _KINDS[kind]))
    for register, name in ((_MAJOR, "major"), (_MINOR, "minor")):
        number = rule.optional_integer(name)
        if number is not None and number >= 0:
            if number >= 1 << 31:
                raise InvalidError(f"device number {number} is too large")
            tests.append((_JUMP_DIFFERENT, register, number))
    prelude: list[bytes] = []
    if access != _ALL_BITS:
        compared = _ALL_BITS & ~access if allow else access
        prelude = [
            _instruction(_COPY, _CONTEXT, _ACCESS),
            _instruction(_AND, _CONTEXT, value=compared),
        ]
        tests.insert(0, (_JUMP_DIFFERENT if allow else _JUMP_EQUAL, _CONTEXT, 0))
    answer = _answer(allow)
    jumps = [
        _instruction(code, register, offset=len(tests) - 1 - at + len(answer), value=value)
        for at, (code, register, value) in enumerate(tests)
    ]
    return [*prelude, *jumps, *answer]


def _answer(allow: bool) -> Sequence[bytes]:
    return [_instruction(_SET, _RESULT, value=int(allow)), _instruction(_EXIT)]


def _instruction(
    code: int, target: int = 0, source: int = 0, *, offset: int = 0, value: int = 0
) -> bytes:
    return struct.pack("<BBhi", code, target | source << 4, offset, value)
