"""Instructions as text, by capstone when it is installed."""

from __future__ import annotations

import importlib
from typing import Any, Final

__all__ = ["disassembled"]

# GOARCH -> architecture and modes of capstone.
_MODES: Final = {
    "386": ("CS_ARCH_X86", ("CS_MODE_32",)),
    "amd64": ("CS_ARCH_X86", ("CS_MODE_64",)),
    "arm": ("CS_ARCH_ARM", ("CS_MODE_ARM", "CS_MODE_V8")),
    "arm64": ("CS_ARCH_ARM64", ("CS_MODE_ARM",)),
    "mips": ("CS_ARCH_MIPS", ("CS_MODE_MIPS32", "CS_MODE_BIG_ENDIAN")),
    "mips64": ("CS_ARCH_MIPS", ("CS_MODE_MIPS64", "CS_MODE_BIG_ENDIAN")),
    "mips64le": ("CS_ARCH_MIPS", ("CS_MODE_MIPS64",)),
    "mipsle": ("CS_ARCH_MIPS", ("CS_MODE_MIPS32",)),
    "ppc64": ("CS_ARCH_PPC", ("CS_MODE_64", "CS_MODE_BIG_ENDIAN")),
    "ppc64le": ("CS_ARCH_PPC", ("CS_MODE_64",)),
    "riscv64": ("CS_ARCH_RISCV", ("CS_MODE_RISCV64", "CS_MODE_RISCVC")),
    "s390x": ("CS_ARCH_SYSZ", ("CS_MODE_BIG_ENDIAN",)),
}


def disassembled(code: bytes, goarch: str, address: int) -> str:
    """Return the first instruction; empty without capstone, or when it does not know it."""
    known = _MODES.get(goarch)
    if known is None:
        return ""
    try:
        capstone: Any = importlib.import_module("capstone")
    except ImportError:
        return ""
    architecture, modes = known
    try:
        reader = capstone.Cs(
            getattr(capstone, architecture), sum(getattr(capstone, one) for one in modes)
        )
        for _, _, name, operands in reader.disasm_lite(code, address, 1):
            return f"{name} {operands}".strip()
    except (AttributeError, capstone.CsError):
        pass
    return ""
