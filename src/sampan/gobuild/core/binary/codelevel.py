"""Which instruction set level the code itself needs, whatever its build info says.

Three kinds of evidence, the strongest first: variables of Go's runtime read by their symbols;
the message that code of a level prints when the processor is too old, which is in the program for
that level only; and which instructions are there. Instructions alone prove little, because Go
and C code choose among them at run time: what counts is what is missing. A program for ARMv8.0
takes a lock by LDAXR where there is no LSE; one that needs LSE has no LDAXR.
"""

from __future__ import annotations

import re
from itertools import islice
from typing import Final

from sampan.base.record import record
from sampan.gobuild.core.binary.executable import Executable, Region
from sampan.gobuild.core.binary.window import Window

__all__ = ["CodeLevel", "code_level"]

_AMD64_MESSAGE: Final = b"This program can only be run on AMD64 processors with v"
_ARM64_MESSAGE: Final = b"This program can only run on ARM64 processors with LSE support"
_SCAN_BYTES: Final = 64 << 20
_SAMPLE_BYTES: Final = 8 << 20
_ENOUGH: Final = 64
_HITS_LIMIT: Final = 100_000
# LDAXR Wn/Xn, little endian: the two upper bytes; and CASAL, SWPAL, LDADDAL, LDCLRAL, LDSETAL.
_LDAXR: Final = (b"\x5f\x88", b"\x5f\xc8")
_LSE: Final = re.compile(
    rb"[\xfc-\xff][\xe0-\xff][\x88\xc8]|[\x00-\x03\x10-\x13\x30-\x33\x80-\x83][\xe0-\xff][\xb8\xf8]"
)
# MOVW Rd, #imm16 with the condition "always" came with ARMv7 in Go's compiler; VLDR and arithmetic
# of coprocessors 10 and 11 are floating point.
_MOVW: Final = re.compile(rb"[\x00-\x0f]\xe3")
_VFP: Final = re.compile(rb"[\x0a\x0b].[\xed\xee]", re.DOTALL)
_TEXTS: Final = (".text", "__text")


@record
class CodeLevel:
    """A level and how sure it is: `certain`, `likely` or `unknown`; with what was seen."""

    level: str
    sure: str
    evidence: tuple[str, ...] = ()


_UNKNOWN: Final = CodeLevel("", "unknown")


def code_level(executable: Executable) -> CodeLevel:
    """Return the level that the code of a Go program needs; `unknown` without evidence."""
    decide = {"amd64": _amd64, "arm64": _arm64, "arm": _arm}.get(executable.goarch)
    return decide(executable) if decide else _UNKNOWN


def _text(executable: Executable) -> Region | None:
    for name in _TEXTS:
        if found := executable.section(name):
            return found
    return next((one for one in executable.regions if one.executable), None)


def _amd64(executable: Executable) -> CodeLevel:
    window = executable.window
    at = executable.find(_AMD64_MESSAGE)
    if at < 0:
        return CodeLevel(
            "v1", "likely", ("no start check for a newer processor is in the program",)
        )
    digit = window.take(at + len(_AMD64_MESSAGE), 1).decode("ascii", "replace")
    if digit not in "234":
        return _UNKNOWN
    return CodeLevel(f"v{digit}", "certain", (f"start check of GOAMD64=v{digit} at {at:#x}",))


def _arm64(executable: Executable) -> CodeLevel:
    window = executable.window
    at = executable.find(_ARM64_MESSAGE)
    if at >= 0:
        return CodeLevel("v8.0,lse", "certain", (f"start check for LSE at {at:#x}",))
    place = _text(executable)
    if place is None:
        return _UNKNOWN
    part = Window(window.data, window.start + place.offset, min(place.size, _SCAN_BYTES))
    exclusive = sum(_count(part, needle, 2, _ENOUGH) for needle in _LDAXR)
    if exclusive >= _ENOUGH // 2:
        return CodeLevel(
            "v8.0", "likely", (f"LDAXR, the way without LSE, {_at_least(exclusive)} times",)
        )
    atomics = _matches(_LSE, part.take(0, _SAMPLE_BYTES), 1)
    if atomics >= 8 and exclusive <= 4:
        return CodeLevel(
            "v8.0,lse",
            "likely",
            (f"{atomics} LSE atomics and {exclusive} LDAXR: no way without LSE",),
        )
    return _UNKNOWN


def _at_least(count: int) -> str:
    return f"at least {count}" if count >= _ENOUGH else str(count)


def _count(part: Window, needle: bytes, shift: int, enough: int) -> int:
    """How often `needle` stands at `shift` within a word of four bytes, up to `enough`."""
    found = 0
    at = part.find(needle)
    for _ in range(_HITS_LIMIT):
        if at < 0 or found >= enough:
            break
        found += at % 4 == shift
        at = part.find(needle, at + 1)
    return found


def _matches(pattern: re.Pattern[bytes], text: bytes, shift: int) -> int:
    """How many matches begin at `shift` within a word of four bytes."""
    hits = islice(pattern.finditer(text), _HITS_LIMIT)
    return sum(1 for one in hits if one.start() % 4 == shift)


def _arm(executable: Executable) -> CodeLevel:
    values = dict(executable.values)
    if (version := values.get("runtime.goarm")) in (5, 6, 7):
        soft = values.get("runtime.goarmsoftfp")
        usual = version == 5
        level = str(version)
        if soft is not None and bool(soft) is not usual:
            level += ",softfloat" if soft else ",hardfloat"
        return CodeLevel(level, "certain", (f"runtime.goarm is {version}",))
    place = _text(executable)
    if place is None:
        return _UNKNOWN
    part = Window(executable.window.data, executable.window.start + place.offset, place.size)
    text = part.take(0, _SAMPLE_BYTES)
    moves, floats = _matches(_MOVW, text, 2), _matches(_VFP, text, 1)
    # Go's smallest program has 300 MOVW and 500 floating point instructions at level 7 in 700 KB.
    share = max(1, len(text) // 100_000)
    evidence = (f"{moves} MOVW and {floats} floating point instructions in {len(text)} bytes",)
    if moves >= 10 * share:
        return CodeLevel("7", "likely", evidence)
    if len(text) < 100_000:
        return _UNKNOWN
    return CodeLevel("6" if floats >= 20 * share else "5", "likely", evidence)
