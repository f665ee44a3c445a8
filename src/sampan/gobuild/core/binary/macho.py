"""Reading Mach-O, thin and fat: executables of macOS and iOS.

Source: mach-o/loader.h and mach-o/fat.h of Apple's open source.
"""

from __future__ import annotations

from typing import Final

from sampan.gobuild.core.binary.executable import Executable, Region
from sampan.gobuild.core.binary.window import BinaryError, Window

__all__ = ["FAT_MAGICS", "MAGICS", "read_macho", "slices"]

MAGICS: Final = (b"\xcf\xfa\xed\xfe", b"\xce\xfa\xed\xfe", b"\xfe\xed\xfa\xcf", b"\xfe\xed\xfa\xce")
FAT_MAGICS: Final = (b"\xca\xfe\xba\xbe", b"\xca\xfe\xba\xbf")
_FAT_LIMIT: Final = 32
_COMMAND_LIMIT: Final = 2048
_MACHINES: Final = {
    7: "386",
    0x01000007: "amd64",
    12: "arm",
    0x0100000C: "arm64",
    18: "ppc",
    0x01000012: "ppc64",
}
_KINDS: Final = {1: "object", 2: "executable", 4: "core", 6: "library", 8: "library"}
_SEGMENT, _SEGMENT_64, _SYMTAB, _DYLINKER = 0x1, 0x19, 0x2, 0xE
_DYLIBS: Final = (0xC, 0x80000018, 0x8000001F)
_MACOS, _IOS, _BUILD = 0x24, 0x25, 0x32


def slices(window: Window) -> list[Window]:
    """Return the parts of a fat file, one an architecture."""
    big = Window(window.data, window.start, window.size, True)
    magic, count = big.unpack("II", 0)
    if count == 0 or count > _FAT_LIMIT:
        # A Java class file has the same magic; its version is where the count is.
        raise BinaryError(f"no universal binary: {count} architectures")
    wide = magic == 0xCAFEBABF
    found = []
    for index in range(count):
        if wide:
            offset, size = big.unpack("QQ", 8 + index * 32 + 8)
        else:
            offset, size = big.unpack("II", 8 + index * 20 + 8)
        if offset + size > window.size:
            raise BinaryError(f"architecture {index} of the universal binary is cut off")
        found.append(Window(window.data, window.start + offset, size))
    return found


class _MachO:
    """The load commands of one Mach-O file while they are read."""

    def __init__(self, window: Window) -> None:
        magic = window.take(0, 4)
        if magic not in MAGICS:
            raise BinaryError("no Mach-O file")
        self.big = magic[0] == 0xFE
        self.wide = 0xCF in (magic[0], magic[3])
        self.window = Window(window.data, window.start, window.size, self.big)
        _, self.machine, _, self.kind, self.count, _, self.flags = self.window.unpack("IIIIIII", 0)
        self.segments: list[Region] = []
        self.sections: list[Region] = []
        self.needed: list[str] = []
        self.linker = ""
        self.symbols = 0
        self.names: Region | None = None
        self.goos = "darwin"
        self.minimum = ""
        at = 32 if self.wide else 28
        for _ in range(min(self.count, _COMMAND_LIMIT)):
            command, size = self.window.unpack("II", at)
            if size < 8:
                raise BinaryError(f"load command of {size} bytes at {at}")
            self._take(command, at)
            at += size

    def _take(self, command: int, at: int) -> None:
        window = self.window
        if command in (_SEGMENT, _SEGMENT_64):
            self._segment(at, command == _SEGMENT_64)
        elif command in _DYLIBS:
            self.needed.append(window.text(at + window.one("I", at + 8)))
        elif command == _DYLINKER:
            self.linker = window.text(at + window.one("I", at + 8))
        elif command == _SYMTAB:
            self.symbols, offset, size = window.unpack("III", at + 12)
            self.names = Region("", offset, size, 0) if self.symbols else None
        elif command in (_MACOS, _IOS):
            self._platform("ios" if command == _IOS else "darwin", window.one("I", at + 8))
        elif command == _BUILD:
            platform, version = window.unpack("II", at + 8)
            self._platform("ios" if platform in (2, 7) else "darwin", version)

    def _platform(self, goos: str, version: int) -> None:
        self.goos = goos
        system = "iOS" if goos == "ios" else "macOS"
        self.minimum = f"{system} {version >> 16}.{(version >> 8) & 255}"

    def _segment(self, at: int, wide: bool) -> None:
        window = self.window
        form = "QQQQIIII" if wide else "IIIIIIII"
        name = _fixed(window.take(at + 8, 16))
        address, _, offset, size, _, access, count, _ = window.unpack(form, at + 24)
        self.segments.append(
            Region(name, offset, size, address, bool(access & 4), bool(access & 2))
        )
        step = 80 if wide else 68
        first = at + (72 if wide else 56)
        for index in range(min(count, 255)):
            place = first + index * step
            title = _fixed(window.take(place, 16))
            where, length = window.unpack("QQ" if wide else "II", place + 32)
            start = window.one("I", place + (48 if wide else 40))
            self.sections.append(
                Region(title, start, length, where, bool(access & 4), bool(access & 2))
            )


def _fixed(name: bytes) -> str:
    return name.split(b"\0", 1)[0].decode("ascii", "replace")


def read_macho(window: Window) -> Executable:
    """Return what a thin Mach-O file says; BinaryError when it is damaged."""
    read = _MachO(window)
    return Executable(
        "Mach-O",
        read.goos,
        _MACHINES.get(read.machine, f"machine {read.machine:#x}"),
        64 if read.wide else 32,
        read.big,
        read.window,
        tuple(one for one in read.segments if one.size),
        tuple(read.sections),
        _KINDS.get(read.kind, f"type {read.kind}"),
        bool(read.flags & 0x200000),
        read.linker,
        tuple(read.needed),
        stripped=read.symbols == 0,
        debug=any(one.name.startswith(("__debug", "__zdebug")) for one in read.sections),
        alignment=0x4000 if read.machine == 0x0100000C else 0x1000,
        names=read.names,
        minimum_system=read.minimum,
    )
