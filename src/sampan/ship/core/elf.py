"""What machine a program is for: the header of an ELF file, and its interpreter.

Source: System V ABI, "Object Files"; machine numbers of the gABI's registry.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

__all__ = ["HEAD_BYTES", "Binary", "read_binary"]

HEAD_BYTES: Final = 8192
"""How much of a file is looked at; interpreters stand near its beginning."""

_PT_INTERP: Final = 3
_MAX_HEADERS: Final = 128
# (machine, 64 bits, little endian) -> Go's word for it
_MACHINES: Final = {
    (3, False, True): "386",
    (62, True, True): "amd64",
    (40, False, True): "arm",
    (183, True, True): "arm64",
    (243, True, True): "riscv64",
    (258, True, True): "loong64",
    (21, True, True): "ppc64le",
    (21, True, False): "ppc64",
    (22, True, False): "s390x",
    (8, False, True): "mipsle",
    (8, False, False): "mips",
    (8, True, True): "mips64le",
    (8, True, False): "mips64",
}


@dataclass(frozen=True, slots=True)
class Binary:
    """`architecture` is empty for a machine that is not known; `interpreter` for a static one."""

    architecture: str
    interpreter: str


def read_binary(head: bytes) -> Binary | None:
    """Return what the first bytes of a file say, None for what is no ELF program."""
    if len(head) < 52 or head[:4] != b"\x7fELF" or head[4] not in (1, 2) or head[5] not in (1, 2):
        return None
    wide, little = head[4] == 2, head[5] == 1
    order = "<" if little else ">"
    kind, machine = struct.unpack_from(f"{order}HH", head, 16)
    if kind not in (2, 3):
        return None
    return Binary(_MACHINES.get((machine, wide, little), ""), _interpreter(head, order, wide))


def _interpreter(head: bytes, order: str, wide: bool) -> str:
    word = f"{order}Q" if wide else f"{order}I"
    # Where the table of program headers is said, and in a header the segment's place and length.
    at_table, at_sizes, at_offset, at_length = (32, 54, 8, 32) if wide else (28, 42, 4, 16)
    try:
        table = struct.unpack_from(word, head, at_table)[0]
        size, count = struct.unpack_from(f"{order}HH", head, at_sizes)
        for at in range(table, table + size * min(count, _MAX_HEADERS), max(size, 1)):
            if struct.unpack_from(f"{order}I", head, at)[0] == _PT_INTERP:
                offset = struct.unpack_from(word, head, at + at_offset)[0]
                length = struct.unpack_from(word, head, at + at_length)[0]
                return head[offset : offset + length].rstrip(b"\0").decode(errors="replace")
    except struct.error:
        pass
    return ""
