"""From an OCI `seccomp` section to a classic BPF program.

The program looks at the architecture, finds the system call's number by halving, and where a rule
asks for arguments compares them in two halves of 32 bits. Source: seccomp(2), OCI runtime
specification 1.2 "seccomp". Three readings are runc's and libseccomp's: a call with a higher number
than any that the profile names is answered with ENOSYS, so that programs fall back as on an older
kernel; a rule whose action is the default one says nothing; and a rule that compares the same
argument twice holds when any of its comparisons does.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from functools import lru_cache
from json import dumps, loads
from typing import Any, Final

from sampan.base.errors import InvalidError, UnsupportedError
from sampan.base.record import record
from sampan.engine.runtime.core.syscall_table import NUMBERS, X32_NUMBERS

__all__ = ["compile_filter", "filter_flags", "vocabulary"]

_LOAD, _AND, _JUMP, _EQUAL, _GREATER, _NOT_LESS, _RETURN = 0x20, 0x54, 0x05, 0x15, 0x25, 0x35, 0x06
_ALLOW: Final = 0x7FFF0000
_ERRNO: Final = 0x00050000
_KILL_PROCESS: Final = 0x80000000
_ENOSYS: Final = 38
_LOG: Final = 0x7FFC0000
_X86_64_TOKEN: Final = 0xC000003E
_X32_BIT: Final = 0x40000000
_MOST_INSTRUCTIONS: Final = 4096
_ACTIONS: Final = {
    "SCMP_ACT_ALLOW": _ALLOW,
    "SCMP_ACT_ERRNO": _ERRNO,
    "SCMP_ACT_KILL": 0,
    "SCMP_ACT_KILL_THREAD": 0,
    "SCMP_ACT_KILL_PROCESS": _KILL_PROCESS,
    "SCMP_ACT_TRAP": 0x00030000,
    "SCMP_ACT_LOG": _LOG,
    "SCMP_ACT_TRACE": 0x7FF00000,
}
_ARCHITECTURES: Final = {
    "SCMP_ARCH_X86_64": (_X86_64_TOKEN, "x86_64", 0),
    "SCMP_ARCH_X32": (_X86_64_TOKEN, "x86_64", _X32_BIT),
    "SCMP_ARCH_X86": (0x40000003, "x86", 0),
    "SCMP_ARCH_AARCH64": (0xC00000B7, "aarch64", 0),
    "SCMP_ARCH_ARM": (0x40000028, "arm", 0),
}
_FLAGS: Final = {
    "SECCOMP_FILTER_FLAG_TSYNC": 1,
    "SECCOMP_FILTER_FLAG_LOG": 2,
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW": 4,
}
_OPERATORS: Final = ("NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ")


@record
class _Condition:
    index: int
    operator: str
    value: int
    compared: int


@record
class _Rule:
    conditions: tuple[_Condition, ...]
    action: int


_Instruction = tuple[int, int, int, int]


def compile_filter(seccomp: Mapping[str, Any]) -> bytes:
    """Return the program as an array of `struct sock_filter`.

    Raises InvalidError for an unknown action, operator or architecture or a wrong form,
    UnsupportedError for SCMP_ACT_NOTIFY and for a program beyond the kernel's 4,096 instructions.
    """
    try:
        return _compile(dumps(seccomp, sort_keys=True))
    except (KeyError, TypeError, AttributeError) as error:
        raise InvalidError(f"$.linux.seccomp: {type(error).__name__}: {error}") from error


def filter_flags(seccomp: Mapping[str, Any]) -> int:
    """Return the flags for seccomp(2); InvalidError for one that is not known."""
    flags = 0
    for name in seccomp.get("flags") or ():
        if name not in _FLAGS:
            raise InvalidError(f"$.linux.seccomp.flags: {name!r} is not supported")
        flags |= _FLAGS[name]
    return flags & ~_FLAGS["SECCOMP_FILTER_FLAG_TSYNC"]  # there is one thread anyway


def vocabulary() -> dict[str, list[str]]:
    """Return the words that a section may use: actions, operators, archs and flags."""
    return {
        "actions": sorted(_ACTIONS),
        "operators": sorted(f"SCMP_CMP_{one}" for one in _OPERATORS),
        "archs": sorted(_ARCHITECTURES),
        "flags": sorted(_FLAGS),
    }


@lru_cache(maxsize=32)
def _compile(text: str) -> bytes:
    seccomp = loads(text)
    default = _action(seccomp["defaultAction"], seccomp.get("defaultErrnoRet"))
    names = seccomp.get("architectures") or ["SCMP_ARCH_X86_64"]
    blocks: dict[int, dict[int, list[_Rule]]] = {}
    spaces: dict[int, list[int]] = {}
    for name in names:
        if name not in _ARCHITECTURES:
            raise InvalidError(f"$.linux.seccomp.architectures: {name!r} is not supported")
        token, table, bit = _ARCHITECTURES[name]
        rules = blocks.setdefault(token, {})
        spaces.setdefault(token, []).append(bit)
        _collect(seccomp.get("syscalls") or (), default, table, bit, rules)
    program: list[_Instruction] = [(_LOAD, 0, 0, 4)]
    for token, rules in blocks.items():
        foreign = token == _X86_64_TOKEN and _X32_BIT not in spaces[token]
        points = _points(rules, default, sorted(spaces[token]), foreign=foreign)
        body = [(_LOAD, 0, 0, 0), *_search(_merged(points))]
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
    default: int,
    table: str,
    bit: int,
    found: dict[int, list[_Rule]],
) -> None:
    """Sort rules by number; names that an architecture does not have are left out.

    A call that only the default answers is kept, without rules: its number is known.
    """
    numbers = NUMBERS[table]
    for rule in rules:
        action = _action(rule["action"], rule.get("errnoRet"))
        conditions = [_condition(one) for one in rule.get("args") or ()]
        indices = [one.index for one in conditions]
        if len(set(indices)) == len(indices):
            alternatives = [_Rule(tuple(conditions), action)]
        else:
            alternatives = [_Rule((one,), action) for one in conditions]
        for name in rule["names"]:
            own = [X32_NUMBERS[name]] if bit and name in X32_NUMBERS else []
            for number in ([numbers[name]] if name in numbers else []) + own:
                listed = found.setdefault(number | bit, [])
                if action != default:
                    listed += alternatives


def _condition(argument: Mapping[str, Any]) -> _Condition:
    operator = str(argument["op"]).removeprefix("SCMP_CMP_")
    index, value = argument["index"], argument["value"]
    if operator not in _OPERATORS or not 0 <= index <= 5:
        raise InvalidError(f"$.linux.seccomp: argument {argument!r} cannot be compared")
    return _Condition(index, operator, value, argument.get("valueTwo") or 0)


_Leaf = tuple[int, tuple[_Instruction, ...]]


def _points(
    rules: dict[int, list[_Rule]], default: int, spaces: Sequence[int], *, foreign: bool
) -> dict[int, tuple[_Instruction, ...]]:
    """Return what to do from each number on.

    `spaces` are where the numbers of each ABI begin. A `foreign` one, x32 in a filter that does not
    name it, must not be a way around the rules.
    """
    points = {0: _verdict(default)}
    newer = default if default in (_ALLOW, _LOG) else _ERRNO | _ENOSYS
    for space in spaces:
        named = [number for number in rules if number & _X32_BIT == space]
        points.setdefault(space, _verdict(default))
        if named:
            points[max(named) + 1] = _verdict(newer)
    for number in sorted(rules):
        points[number] = _code(rules[number], default)
        if number + 1 not in rules:
            points.setdefault(number + 1, _verdict(default))
    if foreign:
        points[_X32_BIT] = _verdict(_KILL_PROCESS)
    return points


def _merged(points: Mapping[int, tuple[_Instruction, ...]]) -> list[_Leaf]:
    """Return the points in order; neighbours that do the same are one."""
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
