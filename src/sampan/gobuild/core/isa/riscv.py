"""RISC-V: what is beyond RV64GC, by the profiles that Go's levels are named for.

Source: The RISC-V Instruction Set Manual, volume I; RISC-V Profiles, RVA22 and RVA23.
"""

from __future__ import annotations

from typing import Final

from sampan.gobuild.core.isa.pattern import Instruction, Pattern, first

__all__ = ["decode"]

_ZBA: Final = "address generation, Zba (GORISCV64=rva22u64 and above)"
_ZBB: Final = "bit manipulation, Zbb (GORISCV64=rva22u64 and above)"
_ZBS: Final = "single bits, Zbs (GORISCV64=rva22u64 and above)"
_ZBC: Final = "carry-less products, Zbc (in no profile that Go knows)"
_ZICOND: Final = "conditional zero, Zicond (GORISCV64=rva23u64)"
_V: Final = "vectors, V (GORISCV64=rva23u64)"
_HALF: Final = "half precision, Zfh (optional)"
_TRAP: Final = "no processor: it is a trap, put where control must not come"

_R: Final = 0xFE00707F  # of register instructions: funct7, funct3 and opcode
_U: Final = 0xFFF0707F  # of those with one operand
_I: Final = 0xFC00707F  # of shifts by a number


_TABLE: Final[tuple[Pattern, ...]] = (
    (_R, 0x20002033, "sh1add", _ZBA),
    (_R, 0x20004033, "sh2add", _ZBA),
    (_R, 0x20006033, "sh3add", _ZBA),
    (_R, 0x0800003B, "add.uw", _ZBA),
    (_R, 0x2000203B, "sh1add.uw", _ZBA),
    (_R, 0x2000403B, "sh2add.uw", _ZBA),
    (_R, 0x2000603B, "sh3add.uw", _ZBA),
    (_I, 0x0800101B, "slli.uw", _ZBA),
    (_R, 0x40007033, "andn", _ZBB),
    (_R, 0x40006033, "orn", _ZBB),
    (_R, 0x40004033, "xnor", _ZBB),
    (_R, 0x0A004033, "min", _ZBB),
    (_R, 0x0A005033, "minu", _ZBB),
    (_R, 0x0A006033, "max", _ZBB),
    (_R, 0x0A007033, "maxu", _ZBB),
    (_R, 0x60001033, "rol", _ZBB),
    (_R, 0x60005033, "ror", _ZBB),
    (_R, 0x6000103B, "rolw", _ZBB),
    (_R, 0x6000503B, "rorw", _ZBB),
    (_U, 0x0800403B, "zext.h", _ZBB),
    (_U, 0x60001013, "clz", _ZBB),
    (_U, 0x60101013, "ctz", _ZBB),
    (_U, 0x60201013, "cpop", _ZBB),
    (_U, 0x60401013, "sext.b", _ZBB),
    (_U, 0x60501013, "sext.h", _ZBB),
    (_U, 0x6000101B, "clzw", _ZBB),
    (_U, 0x6010101B, "ctzw", _ZBB),
    (_U, 0x6020101B, "cpopw", _ZBB),
    (_U, 0x6B805013, "rev8", _ZBB),
    (_U, 0x28705013, "orc.b", _ZBB),
    (_I, 0x60005013, "rori", _ZBB),
    (_R, 0x6000501B, "roriw", _ZBB),
    (_R, 0x28001033, "bset", _ZBS),
    (_R, 0x48001033, "bclr", _ZBS),
    (_R, 0x68001033, "binv", _ZBS),
    (_R, 0x48005033, "bext", _ZBS),
    (_I, 0x28001013, "bseti", _ZBS),
    (_I, 0x48001013, "bclri", _ZBS),
    (_I, 0x68001013, "binvi", _ZBS),
    (_I, 0x48005013, "bexti", _ZBS),
    (_R, 0x0A001033, "clmul", _ZBC),
    (_R, 0x0A002033, "clmulr", _ZBC),
    (_R, 0x0A003033, "clmulh", _ZBC),
    (_R, 0x0E005033, "czero.eqz", _ZICOND),
    (_R, 0x0E007033, "czero.nez", _ZICOND),
    (0x0000007F, 0x00000057, "vector arithmetic", _V),
    (0x0000707F, 0x00000007, "vector load", _V),
    (0x0000507F, 0x00005007, "vector load", _V),
    (0x0000707F, 0x00000027, "vector store", _V),
    (0x0000507F, 0x00005027, "vector store", _V),
    (0x0000707F, 0x00001007, "flh", _HALF),
    (0x0000707F, 0x00001027, "fsh", _HALF),
    (0x0600007F, 0x04000053, "half precision", _HALF),
    (0xFFFFFFFF, 0xC0001073, "unimp", _TRAP),
    (0xFFFFFFFF, 0x00100073, "ebreak", _TRAP),
    (0xFFBFFFFF, 0x00D00073, "wrs.nto/wrs.sto", "waiting on reservations, Zawrs (rva23u64)"),
    (0xF800207F, 0x2800202F, "amocas", "compare and swap, Zacas (optional)"),
)


def decode(code: bytes, _goarch: str) -> Instruction | None:
    """Return what the first instruction is; None when every RV64GC has it."""
    if len(code) < 2:
        return None
    half = int.from_bytes(code[:2], "little")
    if half == 0:
        return Instruction("c.unimp", _TRAP)
    if half & 3 != 3:
        if half & 0xE003 == 0x8000:
            return Instruction("c.lbu/c.lh/c.sb", "more compressed code, Zcb (GORISCV64=rva23u64)")
        return None
    return first(int.from_bytes(code[:4], "little"), _TABLE) if len(code) >= 4 else None
