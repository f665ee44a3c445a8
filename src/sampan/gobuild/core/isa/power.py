"""POWER: what came with POWER9 and POWER10.

Source: Power ISA 3.1, Appendix F, "instructions sorted by version".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from sampan.gobuild.core.isa.pattern import Instruction, Pattern, first

__all__ = ["decode"]

_9: Final = "Power ISA 3.0 (GOPPC64=power9 and above)"
_10: Final = "Power ISA 3.1 (GOPPC64=power10)"

_TABLE: Final[tuple[Pattern, ...]] = (
    (0xFC000000, 0x04000000, "a prefixed instruction", _10),
    (0xFC00003F, 0x10000033, "maddld", _9),
    (0xFC00003E, 0x10000030, "maddhd/maddhdu", _9),
    (0xFC000007, 0xF4000001, "lxv", _9),
    (0xFC000007, 0xF4000005, "stxv", _9),
    (0xFC000002, 0xF4000002, "stxsd/stxssp", _9),
    (0xFC000002, 0xE4000002, "lxsd/lxssp", _9),
    (0xFC00000E, 0x18000000, "lxvp/stxvp", _10),
    (0xFC0007F8, 0xF00004C0, "xsminjdp", _9),
    (0xFC0007F8, 0xF0000480, "xsmaxjdp", _9),
    (0xFC000003, 0x44000001, "scv", _9),
)
# Primary opcode 31, by its extended opcode of ten bits.
_EXTENDED: Final[Mapping[int, tuple[str, str]]] = {
    570: ("cnttzd", _9),
    538: ("cnttzw", _9),
    777: ("modsd", _9),
    265: ("modud", _9),
    779: ("modsw", _9),
    267: ("moduw", _9),
    128: ("setb", _9),
    435: ("mtvsrdd", _9),
    307: ("mfvsrld", _9),
    268: ("lxvx", _9),
    300: ("lxvx", _9),
    396: ("stxvx", _9),
    269: ("lxvl", _9),
    301: ("lxvll", _9),
    397: ("stxvl", _9),
    429: ("stxvll", _9),
    755: ("darn", _9),
    890: ("extswsli", _9),
    891: ("extswsli", _9),
    384: ("setbc", _10),
    416: ("setbcr", _10),
    448: ("setnbc", _10),
    480: ("setnbcr", _10),
    219: ("brh", _10),
    155: ("brw", _10),
    187: ("brd", _10),
    59: ("cntlzdm", _10),
    571: ("cnttzdm", _10),
    156: ("pdepd", _10),
    188: ("pextd", _10),
    220: ("cfuged", _10),
}


def decode(code: bytes, goarch: str) -> Instruction | None:
    """Return what the four bytes are; None when a POWER8 has it."""
    if len(code) < 4:
        return None
    word = int.from_bytes(code[:4], "little" if goarch.endswith("le") else "big")
    if word == 0:
        return Instruction("an illegal word", "no processor: it is a trap or no code")
    if word >> 26 == 31:
        found = _EXTENDED.get(word >> 1 & 0x3FF)
        return Instruction(*found) if found else None
    return first(word, _TABLE)
