"""From an address to function, file and line: Go's pclntab, else the symbols of ELF.

Go keeps this table in every program, stripped or not, because its traces need it. Read are the
forms of Go 1.16 and newer.

Source: "Go 1.2 Runtime Symbol Information" and the comments of runtime/symtab.go.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final

from sampan.base.record import record
from sampan.gobuild.core.binary.executable import Executable, Region
from sampan.gobuild.core.binary.window import BinaryError, Window

__all__ = ["Function", "LineTable", "Place", "line_table", "place_of"]

_GO116, _GO118, _GO120 = 0xFFFFFFFA, 0xFFFFFFF0, 0xFFFFFFF1
_FUNCTIONS: Final = 1 << 21
_STEPS: Final = 1 << 16
_SYMBOLS: Final = 1 << 20
_CANDIDATES: Final = 64
_MODULE_TEXT: Final = 22  # runtime.moduledata.text, in words


@record
class Place:
    """Where an address is: `offset` bytes into a function; file and line where they are known."""

    function: str
    offset: int
    file: str = ""
    line: int = 0

    def __str__(self) -> str:
        where = f" ({self.file}:{self.line})" if self.file else ""
        return f"{self.function}+{self.offset:#x}{where}"


@record
class Function:
    """A function's code: its first address, and the one behind its last."""

    name: str
    start: int
    end: int


class LineTable:
    """The pclntab of a program; BinaryError for one that is damaged."""

    def __init__(self, executable: Executable, region: Region) -> None:
        outer = executable.window
        whole = Window(outer.data, outer.start + region.offset, region.size, outer.order == ">")
        magic, _, self._quantum, self._word = whole.unpack("IHBB", 0)
        if magic not in (_GO116, _GO118, _GO120) or self._word not in (4, 8):
            raise BinaryError(f"a pclntab of the unknown form {magic:#x}")
        self._window, self._old = whole, magic == _GO116
        head = whole.unpack(("Q" if self._word == 8 else "I") * (7 if self._old else 8), 8)
        self._count = min(head[0], _FUNCTIONS)
        self._text = 0 if self._old else head[2] or _text_start(executable, region)
        self._names, self._units, self._files, self._values, self._table = head[-5:]
        self._entry = 2 * self._word if self._old else 8
        self._form = "QQ" if self._old and self._word == 8 else "II"

    def _row(self, index: int) -> tuple[int, int]:
        """The address of a function, and where it is described."""
        if index == self._count:
            form, at = self._form[0], self._table + index * self._entry
            return self._text + self._window.one(form, at), 0
        start, place = self._window.unpack(self._form, self._table + index * self._entry)
        return self._text + start, self._table + place

    def functions(self) -> Iterator[Function]:
        """Yield all functions in the order of their addresses."""
        for index in range(self._count):
            start, place = self._row(index)
            yield Function(self._name(place), start, self._row(index + 1)[0])

    def _name(self, place: int) -> str:
        skipped = self._word if self._old else 4
        return self._window.text(self._names + self._window.one("I", place + skipped))

    def at(self, address: int) -> Place | None:
        """Return where an address is; None when it is in no function of Go."""
        if not self._count or not self._row(0)[0] <= address < self._row(self._count)[0]:
            return None
        low, high = 0, self._count
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self._row(middle)[0] <= address else (low, middle)
        start, place = self._row(low)
        head = place + (self._word if self._old else 4)
        _, _, _, _, files, lines, _, unit = self._window.unpack("IIIIIIII", head)
        number = self._value(files, start, address)
        file = ""
        if number >= 0:
            named = self._window.one("I", self._units + 4 * (unit + number))
            file = "" if named == 0xFFFFFFFF else self._window.text(self._files + named)
        line = self._value(lines, start, address)
        return Place(self._name(place), address - start, file, max(0, line))

    def _value(self, offset: int, start: int, address: int) -> int:
        """What a table of values says for an address; -1 when nothing."""
        if not offset:
            return -1
        at, value, reached = self._values + offset, -1, start
        for step in range(_STEPS):
            change, at = self._varint(at)
            if change == 0 and step:
                break
            value += -(change >> 1) - 1 if change & 1 else change >> 1
            further, at = self._varint(at)
            reached += further * self._quantum
            if address < reached:
                return value
        return -1

    def _varint(self, at: int) -> tuple[int, int]:
        number = shift = 0
        while shift < 35:
            byte = self._window.one("B", at)
            at += 1
            number |= (byte & 0x7F) << shift
            if byte < 0x80:
                break
            shift += 7
        return number, at


def line_table(executable: Executable) -> LineTable | None:
    """Return the pclntab of a program; None when it has none that can be read."""
    for region in _places(executable):
        try:
            return LineTable(executable, region)
        except BinaryError:
            continue
    return None


def _places(executable: Executable) -> Iterator[Region]:
    """The section where there are such, else what begins as a pclntab does."""
    for section in executable.sections:
        if section.name.endswith("gopclntab") and section.size:
            yield section
    window = executable.window
    order = "big" if executable.big_endian else "little"
    for region in executable.regions[:_CANDIDATES]:
        end = region.offset + region.size
        for magic in (_GO120, _GO118, _GO116):
            needle = magic.to_bytes(4, "big" if order == "big" else "little") + b"\0\0"
            at = window.find(needle, region.offset, end)
            for _ in range(_CANDIDATES):
                if at < 0:
                    break
                if window.one("B", at + 6) in (1, 2, 4) and window.one("B", at + 7) in (4, 8):
                    yield Region("", at, end - at, region.address + at - region.offset)
                at = window.find(needle, at + 1, end)


def _text_start(executable: Executable, table: Region) -> int:
    """Where Go's code begins: as the module data says that points to the table, else .text."""
    word = executable.bits // 8
    pointer = table.address.to_bytes(word, "big" if executable.big_endian else "little")
    starts = [one for one in executable.regions if one.executable]
    for region in executable.regions[:_CANDIDATES] if table.address else ():
        end = region.offset + region.size
        at = executable.window.find(pointer, region.offset, end)
        for _ in range(_CANDIDATES):
            if at < 0:
                break
            form = "Q" if word == 8 else "I"
            try:
                text = executable.window.one(form, at + _MODULE_TEXT * word)
            except BinaryError:
                break
            if any(one.address <= text < one.address + one.size for one in starts):
                return text
            at = executable.window.find(pointer, at + 1, end)
    found = executable.section(".text") or executable.section("__text")
    return found.address if found else starts[0].address if starts else 0


def place_of(executable: Executable, address: int) -> Place | None:
    """Return where an address of the file is; None when nothing is known there."""
    try:
        table = line_table(executable)
        found = table.at(address) if table else None
        return found or _symbol_at(executable, address)
    except BinaryError:
        return None


def _symbol_at(executable: Executable, address: int) -> Place | None:
    """The nearest function of the symbol table that contains an address."""
    table, names = executable.symbols, executable.names
    if table is None or names is None:
        return None
    wide = executable.bits == 64
    order = ">" if executable.big_endian else "<"
    form = struct.Struct(order + ("IBBHQQ" if wide else "IIIBBH"))
    raw = executable.window.take(table.offset, min(table.size, _SYMBOLS * form.size))
    raw = raw[: len(raw) // form.size * form.size]
    best: tuple[int, int] | None = None
    for fields in form.iter_unpack(raw):
        if wide:
            name, kind, _, _, value, size = fields
        else:
            name, value, size, kind, _, _ = fields
        value &= ~1 if executable.goarch == "arm" else ~0  # Thumb is marked there
        if kind & 15 in (2, 10) and value <= address < value + max(size, 1):
            if best is None or value > best[0]:
                best = (value, name)
    if best is None:
        return None
    return Place(executable.window.text(names.offset + best[1]), address - best[0])
