"""What an instruction at a fault is: enough of a decoder to name the level it belongs to.

Go prints `instruction bytes:` after SIGILL. Sources: Arm's and Intel's architecture manuals.
"""

from __future__ import annotations

import re

__all__ = ["instruction_level", "printed_bytes"]


def printed_bytes(text: str) -> bytes:
    """Return the bytes behind `instruction bytes:`, empty without."""
    match = re.search(r"instruction bytes:((?:\s+0x[0-9a-f]{1,2})+)", text, re.IGNORECASE)
    return bytes(int(one, 16) for one in match[1].split()) if match else b""


def instruction_level(code: bytes, goarch: str) -> str:
    """Return what an instruction needs, in words that name the level; empty if unknown."""
    if goarch == "arm64" and len(code) >= 4:
        return _arm64(int.from_bytes(code[:4], "little"))
    if goarch == "arm" and len(code) >= 4:
        return _arm(int.from_bytes(code[:4], "little"))
    if goarch == "amd64" and code:
        return _amd64(code)
    return ""


def _arm64(word: int) -> str:
    atomic = word & 0x3F200C00 == 0x38200000
    compare = word & 0x3FA07C00 == 0x08A07C00
    if atomic or compare:
        return "LSE atomics (GOARM64=v8.1 and above, or ,lse)"
    if word & 0xFF3E0C00 == 0x4E280800 or word & 0xFFE08C00 == 0x5E000000:
        return "cryptographic instructions (GOARM64 with ,crypto)"
    return ""


def _arm(word: int) -> str:
    if word & 0x0FF00000 in (0x03000000, 0x03400000):
        return "MOVW or MOVT (GOARM=7)"
    if word & 0xFFFFFFF0 in (0xF57FF050, 0xF57FF040):
        return "a memory barrier of ARMv7 (GOARM=7)"
    if word & 0x0FE00070 in (0x07E00050, 0x07A00050) or word & 0x0FE0007F == 0x07C0001F:
        return "a bit field instruction (GOARM=7)"
    if word & 0x0E000E00 == 0x0C000A00 or word & 0x0F000E00 == 0x0E000A00:
        return "floating point of VFP (GOARM=6 and above)"
    return ""


def _amd64(code: bytes) -> str:
    if code[0] == 0x62:
        return "AVX-512 (GOAMD64=v4)"
    if code[0] in (0xC4, 0xC5):
        return "AVX, BMI or FMA (GOAMD64=v3)"
    if code[:3] == b"\xf3\x0f\xb8" or (code[:1] == b"\xf3" and code[2:4] == b"\x0f\xb8"):
        return "POPCNT (GOAMD64=v2)"
    if code[:3] in (b"\x66\x0f\x38", b"\x66\x0f\x3a"):
        return "SSE4.1 (GOAMD64=v2)"
    return ""
