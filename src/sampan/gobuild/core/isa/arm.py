"""ARM of 32 bits: what came with ARMv6 and ARMv7, floating point, NEON, and ARMv8.

Source: Arm Architecture Reference Manual, ARMv7-A and ARMv7-R, A5, "ARM instruction set encoding".
"""

from __future__ import annotations

from typing import Final

from sampan.gobuild.core.isa.pattern import Instruction, Pattern, first

__all__ = ["decode"]

_BARRIER: Final = "a memory barrier of ARMv7 (GOARM=7)"
_FIELD: Final = "a bit field instruction (GOARM=7)"
_NEON: Final = "NEON (of ARMv7, optional there)"
_V8: Final = "ARMv8 in its 32 bit state"
_EXCLUSIVE: Final = "exclusive loads and stores of ARMv6 (GOARM=6 and above)"
_TRAP: Final = "no processor: it is a trap, put where control must not come"

# Where the condition is none: F in the upper four bits.
_ALWAYS: Final[tuple[Pattern, ...]] = (
    (0xFFFFFFF0, 0xF57FF050, "dmb", _BARRIER),
    (0xFFFFFFF0, 0xF57FF040, "dsb", _BARRIER),
    (0xFFFFFFF0, 0xF57FF060, "isb", _BARRIER),
    (0xFFFFFFFF, 0xF57FF01F, "clrex", "CLREX of ARMv6K (GOARM=7)"),
    (0xFE000000, 0xF2000000, "neon", _NEON),
    (0xFF100000, 0xF4000000, "vld/vst", _NEON),
    (0xFF000E00, 0xFE000A00, "vsel/vmaxnm/vrint", _V8),
)
_TABLE: Final[tuple[Pattern, ...]] = (
    (0xFFF000F0, 0xE7F000F0, "udf", _TRAP),
    (0x0FF00000, 0x03000000, "movw", "MOVW or MOVT (GOARM=7)"),
    (0x0FF00000, 0x03400000, "movt", "MOVW or MOVT (GOARM=7)"),
    (0x0FE00070, 0x07E00050, "ubfx", _FIELD),
    (0x0FE00070, 0x07A00050, "sbfx", _FIELD),
    (0x0FE00070, 0x07C00010, "bfi/bfc", _FIELD),
    (0x0FD0F0F0, 0x0710F010, "sdiv/udiv", "division in hardware (an option of ARMv7)"),
    (0x0FF000F0, 0x06F00030, "rbit", "RBIT (GOARM=7)"),
    (0x0FF000F0, 0x03200000, "nop/yield/wfe", "hints of ARMv6K (GOARM=7)"),
    (0x0FF00FFF, 0x01900E9F, "lda", _V8),
    (0x0F900FF0, 0x01800C90, "stl/lda", _V8),
    (0x0F900FF0, 0x01800E90, "stlex/ldaex", _V8),
    (0x0FF00FFF, 0x01B00F9F, "ldrexd", "LDREXD of ARMv6K (GOARM=7)"),
    (0x0FF00FF0, 0x01A00F90, "strexd", "STREXD of ARMv6K (GOARM=7)"),
    (0x0FD00FFF, 0x01D00F9F, "ldrexb/ldrexh", "of ARMv6K (GOARM=7)"),
    (0x0FD00FF0, 0x01C00F90, "strexb/strexh", "of ARMv6K (GOARM=7)"),
    (0x0FF00FFF, 0x01900F9F, "ldrex", _EXCLUSIVE),
    (0x0FF00FF0, 0x01800F90, "strex", _EXCLUSIVE),
    (0x0FFF0FFF, 0x0E070FBA, "mcr (memory barrier)", "CP15 barriers of ARMv6 (GOARM=6)"),
    (0x0F900DF0, 0x01000040, "crc32", _V8),
    (0x0FB00E50, 0x0EA00A00, "vfma/vfms", "fused multiply of VFPv4"),
    (0x0FB00EF0, 0x0EB00A00, "vmov #immediate", "VFPv3 (GOARM=7)"),
    (0x0E000E00, 0x0C000A00, "vldr/vstr", "floating point of VFP (GOARM=6 and above)"),
    (0x0F000E00, 0x0E000A00, "vfp", "floating point of VFP (GOARM=6 and above)"),
    (0x0FF00FF0, 0x06B00F30, "rev", "byte reversal of ARMv6 (GOARM=6 and above)"),
    (0x0FF00FF0, 0x06B00FB0, "rev16", "byte reversal of ARMv6 (GOARM=6 and above)"),
    (0x0F8003F0, 0x06800070, "sxt/uxt", "extension of bytes of ARMv6 (GOARM=6 and above)"),
)


def decode(code: bytes, _goarch: str) -> Instruction | None:
    """Return what the four bytes are; None when ARMv5 has it. Thumb is not looked at."""
    if len(code) < 4:
        return None
    word = int.from_bytes(code[:4], "little")
    return first(word, _ALWAYS if word >> 28 == 15 else _TABLE)
