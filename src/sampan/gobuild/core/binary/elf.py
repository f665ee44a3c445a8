"""Reading ELF: headers, segments, sections, dynamic linking, symbol versions.

Source: System V ABI, chapters 4 and 5; the GNU symbol versioning of the Linux Standard Base.
"""

from __future__ import annotations

import re
from typing import Final

from sampan.gobuild.core.binary.executable import Executable, Region
from sampan.gobuild.core.binary.window import BinaryError, Window

__all__ = ["MAGIC", "elf_goarch", "read_elf"]

MAGIC: Final = b"\x7fELF"
_TABLE_LIMIT: Final = 4096
_SYMBOL_LIMIT: Final = 1 << 16
_MACHINES: Final = {
    3: "386",
    20: "ppc",
    22: "s390x",
    40: "arm",
    62: "amd64",
    183: "arm64",
    243: "riscv64",
    258: "loong64",
}
_LOAD, _DYNAMIC, _INTERP, _NOTE = 1, 2, 3, 4
_NEEDED, _STRTAB, _SYMTAB, _STRSZ, _FLAGS_1 = 1, 5, 6, 10, 0x6FFFFFFB
_VERNEED, _VERNEEDNUM = 0x6FFFFFFE, 0x6FFFFFFF
_WANTED: Final = (b"runtime.goarm", b"runtime.goarmsoftfp")


def elf_goarch(machine: int, wide: bool, big: bool) -> str:
    """Return GOARCH by a machine of ELF, the size of its words and their order."""
    if machine == 8:
        name = "mips64" if wide else "mips"
        return name if big else f"{name}le"
    if machine == 21:
        return "ppc64" if big else "ppc64le"
    return _MACHINES.get(machine, f"machine {machine}")


class _Elf:
    """One ELF file while it is read."""

    def __init__(self, window: Window) -> None:
        head = window.take(0, 20)
        if len(head) < 20 or head[:4] != MAGIC:
            raise BinaryError("no ELF file")
        if head[4] not in (1, 2) or head[5] not in (1, 2):
            raise BinaryError(f"ELF class {head[4]} and byte order {head[5]} do not exist")
        self.wide = head[4] == 2
        self.big = head[5] == 2
        self.window = Window(window.data, window.start, window.size, self.big)
        self.abi = head[7]
        fields = self.window.unpack("HHIQQQIHHHHHH" if self.wide else "HHIIIIIHHHHHH", 16)
        self.kind, self.machine, self.entry = fields[0], fields[1], fields[3]
        self.phoff, self.shoff, self.flags = fields[4], fields[5], fields[6]
        self.phentsize, self.phnum, self.shentsize, self.shnum, self.shstrndx = fields[8:13]
        self.segments = self._segments()
        self.sections = self._sections()
        self.dynamic = self._dynamic()

    def _segments(self) -> list[tuple[int, int, Region, int]]:
        """Type, flags, place and alignment of every program header."""
        found = []
        form = "IIQQQQQQ" if self.wide else "IIIIIIII"
        for index in range(min(self.phnum, _TABLE_LIMIT) if self.phoff else 0):
            v = self.window.unpack(form, self.phoff + index * self.phentsize)
            if self.wide:
                kind, flags, offset, address, size, align = v[0], v[1], v[2], v[3], v[5], v[7]
            else:
                kind, flags, offset, address, size, align = v[0], v[6], v[1], v[2], v[4], v[7]
            region = Region("", offset, size, address, bool(flags & 1), bool(flags & 2))
            found.append((kind, flags, region, align))
        return found

    def _sections(self) -> list[tuple[int, int, Region]]:
        """Type, link and place of every section; none when the table is missing or cut off."""
        form = "IIQQQQII" if self.wide else "IIIIIIII"
        try:
            raw = [
                self.window.unpack(form, self.shoff + index * self.shentsize)
                for index in range(min(self.shnum, _TABLE_LIMIT) if self.shoff else 0)
            ]
        except BinaryError:
            return []
        names = raw[self.shstrndx] if self.shstrndx < len(raw) else None
        found = []
        for name, kind, flags, address, offset, size, link, _ in raw:
            title = self.window.text(names[4] + name) if names and name < names[5] else ""
            region = Region(title, offset, size, address, bool(flags & 4), bool(flags & 1))
            found.append((kind, link, region))
        return found

    def _dynamic(self) -> list[tuple[int, int]]:
        place = next((region for kind, _, region, _ in self.segments if kind == _DYNAMIC), None)
        if place is None:
            return []
        found = []
        width = 16 if self.wide else 8
        for index in range(min(place.size // width, _TABLE_LIMIT)):
            tag, value = self.window.unpack(
                "QQ" if self.wide else "II", place.offset + index * width
            )
            if tag == 0:
                break
            found.append((tag, value))
        return found

    def offset_of(self, address: int) -> int:
        for kind, _, region, _ in self.segments:
            if kind == _LOAD and region.address <= address < region.address + region.size:
                return region.offset + address - region.address
        raise BinaryError(f"address {address:#x} is not in the file")

    def value(self, tag: int) -> int | None:
        return next((value for found, value in self.dynamic if found == tag), None)

    def dynamic_text(self, offset: int) -> str:
        table = self.value(_STRTAB)
        return "" if table is None else self.window.text(self.offset_of(table) + offset)

    def versions(self) -> list[str]:
        """The symbol versions needed, as `GLIBC_2.34`."""
        table, count = self.value(_VERNEED), self.value(_VERNEEDNUM)
        if table is None or count is None:
            return []
        found = []
        at = self.offset_of(table)
        for _ in range(min(count, 64)):
            _, parts, _, aux, following = self.window.unpack("HHIII", at)
            entry = at + aux
            for _ in range(min(parts, 128)):
                _, _, _, name, step = self.window.unpack("IHHII", entry)
                found.append(self.dynamic_text(name))
                if not step:
                    break
                entry += step
            if not following:
                break
            at += following
        return found

    def imports(self) -> list[str]:
        """Names of undefined dynamic symbols."""
        place = next((region for kind, _, region in self.sections if kind == 11), None)
        table, size = self.value(_STRTAB), self.value(_STRSZ)
        if place is None or table is None or size is None:
            return []
        texts = Window(self.window.data, self.window.start + self.offset_of(table), size)
        found = []
        width = 24 if self.wide else 16
        for index in range(min(place.size // width, _SYMBOL_LIMIT)):
            name, section = self._symbol(place.offset + index * width)[:2]
            if section == 0 and name:
                found.append(texts.text(name))
        return found

    def _symbol(self, at: int) -> tuple[int, int, int]:
        """Name, section and value of a symbol."""
        if self.wide:
            name, _, _, section, value, _ = self.window.unpack("IBBHQQ", at)
        else:
            name, value, _, _, _, section = self.window.unpack("IIIBBH", at)
        return name, section, value

    def values(self) -> list[tuple[str, int]]:
        """One-byte variables of Go's runtime that tell a level, found by their symbols."""
        place, texts = self.symbol_tables()
        if place is None or texts is None:
            return []
        found = []
        width = 24 if self.wide else 16
        strings = Window(self.window.data, self.window.start + texts.offset, texts.size)
        table = self.window.take(place.offset, min(place.size, 64 << 20))
        for wanted in _WANTED:
            at = strings.find(b"\0" + wanted + b"\0")
            if at < 0:
                continue
            needle = (at + 1).to_bytes(4, "big" if self.big else "little")
            index = table.find(needle)
            for _ in range(_TABLE_LIMIT):
                if index < 0 or index % width == 0:
                    break
                index = table.find(needle, index + 1)
            if index >= 0 and index % width == 0:
                _, _, address = self._symbol(place.offset + index)
                byte = self.window.take(self.offset_of(address), 1)
                if byte:
                    found.append((wanted.decode(), byte[0]))
        return found

    def symbol_tables(self) -> tuple[Region | None, Region | None]:
        for kind, link, region in self.sections:
            if kind == 2 and region.size:
                texts = self.sections[link][2] if link < len(self.sections) else None
                return region, texts
        return None, None

    def goos(self, interpreter: str) -> str:
        if self.abi in (9, 12):
            return {9: "freebsd", 12: "openbsd"}[self.abi]
        if interpreter.startswith("/system/bin/linker"):
            return "android"
        names = {region.name for _, _, region in self.sections}
        for section, goos in (
            (".note.openbsd.ident", "openbsd"),
            (".note.netbsd.ident", "netbsd"),
            (".note.dragonfly.ident", "dragonfly"),
        ):
            if section in names:
                return goos
        if re.match(r"/lib/(64/)?ld\.so\.1|/usr/lib/(amd64/)?ld\.so\.1", interpreter):
            return "solaris" if "musl" not in interpreter else "linux"
        return "linux" if interpreter.startswith(("/lib/ld-", "/lib64/ld")) else ""


def read_elf(window: Window) -> Executable:
    """Return what an ELF file says; BinaryError when it is damaged."""
    elf = _Elf(window)
    texts = [region for kind, _, region, _ in elf.segments if kind == _INTERP]
    interpreter = elf.window.text(texts[0].offset) if texts else ""
    loads = [(region, align) for kind, _, region, align in elf.segments if kind == _LOAD]
    symbols, texts_of_symbols = elf.symbol_tables()
    names = {region.name for _, _, region in elf.sections}
    shared = elf.kind == 3
    flags_1 = elf.value(_FLAGS_1) or 0
    pie = shared and (bool(interpreter) or bool(flags_1 & 0x08000000))
    kinds = {1: "object", 2: "executable", 3: "executable" if pie else "library", 4: "core"}
    arm = elf.machine == 40
    return Executable(
        "ELF",
        elf.goos(interpreter),
        elf_goarch(elf.machine, elf.wide, elf.big),
        64 if elf.wide else 32,
        elf.big,
        elf.window,
        tuple(region for region, _ in loads),
        tuple(region for _, _, region in elf.sections),
        kinds.get(elf.kind, f"type {elf.kind}"),
        pie,
        interpreter,
        tuple(elf.dynamic_text(value) for tag, value in elf.dynamic if tag == _NEEDED),
        tuple(elf.imports()),
        tuple(elf.versions()),
        symbols is None,
        any(name.startswith((".debug_", ".zdebug_")) for name in names),
        min((align for _, align in loads), default=0),
        names=texts_of_symbols,
        float_abi=("hard" if elf.flags & 0x400 else "soft" if elf.flags & 0x200 else "")
        if arm
        else "",
        values=tuple(elf.values()),
        entry=elf.entry,
        symbols=symbols,
    )
