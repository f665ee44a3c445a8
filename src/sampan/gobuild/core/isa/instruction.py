"""The first instruction of some bytes: a name and what it needs.

Sources: Arm's, Intel's, RISC-V's, OpenPOWER's and MIPS' architecture manuals.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from sampan.gobuild.core.isa import amd64, arm, arm64, mips, power, riscv
from sampan.gobuild.core.isa.pattern import Instruction

__all__ = ["DECODED_BYTES", "Instruction", "decode"]

DECODED_BYTES: Final = 16
"""As many bytes as any instruction may have, rounded up."""

_DECODERS: Final[Mapping[str, Callable[[bytes, str], Instruction | None]]] = {
    "386": amd64.decode,
    "amd64": amd64.decode,
    "arm": arm.decode,
    "arm64": arm64.decode,
    "mips": mips.decode,
    "mips64": mips.decode,
    "mips64le": mips.decode,
    "mipsle": mips.decode,
    "ppc64": power.decode,
    "ppc64le": power.decode,
    "riscv64": riscv.decode,
}


def decode(code: bytes, goarch: str) -> Instruction | None:
    """Return what the instruction at the beginning of `code` is; None when it decides nothing."""
    decoder = _DECODERS.get(goarch)
    return decoder(code, goarch) if decoder and code else None
