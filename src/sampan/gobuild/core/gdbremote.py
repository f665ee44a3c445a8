"""GDB's remote protocol, as far as QEMU's user emulation speaks it: packets, stops, registers.

Source: "GDB Remote Serial Protocol" of the GDB manual; gdbstub.c of QEMU.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from sampan.base.record import record

__all__ = ["FATAL", "PC_REGISTERS", "Packets", "Stop", "auxiliary", "packet", "stop_of"]

_PACKET_BYTES: Final = 1 << 20
PC_REGISTERS: Final[Mapping[str, int]] = {
    "386": 8,
    "amd64": 16,
    "arm": 15,
    "arm64": 32,
    "loong64": 33,
    "mips": 37,
    "mips64": 37,
    "mips64le": 37,
    "mipsle": 37,
    "ppc64": 64,
    "ppc64le": 64,
    "riscv64": 32,
    "s390x": 1,
}
"""The number of the program counter by GOARCH."""

FATAL: Final[Mapping[int, str]] = {
    4: "SIGILL",
    5: "SIGTRAP",
    6: "SIGABRT",
    8: "SIGFPE",
    10: "SIGBUS",
    11: "SIGSEGV",
    12: "SIGSYS",
}
"""Signals by GDB's numbers that the code itself causes."""


@record
class Stop:
    """Why the program stands: `signal` by GDB's number, or it has `ended`."""

    signal: int = 0
    ended: bool = False


def packet(text: str) -> bytes:
    """Return a packet with its check sum."""
    raw = text.encode()
    return b"$%b#%02x" % (raw, sum(raw) & 0xFF)


class Packets:
    """Takes bytes as they come, gives the packets in them."""

    def __init__(self) -> None:
        self._held = b""

    def feed(self, data: bytes) -> list[str]:
        """Return what has become whole; a stranger's packet without an end is dropped."""
        self._held += data
        found = []
        while match := re.search(rb"\$([^#$]*)#[0-9a-fA-F]{2}", self._held):
            found.append(_unescaped(match[1]).decode("latin-1"))
            self._held = self._held[match.end() :]
        if len(self._held) > _PACKET_BYTES:
            self._held = b""
        return found


def _unescaped(raw: bytes) -> bytes:
    return re.sub(rb"\}(.)", lambda one: bytes([one[1][0] ^ 0x20]), raw, flags=re.DOTALL)


def stop_of(text: str) -> Stop | None:
    """Return what a stop reply says; None for another packet."""
    match = re.match(r"([TSWX])([0-9a-f]{2})", text)
    if match is None:
        return None
    return Stop(int(match[2], 16)) if match[1] in "TS" else Stop(ended=True)


def auxiliary(raw: bytes, bits: int, big: bool) -> dict[int, int]:
    """Return the auxiliary vector as a mapping, see getauxval(3)."""
    size, order = bits // 8, "big" if big else "little"
    numbers = [
        int.from_bytes(raw[at : at + size], "big" if order == "big" else "little")
        for at in range(0, len(raw) - size + 1, size)
    ]
    return dict(zip(numbers[::2], numbers[1::2], strict=False))
