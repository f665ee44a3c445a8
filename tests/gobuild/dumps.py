"""Core files made by hand: notes and memory that a test is about."""

from __future__ import annotations

import struct

AMD64, ARM64 = 62, 183


def note(name: bytes, kind: int, content: bytes) -> bytes:
    head = struct.pack("<III", len(name) + 1, len(content), kind)
    return (
        head
        + (name + b"\0").ljust((len(name) + 4) & ~3, b"\0")
        + content.ljust((len(content) + 3) & ~3, b"\0")
    )


def status(thread: int, signal: int, registers: list[int]) -> bytes:
    """NT_PRSTATUS of a 64 bit architecture."""
    head = struct.pack("<iiihxxQQiiii", signal, 0, 0, signal, 0, 0, thread, 1, 1, 1).ljust(
        112, b"\0"
    )
    return note(b"CORE", 1, head + b"".join(struct.pack("<Q", one) for one in registers) + bytes(8))


def auxiliary(entry: int) -> bytes:
    return note(b"CORE", 6, struct.pack("<QQQQ", 9, entry, 0, 0))


def files(*listed: tuple[int, int, str]) -> bytes:
    numbers = b"".join(struct.pack("<QQQ", start, end, 0) for start, end, _ in listed)
    names = b"".join(name.encode() + b"\0" for _, _, name in listed)
    return note(b"CORE", 0x46494C45, struct.pack("<QQ", len(listed), 4096) + numbers + names)


def core(machine: int, notes: bytes, memory: list[tuple[int, int, bytes]]) -> bytes:
    """A 64 bit core: notes, and memory as address, flags (4 read, 2 write, 1 execute) and bytes."""
    count = 1 + len(memory)
    at = 64 + 56 * count
    ident = b"\x7fELF\2\1\1" + bytes(9)
    out = ident + struct.pack("<HHIQQQIHHHHHH", 4, machine, 1, 0, 64, 0, 0, 64, 56, count, 0, 0, 0)
    out += struct.pack("<IIQQQQQQ", 4, 0, at, 0, 0, len(notes), 0, 4)
    body = notes
    for address, flags, content in memory:
        size = len(content)
        place = at + len(body)
        out += struct.pack("<IIQQQQQQ", 1, flags, place, address, 0, size, size, 4096)
        body += content
    return out + body


def arm64_registers(counter: int, stack: int) -> list[int]:
    return [*([0] * 31), stack, counter, 0]


def arm64_frame(signal: int, counter: int) -> bytes:
    """What the kernel puts on the stack before a handler runs."""
    info = struct.pack("<iiixxxxQ", signal, 0, 1, counter).ljust(128, b"\0")
    return (info.ljust(568, b"\0") + struct.pack("<Q", counter)).ljust(1024, b"\0")
