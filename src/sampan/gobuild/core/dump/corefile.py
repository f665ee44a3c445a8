"""Reading an ELF core: threads, signal, mappings, memory.

Source: System V ABI, chapter 5; elfcore.h and the `core_dump` of binfmt_elf of Linux.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from sampan.base.record import record
from sampan.gobuild.core.binary.elf import elf_goarch
from sampan.gobuild.core.binary.executable import Executable, Region
from sampan.gobuild.core.binary.window import BinaryError, Buffer, Window
from sampan.gobuild.core.dump.registers import LAYOUTS
from sampan.gobuild.core.gdbremote import auxiliary

__all__ = ["AT_ENTRY", "Core", "Mapped", "Note", "Thread", "is_core", "notes", "read_core"]

AT_ENTRY: Final = 9
_SEGMENTS: Final = 1 << 16
_THREADS: Final = 10_000
_NOTES_BYTES: Final = 64 << 20
_STATUS, _PROGRAM, _AUXILIARY = 1, 3, 6
_SIGNAL, _FILES = 0x53494749, 0x46494C45


@record
class Note:
    """An entry of a note segment."""

    name: bytes
    kind: int
    content: bytes


@record
class Thread:
    """A thread as it stood: its number, the signal it was taking, program counter and stack."""

    id: int
    signal: int
    counter: int
    stack: int


@record
class Mapped:
    """A part of a file in memory."""

    start: int
    end: int
    offset_bytes: int
    path: str


@record
class Core:
    """A core file. The first thread is the one that died.

    `signal`, `code` and `address` are of its siginfo, 0 when there is none. `memory` says of its
    regions what the file has of them; the rest was left out by whoever wrote it.
    """

    path: str
    memory: Executable
    threads: tuple[Thread, ...]
    signal: int = 0
    code: int = 0
    address: int = 0
    program: str = ""
    arguments: str = ""
    auxiliary: Mapping[int, int] | None = None
    files: tuple[Mapped, ...] = ()

    @property
    def goarch(self) -> str:
        """GOARCH by the header."""
        return self.memory.goarch

    def read(self, address: int, size: int) -> bytes:
        """Return memory, empty where the file has none."""
        try:
            return self.memory.at(address, size)
        except BinaryError:
            return b""

    def mapped(self, address: int) -> Mapped | None:
        """Return the file that is mapped at an address."""
        return next((one for one in self.files if one.start <= address < one.end), None)

    def executable(self) -> Mapped | None:
        """Return the first mapping of the program itself."""
        entry = (self.auxiliary or {}).get(AT_ENTRY, 0)
        of = self.mapped(entry)
        if of is None:
            return None
        return next(one for one in self.files if one.path == of.path)

    def bias(self, executable: Executable) -> int:
        """Return how far a program stands in memory from where its file says."""
        entry = (self.auxiliary or {}).get(AT_ENTRY)
        return entry - executable.entry if entry else 0


def is_core(data: Buffer) -> bool:
    """Tell whether a file is an ELF core."""
    head = bytes(data[:18])
    return head[:4] == b"\x7fELF" and head[16:18] in (b"\4\0", b"\0\4")


def read_core(path: str, data: Buffer) -> Core:
    """Return what a core says; BinaryError when it is none or damaged."""
    if not is_core(data):
        raise BinaryError("no core file")
    head = bytes(data[:6])
    wide, big = head[4] == 2, head[5] == 2
    window = Window(data, big=big)
    memory, found = _segments(window, wide)
    goarch = elf_goarch(window.one("H", 18), wide, big)
    image = Executable("ELF", "linux", goarch, 64 if wide else 32, big, window, memory, (), "core")
    word = 8 if wide else 4
    threads = tuple(
        thread
        for note in found
        if note.kind == _STATUS and (thread := _thread(note.content, goarch, word, big))
    )[:_THREADS]
    signal, code, address = _signal(found, goarch, word, big)
    program, arguments = _program(found)
    vector = next((note.content for note in found if note.kind == _AUXILIARY), b"")
    return Core(
        path,
        image,
        threads,
        signal or (threads[0].signal if threads else 0),
        code,
        address,
        program,
        arguments,
        auxiliary(vector, 8 * word, big),
        tuple(_files(found, word, big)),
    )


def _segments(window: Window, wide: bool) -> tuple[tuple[Region, ...], list[Note]]:
    """What is kept of memory, and the notes."""
    offset = window.one("Q" if wide else "I", 32 if wide else 28)
    size, count = window.unpack("HH", 54 if wide else 42)
    if count == 0xFFFF:
        sections = window.one("Q" if wide else "I", 40 if wide else 32)
        count = window.one("I", sections + (44 if wide else 28))
    memory, found = [], []
    for index in range(min(count, _SEGMENTS)):
        values = window.unpack("IIQQQQQQ" if wide else "IIIIIIII", offset + index * size)
        kind, flags = values[0], values[1] if wide else values[6]
        at = (2, 3, 5) if wide else (1, 2, 4)
        place, address, length = (values[one] for one in at)
        if kind == 1 and length:
            traits = bool(flags & 1), bool(flags & 2)
            memory.append(Region("", place, length, address, *traits))
        elif kind == 4:
            found += list(notes(window, place, length))
    return tuple(memory), found


def notes(window: Window, offset: int, size: int) -> Iterator[Note]:
    """Yield the entries of a note segment, which may be cut off."""
    at, end = offset, offset + min(size, _NOTES_BYTES)
    while at + 12 <= end:
        try:
            name, content, kind = window.unpack("III", at)
        except BinaryError:
            return
        body = at + 12 + (name + 3 & ~3)
        if body + content > end:
            return
        title = window.take(at + 12, min(name, 64)).rstrip(b"\0")
        yield Note(title, kind, window.take(body, content))
        at = body + (content + 3 & ~3)


def _number(raw: bytes, at: int, size: int, big: bool) -> int:
    return int.from_bytes(raw[at : at + size], "big" if big else "little")


def _thread(raw: bytes, goarch: str, word: int, big: bool) -> Thread | None:
    layout = LAYOUTS.get(goarch)
    registers, identity = (112, 32) if word == 8 else (72, 24)
    if layout is None or len(raw) < registers + word:
        return None
    counter, stack = (
        _number(raw, registers + index * word, word, big)
        for index in (layout.counter, layout.stack)
    )
    return Thread(_number(raw, identity, 4, big), _number(raw, 12, 2, big), counter, stack)


def _signal(found: list[Note], goarch: str, word: int, big: bool) -> tuple[int, int, int]:
    """Number, code and address of the siginfo."""
    raw = next((note.content for note in found if note.kind == _SIGNAL), b"")
    if len(raw) < 24:
        return 0, 0, 0
    code = _number(raw, 4 if goarch.startswith("mips") else 8, 4, big)
    return _number(raw, 0, 4, big), code, _number(raw, 16 if word == 8 else 12, word, big)


def _program(found: list[Note]) -> tuple[str, str]:
    """Name and arguments, which the kernel cuts at 16 and 80 bytes."""
    raw = next((note.content for note in found if note.kind == _PROGRAM), b"")
    if len(raw) < 96:
        return "", ""
    texts = raw[-96:-80], raw[-80:]
    name, arguments = (one.split(b"\0")[0].decode("utf-8", "replace").strip() for one in texts)
    return name, arguments


def _files(found: list[Note], word: int, big: bool) -> Iterator[Mapped]:
    raw = next((note.content for note in found if note.kind == _FILES), b"")
    count, page = _number(raw, 0, word, big), _number(raw, word, word, big)
    count = min(count, len(raw) // (3 * word))
    names = raw[(2 + 3 * count) * word :].split(b"\0", count)
    for index in range(min(count, len(names))):
        start, end, offset = (
            _number(raw, (2 + 3 * index + part) * word, word, big) for part in range(3)
        )
        yield Mapped(start, end, offset * page, names[index].decode("utf-8", "replace"))
