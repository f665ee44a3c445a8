"""Reading PE: Windows' executables.

Source: Microsoft's PE format specification.
"""

from __future__ import annotations

from typing import Final

from sampan.gobuild.core.binary.executable import Executable, Region
from sampan.gobuild.core.binary.window import BinaryError, Window

__all__ = ["MAGIC", "read_pe"]

MAGIC: Final = b"MZ"
_MACHINES: Final = {
    0x14C: "386",
    0x1C0: "arm",
    0x1C4: "arm",
    0x8664: "amd64",
    0xAA64: "arm64",
}
_DYNAMIC_BASE, _DLL = 0x40, 0x2000
_IMPORT_LIMIT: Final = 1024


def read_pe(window: Window) -> Executable:
    """Return what a PE file says; BinaryError when it is damaged."""
    if window.take(0, 2) != MAGIC:
        raise BinaryError("no PE file")
    at = window.one("I", 0x3C)
    if window.take(at, 4) != b"PE\0\0":
        raise BinaryError("a DOS program, or a damaged PE file: no PE signature")
    machine, count, _, symbol_table, symbols, optional_size, traits = window.unpack(
        "HHIIIHH", at + 4
    )
    optional = at + 24
    magic = window.one("H", optional)
    if magic not in (0x10B, 0x20B):
        raise BinaryError(f"PE optional header of the unknown kind {magic:#x}")
    wide = magic == 0x20B
    base = window.one("Q", optional + 24) if wide else window.one("I", optional + 28)
    section_alignment = window.one("I", optional + 32)
    major, minor = window.unpack("HH", optional + 48)
    dll_traits = window.one("H", optional + 70)
    sections = _sections(window, optional + optional_size, min(count, 96), base)
    directories = optional + (112 if wide else 96)
    needed: tuple[str, ...] = ()
    if window.one("I", directories - 4) > 1:
        needed = _imports(window, window.one("I", directories + 8), sections, base)
    names = {one.name for one in sections}
    texts = None
    if symbol_table and symbols:
        start = symbol_table + symbols * 18
        texts = Region("", start, window.one("I", start), 0)
    return Executable(
        "PE",
        "windows",
        _MACHINES.get(machine, f"machine {machine:#x}"),
        64 if wide else 32,
        False,
        window,
        sections,
        sections,
        "library" if traits & _DLL else "executable",
        bool(dll_traits & _DYNAMIC_BASE),
        "",
        needed,
        stripped=not (symbol_table and symbols),
        # A name of more than eight characters stands as /N: the debug sections of Go and gcc.
        debug=any(name.startswith(("/", ".debug", ".zdebug")) for name in names),
        alignment=section_alignment,
        names=texts,
        minimum_system=f"Windows {major}.{minor}",
    )


def _sections(window: Window, at: int, count: int, base: int) -> tuple[Region, ...]:
    found = []
    for index in range(count):
        place = at + index * 40
        name = window.take(place, 8).rstrip(b"\0").decode("ascii", "replace")
        virtual, address, size, offset = window.unpack("IIII", place + 8)
        traits = window.one("I", place + 36)
        size = min(size, virtual) if virtual else size
        found.append(
            Region(
                name,
                offset,
                size,
                base + address,
                bool(traits & 0x20000000),
                bool(traits & 0x80000000),
            )
        )
    return tuple(found)


def _imports(
    window: Window, table: int, sections: tuple[Region, ...], base: int
) -> tuple[str, ...]:
    """Names of the DLLs in the import directory."""

    def offset(address: int) -> int:
        for one in sections:
            if one.address <= base + address < one.address + one.size:
                return one.offset + base + address - one.address
        raise BinaryError(f"address {address:#x} is not in the file")

    if not table:
        return ()
    found: list[str] = []
    at = offset(table)
    for index in range(_IMPORT_LIMIT):
        name = window.unpack("IIIII", at + index * 20)[3]
        if not name:
            break
        found.append(window.text(offset(name)))
    return tuple(found)
