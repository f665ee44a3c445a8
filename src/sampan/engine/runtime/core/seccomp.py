"""From an OCI `seccomp` section to a classic BPF program.

The program looks at the architecture, finds the system call's number by halving, and where a rule
asks for arguments compares them in two halves of 32 bits. Source: seccomp(2), OCI runtime
specification 1.2 "seccomp"; the rule for calls newer than the profile is runc's.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from json import dumps, loads
from typing import Any, Final

from sampan.base.errors import InvalidError, UnsupportedError
from sampan.engine.runtime.core.syscall_table import NUMBERS

__all__ = ["compile_filter"]

_LOAD, _AND, _JUMP, _EQUAL, _GREATER, _NOT_LESS, _RETURN = 0x20, 0x54, 0x05, 0x15, 0x25, 0x35, 0x06
_ALLOW: Final = 0x7FFF0000
_ERRNO: Final = 0x00050000
_KILL_PROCESS: Final = 0x80000000
_ENOSYS: Final = 38
_X32_BIT: Final = 0x40000000
_MOST_INSTRUCTIONS: Final = 4096
_ACTIONS: Final = {
    "SCMP_ACT_ALLOW": _ALLOW,
    "SCMP_ACT_ERRNO": _ERRNO,
    "SCMP_ACT_KILL": 0,
    "SCMP_ACT_KILL_THREAD": 0,
    "SCMP_ACT_KILL_PROCESS": _KILL_PROCESS,
    "SCMP_ACT_TRAP": 0x00030000,
    "SCMP_ACT_LOG": 0x7FFC0000,
    "SCMP_ACT_TRACE": 0x7FF00000,
}
_ARCHITECTURES: Final = {
    "SCMP_ARCH_X86_64": (0xC000003E, "x86_64", 0),
    "SCMP_ARCH_X32": (0xC000003E, "x86_64", _X32_BIT),
    "SCMP_ARCH_X86": (0x40000003, "x86", 0),
    "SCMP_ARCH_AARCH64": (0xC00000B7, "aarch64", 0),
    "SCMP_ARCH_ARM": (0x40000028, "arm", 0),
}
_OPERATORS: Final = ("NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ")


@dataclass(frozen=True, slots=True)
class _Condition:
    index: int
    operator: str
    value: int
    compared: int


@dataclass(frozen=True, slots=True)
class _Rule:
    conditions: tuple[_Condition, ...]
    action: int


_Instruction = tuple[int, int, int, int]


def compile_filter(seccomp: Mapping[str, Any]) -> bytes:
    """Return the program as an array of `struct sock_filter`.

    Raises InvalidError for an unknown action, operator or architecture, UnsupportedError for
    SCMP_ACT_NOTIFY and for a program beyond the kernel's 4,096 instructions.
    """
    return _compile(dumps(seccomp, sort_keys=True))


@lru_cache(maxsize=32)
def _compile(text: str) -> bytes:
    seccomp = loads(text)
    default = _action(seccomp["defaultAction"], seccomp.get("defaultErrnoRet"))
    names = seccomp.get("architectures") or ["SCMP_ARCH_X86_64"]
    blocks: dict[int, dict[int, list[_Rule]]] = {}
    highest: dict[tuple[int, int], int] = {}
    for name in names:
        if name not in _ARCHITECTURES:
            raise InvalidError(f"$.linux.seccomp.architectures: {name!r} is not supported")
        token, table, bit = _ARCHITECTURES[name]
        numbers = NUMBERS[table]
        _collect(seccomp.get("syscalls") or (), numbers, bit, blocks.setdefault(token, {}))
        highest[token, bit] = max(numbers.values()) | bit
    program: list[_Instruction] = [(_LOAD, 0, 0, 4)]
    for token, rules in blocks.items():
        tops = {bit: top for (one, bit), top in highest.items() if one == token}
        body = [(_LOAD, 0, 0, 0), *_search(_ranges(rules, default, tops))]
        program += [(_EQUAL, 1, 0, token), (_JUMP, 0, 0, len(body)), *body]
    program.append((_RETURN, 0, 0, _KILL_PROCESS))
    if len(program) > _MOST_INSTRUCTIONS:
        raise UnsupportedError(f"the seccomp profile needs {len(program)} instructions, 4096 fit")
    return b"".join(struct.pack("=HBBI", *one) for one in program)


def _action(name: str, number: int | None) -> int:
    if name == "SCMP_ACT_NOTIFY":
        raise UnsupportedError("SCMP_ACT_NOTIFY is not supported yet")
    if name not in _ACTIONS:
        raise InvalidError(f"$.linux.seccomp: unknown action {name!r}")
    action = _ACTIONS[name]
    if name in ("SCMP_ACT_ERRNO", "SCMP_ACT_TRACE"):
        action |= (1 if number is None else number) & 0xFFFF
    return action


def _collect(
    rules: Sequence[Mapping[str, Any]],
    numbers: Mapping[str, int],
    bit: int,
    found: dict[int, list[_Rule]],
) -> None:
    """Sort rules by number; names that an architecture does not have are left out."""
    for rule in rules:
        action = _action(rule["action"], rule.get("errnoRet"))
        conditions = tuple(_condition(one) for one in rule.get("args") or ())
        for name in rule["names"]:
            if name in numbers:
                found.setdefault(numbers[name] | bit, []).append(_Rule(conditions, action))


def _condition(argument: Mapping[str, Any]) -> _Condition:
    operator = str(argument["op"]).removeprefix("SCMP_CMP_")
    index, value = argument["index"], argument["value"]
    if operator not in _OPERATORS or not 0 <= index <= 5:
        raise InvalidError(f"$.linux.seccomp: argument {argument!r} cannot be compared")
    return _Condition(index, operator, value, argument.get("valueTwo") or 0)


_Leaf = tuple[int, tuple[_Instruction, ...]]


def _ranges(rules: dict[int, list[_Rule]], default: int, tops: Mapping[int, int]) -> list[_Leaf]:
    """Return what to do from each number on: neighbours that do the same are one."""
    newer = _ERRNO | _ENOSYS if default & 0xFFFF0000 == _ERRNO else default
    points: dict[int, tuple[_Instruction, ...]] = {0: _verdict(default)}
    for bit, top in tops.items():
        points.setdefault(bit, _verdict(default))
        points.setdefault(top + 1, _verdict(newer))
    for number in sorted(rules):
        code = _code(rules[number], default)
        points[number] = code
        following = newer if number in tops.values() else default
        if number + 1 not in rules:
            points[number + 1] = _verdict(following)
    leaves: list[_Leaf] = []
    for number in sorted(points):
        if not leaves or leaves[-1][1] != points[number]:
            leaves.append((number, points[number]))
    return leaves


def _verdict(action: int) -> tuple[_Instruction, ...]:
    return ((_RETURN, 0, 0, action),)


def _search(leaves: Sequence[_Leaf]) -> list[_Instruction]:
    """Return code that finds the leaf of the accumulator's number by halving."""
    if len(leaves) == 1:
        return list(leaves[0][1])
    middle = len(leaves) // 2
    below, above = _search(leaves[:middle]), _search(leaves[middle:])
    return [(_NOT_LESS, 0, 1, leaves[middle][0]), (_JUMP, 0, 0, len(below)), *below, *above]


def _code(rules: Sequence[_Rule], default: int) -> tuple[_Instruction, ...]:
    """Return code for one number: the rule without conditions wins, else the first that holds."""
    plain = next((rule for rule in rules if not rule.conditions), None)
    if plain is not None:
        return _verdict(plain.action)
    code: list[_Instruction] = []
    for rule in rules:
        code += _checked(rule)
    return (*code, *_verdict(default))


_FAIL: Final = -1
"""Stands for "to the next rule" until the length of the rule is known."""


def _checked(rule: _Rule) -> list[_Instruction]:
    body: list[_Instruction] = []
    for condition in rule.conditions:
        body += _comparison(condition)
    body.append((_RETURN, 0, 0, rule.action))
    end = len(body)
    return [
        (code, yes, no, end - at - 1)
        if code == _JUMP and value == _FAIL
        else (code, yes, no, value)
        for at, (code, yes, no, value) in enumerate(body)
    ]


def _comparison(one: _Condition) -> list[_Instruction]:
    """Return code that falls through when the comparison holds and else goes to the next rule."""
    low, high = (_LOAD, 0, 0, 16 + 8 * one.index), (_LOAD, 0, 0, 20 + 8 * one.index)
    value_low, value_high = one.value & 0xFFFFFFFF, one.value >> 32 & 0xFFFFFFFF
    fail = (_JUMP, 0, 0, _FAIL)
    match one.operator:
        case "EQ":
            return [high, (_EQUAL, 1, 0, value_high), fail, low, (_EQUAL, 1, 0, value_low), fail]
        case "NE":
            return [high, (_EQUAL, 0, 3, value_high), low, (_EQUAL, 0, 1, value_low), fail]
        case "MASKED_EQ":
            wanted = (one.compared & 0xFFFFFFFF, one.compared >> 32 & 0xFFFFFFFF)
            halves = ((high, value_high, wanted[1]), (low, value_low, wanted[0]))
            return [
                step
                for load, mask, expected in halves
                for step in (load, (_AND, 0, 0, mask), (_EQUAL, 1, 0, expected), fail)
            ]
        case "GE" | "GT":
            last = _NOT_LESS if one.operator == "GE" else _GREATER
            first = [high, (_GREATER, 5, 0, value_high), (_EQUAL, 1, 0, value_high), fail]
            return [*first, low, (last, 1, 0, value_low), fail]
        case _:
            last = _GREATER if one.operator == "LE" else _NOT_LESS
            first = [high, (_GREATER, 0, 1, value_high), fail, (_EQUAL, 0, 3, value_high)]
            return [*first, low, (last, 0, 1, value_low), fail]
