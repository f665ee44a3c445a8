"""The instruction at a fault: what Go prints of it, and which level it belongs to.

Go prints `instruction bytes:` after SIGILL.
"""

from __future__ import annotations

import re

from sampan.gobuild.core.isa.instruction import decode

__all__ = ["instruction_level", "printed_bytes"]

_BYTES = re.compile(r"instruction bytes:((?:\s+0x[0-9a-f]{1,2})+)", re.IGNORECASE)


def printed_bytes(text: str) -> bytes:
    """Return the bytes behind `instruction bytes:`, empty without."""
    at = text.find("instruction bytes:")
    match = _BYTES.match(text, at) if at >= 0 else None
    return bytes(int(one, 16) for one in match[1].split()) if match else b""


def instruction_level(code: bytes, goarch: str) -> str:
    """Return what an instruction needs, in words that name the level; empty if unknown."""
    found = decode(code, goarch)
    return found.needs if found else ""
