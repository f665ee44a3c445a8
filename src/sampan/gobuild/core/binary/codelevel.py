"""Which instruction set level the code itself needs, whatever its build info says.

Go generates the same code for all of GOARM64=v8.1 to v9.5, with `,crypto` and without, and for
GORISCV64=rva22u64 and rva23u64: between those there is nothing to see. Three kinds of evidence, the
strongest first: variables of Go's runtime read by their symbols; the message that code of a level
prints when the processor is too old, which is in the program for that level only; and which
instructions are there. Instructions alone prove little, because Go and C code choose among them at
run time: what counts is what is missing. A program for ARMv8.0 takes a lock by LDAXR where there is
no LSE; one that needs LSE has no LDAXR. On RISC-V, POWER and MIPS what counts is what only the
compiler writes, and that often: what the runtime asks for before, it has seldom.
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
# Each within a lookahead, so that what begins between two instructions hides none.
# SH1ADD, SH2ADD, SH3ADD: the compiler's way to elements of a slice since rva22u64.
_SHADD: Final = re.compile(
    rb"(?=[\x33\x3b\xb3\xbb][\x20-\x2f\x40-\x4f\x60-\x6f\xa0-\xaf"
    rb"\xc0-\xcf\xe0-\xef].[\x20\x21])",
    re.DOTALL,
)
# LXV and STXV of POWER9, with which memory is moved and cleared; prefixed addresses of POWER10.
_POWER: Final = {
    True: (rb"(?=[\xf4-\xf7]..[%b])", rb"(?=[\x04\x06][\x10-\x13]..)"),
    False: (rb"(?=[%b]..[\xf4-\xf7])", rb"(?=..[\x10-\x13][\x04\x06])"),
}
_LXV: Final = bytes(one for one in range(256) if one & 7 in (1, 5))
# COP1, and its loads and stores.
_FLOATS: Final = {
    True: rb"(?=[\x44-\x47\xc4-\xc7\xd4-\xd7\xe4-\xe7\xf4-\xf7]...)",
    False: rb"(?=...[\x44-\x47\xc4-\xc7\xd4-\xd7\xe4-\xe7\xf4-\xf7])",
}
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
    decide = _DECIDE.get(executable.goarch)
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


def _sample(executable: Executable) -> bytes:
    """The first 8 MiB of the code."""
    place = _text(executable)
    if place is None:
        return b""
    return executable.window.take(place.offset, min(place.size, _SAMPLE_BYTES))


def _often(count: int, text: bytes) -> bool:
    """Whether it is the compiler that writes this: Go's smallest programs have 700 KB of code."""
    return count >= 5 * max(1, len(text) // 100_000)


def _riscv(executable: Executable) -> CodeLevel:
    text = _sample(executable)
    # Compressed instructions begin at every second byte.
    found = sum(1 for one in islice(_SHADD.finditer(text), _HITS_LIMIT) if not one.start() & 1)
    if _often(found, text):
        return CodeLevel("rva22u64", "likely", (f"{found} SHADD of Zba, which is of rva22u64",))
    if len(text) < 100_000:
        return _UNKNOWN
    return CodeLevel("rva20u64", "likely", (f"{found} SHADD of Zba in {len(text)} bytes",))


def _power(executable: Executable) -> CodeLevel:
    text = _sample(executable)
    vector, prefix = _POWER[executable.big_endian]
    escaped = b"".join(b"\\x%02x" % one for one in _LXV)
    vectors = _matches(re.compile(vector % escaped, re.DOTALL), text, 0)
    prefixes = _matches(re.compile(prefix, re.DOTALL), text, 0)
    evidence = (f"{vectors} LXV or STXV of POWER9 and {prefixes} prefixes of POWER10",)
    if _often(prefixes, text):
        return CodeLevel("power10", "likely", evidence)
    if _often(vectors, text):
        return CodeLevel("power9", "likely", evidence)
    return CodeLevel("power8", "likely", evidence) if len(text) >= 100_000 else _UNKNOWN


def _mips(executable: Executable) -> CodeLevel:
    text = _sample(executable)
    found = _matches(re.compile(_FLOATS[executable.big_endian], re.DOTALL), text, 0)
    evidence = (f"{found} floating point instructions in {len(text)} bytes",)
    if _often(found, text):
        return CodeLevel("hardfloat", "likely", evidence)
    return CodeLevel("softfloat", "likely", evidence) if len(text) >= 100_000 else _UNKNOWN


_DECIDE: Final = {
    "amd64": _amd64,
    "arm64": _arm64,
    "arm": _arm,
    "riscv64": _riscv,
    **dict.fromkeys(("ppc64", "ppc64le"), _power),
    **dict.fromkeys(("mips", "mipsle", "mips64", "mips64le"), _mips),
}
