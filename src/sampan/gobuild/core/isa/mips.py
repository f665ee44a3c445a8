"""MIPS: floating point, and what came with release 2, MSA and release 6.

Source: MIPS Architecture for Programmers, volume II.
"""

from __future__ import annotations

from typing import Final

from sampan.gobuild.core.isa.pattern import Instruction, Pattern, first

__all__ = ["decode"]

_FLOAT: Final = "floating point hardware (GOMIPS=hardfloat)"
_R2: Final = "release 2 of MIPS"

_TABLE: Final[tuple[Pattern, ...]] = (
    (0xFC00003F, 0x0000000D, "break", "no processor: it is a trap"),
    (0xFC000000, 0x44000000, "cop1", _FLOAT),
    (0xFC000000, 0x4C000000, "cop1x", _FLOAT),
    (0xFC000000, 0xC4000000, "lwc1", _FLOAT),
    (0xFC000000, 0xD4000000, "ldc1", _FLOAT),
    (0xFC000000, 0xE4000000, "swc1", _FLOAT),
    (0xFC000000, 0xF4000000, "sdc1", _FLOAT),
    (0xFC000000, 0x78000000, "msa", "vectors, MSA"),
    (0xFC00003C, 0x7C000000, "ext/dext", _R2),
    (0xFC00003C, 0x7C000004, "ins/dins", _R2),
    (0xFC00003F, 0x7C000020, "bshfl", _R2),
    (0xFC00003F, 0x7C000024, "dbshfl", _R2),
    (0xFC00003F, 0x7C00003B, "rdhwr", _R2),
    (0xFC0007FF, 0x00000035, "seleqz", "release 6 of MIPS"),
    (0xFC0007FF, 0x00000037, "selnez", "release 6 of MIPS"),
)


def decode(code: bytes, goarch: str) -> Instruction | None:
    """Return what the four bytes are; None when release 1 with software floating point has it."""
    if len(code) < 4:
        return None
    return first(int.from_bytes(code[:4], "little" if goarch.endswith("le") else "big"), _TABLE)
