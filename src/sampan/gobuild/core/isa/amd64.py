"""x86: prefixes and opcode maps, as far as they tell an extension.

Source: Intel 64 and IA-32 Architectures Software Developer's Manual, volume 2, A, "opcode map";
the levels of the x86-64 psABI.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from sampan.gobuild.core.isa.pattern import Instruction

__all__ = ["decode"]

_V2: Final = "(GOAMD64=v2)"
_V3: Final = "(GOAMD64=v3)"
_NONE: Final = "(in no level: to be asked for at run time)"
_SSE3, _SSSE3 = f"SSE3 {_V2}", f"SSSE3 {_V2}"
_SSE41, _SSE42 = f"SSE4.1 {_V2}", f"SSE4.2 {_V2}"
_AVX, _AVX2 = f"AVX {_V3}", f"AVX2 {_V3}"
_BMI1, _BMI2, _FMA = f"BMI1 {_V3}", f"BMI2 {_V3}", f"FMA {_V3}"
_AES, _SHA, _ADX = f"AES-NI {_NONE}", f"SHA {_NONE}", f"ADX {_NONE}"
_TRAP: Final = "no processor: it is a trap, put where control must not come"

Opcodes = Mapping[tuple[int, int], tuple[str, str]]
"""By the mandatory prefix (0, 0x66, 0xF3, 0xF2) and the opcode."""


def _table(rows: Sequence[tuple[int, Sequence[int], str, str]]) -> Opcodes:
    return {(prefix, code): (name, needs) for prefix, codes, name, needs in rows for code in codes}


_0F: Final = _table(
    [
        (0, (0x0B,), "ud2", _TRAP),
        (0, (0xB9, 0xFF), "ud", _TRAP),
        (0xF3, (0xB8,), "popcnt", f"POPCNT {_V2}"),
        (0xF3, (0xBD,), "lzcnt", f"LZCNT {_V3}"),
        (0xF3, (0xBC,), "tzcnt", _BMI1),
        (0x66, (0x7C, 0x7D, 0xD0), "haddpd/hsubpd/addsubpd", _SSE3),
        (0xF2, (0x7C, 0x7D, 0xD0), "haddps/hsubps/addsubps", _SSE3),
        (0xF2, (0x12, 0xF0), "movddup/lddqu", _SSE3),
        (0xF3, (0x12, 0x16), "movsldup/movshdup", _SSE3),
    ]
)
_0F38: Final = _table(
    [
        (0, (*range(0x0C), 0x1C, 0x1D, 0x1E), "ssse3", _SSSE3),
        (0x66, (*range(0x0C), 0x1C, 0x1D, 0x1E), "pshufb/phadd/pabs", _SSSE3),
        (0x66, (0x37,), "pcmpgtq", _SSE42),
        (0x66, (0x10, 0x14, 0x15, 0x17, *range(0x20, 0x42)), "sse4.1", _SSE41),
        (0xF2, (0xF0, 0xF1), "crc32", _SSE42),
        (0, (0xF0, 0xF1), "movbe", f"MOVBE {_V3}"),
        (0x66, (0xF0, 0xF1), "movbe", f"MOVBE {_V3}"),
        (0x66, (0xF6,), "adcx", _ADX),
        (0xF3, (0xF6,), "adox", _ADX),
        (0x66, range(0xDB, 0xE0), "aes", _AES),
        (0, range(0xC8, 0xCE), "sha", _SHA),
    ]
)
_0F3A: Final = _table(
    [
        (0, (0x0F,), "palignr", _SSSE3),
        (0x66, (0x0F,), "palignr", _SSSE3),
        (0x66, (*range(0x60, 0x64),), "pcmpestr/pcmpistr", _SSE42),
        (0x66, (*range(0x08, 0x0F), *range(0x14, 0x23), 0x40, 0x41, 0x42), "sse4.1", _SSE41),
        (0x66, (0x44,), "pclmulqdq", f"PCLMULQDQ {_NONE}"),
        (0x66, (0xDF,), "aeskeygenassist", _AES),
        (0, (0xCC,), "sha1rnds4", _SHA),
    ]
)
_VEX_2: Final = _table(
    [
        (0, (0xF2,), "andn", _BMI1),
        (0, (0xF3,), "blsr/blsmsk/blsi", _BMI1),
        (0, (0xF7,), "bextr", _BMI1),
        (0, (0xF5,), "bzhi", _BMI2),
        (0xF3, (0xF5,), "pext", _BMI2),
        (0xF2, (0xF5,), "pdep", _BMI2),
        (0xF2, (0xF6,), "mulx", _BMI2),
        (0x66, (0xF7,), "shlx", _BMI2),
        (0xF3, (0xF7,), "sarx", _BMI2),
        (0xF2, (0xF7,), "shrx", _BMI2),
        (0x66, (*range(0x96, 0xA0), *range(0xA6, 0xB0), *range(0xB6, 0xC0)), "vfmadd", _FMA),
        (0x66, (0x13,), "vcvtph2ps", f"F16C {_V3}"),
        (0x66, (0x50, 0x51, 0x52, 0x53), "vpdp", f"AVX-VNNI {_NONE}"),
        (0x66, (0x36, 0x45, 0x46, 0x47, 0x58, 0x59, 0x5A, 0x78, 0x79), "vpbroadcast", _AVX2),
        (0x66, (0x8C, 0x8E, 0x90, 0x91, 0x92, 0x93, 0x16), "vpmaskmov/vgather", _AVX2),
        (0x66, range(0xDB, 0xE0), "vaes", f"AES-NI with AVX {_NONE}"),
    ]
)
_VEX_3: Final = _table(
    [
        (0xF2, (0xF0,), "rorx", _BMI2),
        (0x66, (0x1D,), "vcvtps2ph", f"F16C {_V3}"),
        (0x66, (0x00, 0x01, 0x02, 0x38, 0x39, 0x46), "vperm/vinserti128", _AVX2),
        (0x66, (0x44,), "vpclmulqdq", f"PCLMULQDQ with AVX {_NONE}"),
    ]
)
_INTEGER: Final = (*range(0x60, 0x6E), *range(0x71, 0x77), *range(0xD1, 0xFF))


def decode(code: bytes, goarch: str) -> Instruction | None:
    """Return what the first instruction is; None when x86-64-v1 has it."""
    at, mandatory, wide = 0, 0, False
    while at < len(code) and code[at] in (0x66, 0xF2, 0xF3, 0xF0, 0x2E, 0x36, 0x3E, 0x26, 100, 101):
        if code[at] in (0xF2, 0xF3) or (code[at] == 0x66 and not mandatory):
            mandatory = code[at]
        at += 1
    rest = code[at:]
    registers = len(rest) > 1 and rest[1] >= 0xC0
    if rest[:1] in (b"\xc4", b"\xc5") and (goarch == "amd64" or registers):
        return _vex(rest)
    if rest[:1] == b"\x62" and (goarch == "amd64" or registers):
        return Instruction("an AVX-512 instruction", "AVX-512 (GOAMD64=v4)")
    if rest and goarch == "amd64" and 0x40 <= rest[0] < 0x50:
        wide, rest = bool(rest[0] & 8), rest[1:]
    if rest[:1] in (b"\xcc", b"\xf4"):
        return Instruction("int3" if rest[0] == 0xCC else "hlt", _TRAP)
    if rest[:1] != b"\x0f" or len(rest) < 2:
        return None
    if rest[1] in (0x38, 0x3A):
        table = _0F38 if rest[1] == 0x38 else _0F3A
        return _found(table, mandatory, rest[2] if len(rest) > 2 else 0)
    if rest[1] in (0xC7, 0xAE) and len(rest) > 2:
        return _grouped(rest[1], rest[2], mandatory, wide)
    return _found(_0F, mandatory, rest[1])


def _found(table: Opcodes, prefix: int, opcode: int) -> Instruction | None:
    found = table.get((prefix, opcode))
    return Instruction(*found) if found else None


def _grouped(opcode: int, operands: int, prefix: int, wide: bool) -> Instruction | None:
    """Those whose kind is in the middle of the byte behind."""
    kind, registers = operands >> 3 & 7, operands >= 0xC0
    if opcode == 0xC7 and registers and kind in (6, 7):
        return Instruction("rdrand" if kind == 6 else "rdseed", f"RDRAND or RDSEED {_NONE}")
    if opcode == 0xC7 and kind == 1 and wide:
        return Instruction("cmpxchg16b", f"CMPXCHG16B {_V2}")
    if opcode == 0xAE and prefix == 0xF3 and registers and kind < 4:
        return Instruction("rdfsbase/wrfsbase", f"FSGSBASE {_NONE}")
    if opcode == 0xAE and prefix == 0x66 and not registers and kind in (6, 7):
        return Instruction("clwb/clflushopt", f"CLWB or CLFLUSHOPT {_NONE}")
    return None


def _vex(code: bytes) -> Instruction:
    """An instruction of the VEX encoding: AVX, AVX2, BMI, FMA or F16C."""
    size = 2 if code[0] == 0xC5 else 3
    if len(code) <= size:
        return Instruction("avx", _AVX)
    last, opcode = code[size - 1], code[size]
    prefix = (0, 0x66, 0xF3, 0xF2)[last & 3]
    kind = 1 if size == 2 else code[1] & 31
    table: Opcodes = {2: _VEX_2, 3: _VEX_3}.get(kind, {})
    if found := _found(table, prefix, opcode):
        return found
    long = bool(last & 4)
    if long and prefix == 0x66 and (opcode in _INTEGER if kind == 1 else opcode < 0x40):
        return Instruction("an AVX2 instruction", _AVX2)
    return Instruction("an AVX instruction", _AVX)
