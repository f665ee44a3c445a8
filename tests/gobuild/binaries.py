"""Small executables made by hand: just the headers, tables and bytes that a test is about."""

from __future__ import annotations

import struct

MARK = b"\x30\x77\xaf\x0c\x92\x74\x08\x02\x41\xe1\xc1\x07\xe6\xd6\x18\xe6"


def varint(number: int) -> bytes:
    out = b""
    while number >= 0x80:
        out += bytes([number & 0x7F | 0x80])
        number >>= 7
    return out + bytes([number])


def module_text(settings: dict[str, str]) -> bytes:
    lines = [
        "path\texample.com/app",
        "mod\texample.com/app\tv1.2.3\t",
        "dep\texample.com/dep\tv0.1.0",
    ]
    lines += [f"build\t{key}={value}" for key, value in settings.items()]
    return MARK + ("\n".join(lines) + "\n").encode() + MARK


def inline_buildinfo(settings: dict[str, str], version: str = "go1.26.8") -> bytes:
    """The form since Go 1.18."""
    text = module_text(settings)
    head = b"\xff Go buildinf:" + bytes([8, 2]) + bytes(16)
    return head + varint(len(version)) + version.encode() + varint(len(text)) + text


def pointer_buildinfo(
    settings: dict[str, str], address: int, size: int = 8, big: bool = False
) -> bytes:
    """The form before Go 1.18, placed at `address`."""
    order = "big" if big else "little"
    version, text = b"go1.16.7", module_text(settings)

    def number(value: int) -> bytes:
        return value.to_bytes(size, order)  # type: ignore[arg-type]

    strings = address + 32
    data = strings + 4 * size
    head = b"\xff Go buildinf:" + bytes([size, int(big)])
    head += (number(strings) + number(strings + 2 * size)).ljust(16, b"\0")
    pairs = number(data) + number(len(version)) + number(data + len(version)) + number(len(text))
    return head + pairs + version + text


def elf(
    machine: int,
    text: bytes = b"",
    data: bytes = b"",
    *,
    interpreter: str = "",
    bits: int = 64,
    big: bool = False,
    align: int = 0x10000,
) -> bytes:
    """An ELF executable of two segments: text at 0x400000, data at 0x800000."""
    order = ">" if big else "<"
    wide = bits == 64
    head_size, entry_size = (64, 56) if wide else (52, 32)
    loader = interpreter.encode() + b"\0" if interpreter else b""
    count = 2 + bool(loader)
    start = head_size + count * entry_size
    parts = [
        (1, 5, start, 0x400000, text, align),
        (1, 6, start + len(text), 0x800000, data, align),
    ]
    if loader:
        parts.append((3, 4, start + len(text) + len(data), 0, loader, 1))
    ident = b"\x7fELF" + bytes([2 if wide else 1, 2 if big else 1, 1]) + bytes(9)
    form = "HHIQQQIHHHHHH" if wide else "HHIIIIIHHHHHH"
    out = ident + struct.pack(
        order + form,
        2,
        machine,
        1,
        0x400000,
        head_size,
        0,
        0,
        head_size,
        entry_size,
        count,
        0,
        0,
        0,
    )
    for kind, flags, offset, address, body, alignment in parts:
        size = len(body)
        if wide:
            fields = (kind, flags, offset, address, address, size, size, alignment)
            out += struct.pack(order + "IIQQQQQQ", *fields)
        else:
            fields = (kind, offset, address, address, size, size, flags, alignment)
            out += struct.pack(order + "IIIIIIII", *fields)
    return out + text + data + loader


def runnable(machine: int, words: list[int], bits: int = 64) -> bytes:
    """A Linux program of a few instructions."""
    wide = bits == 64
    head_size, entry_size = (64, 56) if wide else (52, 32)
    start = head_size + entry_size
    code = b"".join(word.to_bytes(4, "little") for word in words)
    size = start + len(code)
    base = 0x400000
    ident = b"\x7fELF" + bytes([2 if wide else 1, 1, 1]) + bytes(9)
    out = ident + struct.pack(
        "<HHIQQQIHHHHHH" if wide else "<HHIIIIIHHHHHH",
        *(2, machine, 1, base + start, head_size, 0, 0, head_size, entry_size, 1, 0, 0, 0),
    )
    if wide:
        out += struct.pack("<IIQQQQQQ", 1, 5, 0, base, base, size, size, 0x10000)
    else:
        out += struct.pack("<IIIIIIII", 1, 0, base, base, size, size, 5, 0x10000)
    return out + code


def pe(machine: int, data: bytes) -> bytes:
    """A PE file with one data section."""
    head = b"MZ".ljust(0x3C, b"\0") + struct.pack("<I", 0x40)
    optional = struct.pack("<H", 0x20B).ljust(24, b"\0") + struct.pack("<QI", 0x140000000, 0x1000)
    optional = optional.ljust(48, b"\0") + struct.pack("<HH", 6, 1)
    optional = optional.ljust(70, b"\0") + struct.pack("<H", 0x40)
    optional = optional.ljust(108, b"\0") + struct.pack("<I", 16) + bytes(128)
    coff = b"PE\0\0" + struct.pack("<HHIIIHH", machine, 1, 0, 0, 0, len(optional), 0x22)
    offset = 0x40 + len(coff) + len(optional) + 40
    section = b".data".ljust(8, b"\0") + struct.pack("<IIII", len(data), 0x1000, len(data), offset)
    section = section.ljust(36, b"\0") + struct.pack("<I", 0xC0000040)
    return head + coff + optional + section + data


def macho(cpu: int, data: bytes) -> bytes:
    """A Mach-O executable with one segment, one section and a minimum system."""
    offset = 32 + 152 + 24
    segment = struct.pack("<II", 0x19, 152) + b"__DATA".ljust(16, b"\0")
    segment += struct.pack("<QQQQIIII", 0x8000, len(data), offset, len(data), 3, 3, 1, 0)
    segment += b"__go_buildinfo".ljust(16, b"\0") + b"__DATA".ljust(16, b"\0")
    segment += struct.pack("<QQIIIIIIII", 0x8000, len(data), offset, 4, 0, 0, 0, 0, 0, 0)
    version = struct.pack("<IIIIII", 0x32, 24, 1, 12 << 16, 0, 0)
    head = struct.pack("<IIIIIIII", 0xFEEDFACF, cpu, 0, 2, 2, 176, 0x200000, 0)
    return head + segment + version + data


def fat(parts: dict[int, bytes]) -> bytes:
    """A universal binary of thin ones, by CPU."""
    head = struct.pack(">II", 0xCAFEBABE, len(parts))
    at = 8 + 20 * len(parts)
    body = b""
    for cpu, part in parts.items():
        head += struct.pack(">IIIII", cpu, 0, at + len(body), len(part), 0)
        body += part
    return head + body
