"""What a core tells of a Go program: what it was, where each thread stood, and why it died."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final

from sampan.base.record import changed, record
from sampan.gobuild.core.binary.buildinfo import BuildInfo, read_buildinfo
from sampan.gobuild.core.binary.executable import Executable
from sampan.gobuild.core.binary.inspection import Inspection
from sampan.gobuild.core.binary.window import BinaryError, Window
from sampan.gobuild.core.dump.corefile import Core, notes
from sampan.gobuild.core.dump.registers import FRAMES
from sampan.gobuild.core.explain.diagnosis import Cause, Diagnosis, diagnose
from sampan.gobuild.core.explain.fault import Disassembler, Fault, fault_at
from sampan.gobuild.core.explain.trace import Trace
from sampan.gobuild.core.isa.instruction import DECODED_BYTES

__all__ = ["SIGNALS", "Story", "build_ids", "diagnosed", "told"]

SIGNALS: Final = {
    3: ("SIGQUIT", "quit"),
    4: ("SIGILL", "illegal instruction"),
    5: ("SIGTRAP", "trace trap"),
    6: ("SIGABRT", "abort"),
    7: ("SIGBUS", "bus error"),
    8: ("SIGFPE", "floating point exception"),
    9: ("SIGKILL", "killed"),
    11: ("SIGSEGV", "segmentation violation"),
    31: ("SIGSYS", "bad system call"),
}
_CAUSED: Final = (4, 5, 7, 8, 11)
_STACK_BYTES: Final = 1 << 16
_LOOKED_AT: Final = 64
_CODES: Final = (*range(1, 10), 128)


@record
class Story:
    """A core with what could be found out. `build_id` is of the program that died, as mapped.

    `fault` is the instruction that caused the signal: where the thread that died stood, or where
    it was interrupted by an earlier signal whose frame is on its stack (`earlier` is its number).
    """

    core: Core
    build: BuildInfo | None
    build_id: tuple[str, ...]
    fault: Fault | None
    earlier: int = 0
    mismatch: str = ""

    @property
    def emulated(self) -> str:
        """GOARCH of the program that an emulator ran, when the core is of the emulator."""
        recorded = (self.build.setting("GOARCH") if self.build else "") or self.core.goarch
        return "" if recorded == self.core.goarch else recorded

    @property
    def signal(self) -> int:
        """The signal that began it."""
        return self.earlier or self.core.signal


def told(
    core: Core, binary: Inspection | None = None, disassembler: Disassembler | None = None
) -> Story:
    """Return what a core tells, with the program beside it if it is there."""
    identity = tuple(_mapped_ids(core))
    build = read_buildinfo(core.memory)
    mismatch = _mismatch(core, identity, build, binary)
    build = build or (binary.build if binary and not mismatch else None)
    executable = binary.executable if binary and not mismatch else None
    earlier, counter = _origin(core)
    fault = None
    if counter:
        bias = core.bias(executable) if executable else 0
        code = core.read(counter, DECODED_BYTES)
        fault = fault_at(executable, core.goarch, counter - bias, code, disassembler)
    return Story(core, build, identity, fault, earlier, mismatch)


def _origin(core: Core) -> tuple[int, int]:
    """The signal that came first, if it was another than the last, and where it came from."""
    if not core.threads:
        return 0, 0
    died = core.threads[0]
    if core.signal not in _CAUSED:
        for thread in core.threads[:_LOOKED_AT]:
            if found := _frame(core, thread.stack):
                return found
    return 0, died.counter


def _frame(core: Core, stack: int) -> tuple[int, int] | None:
    """A signal frame of a fault above a stack pointer: its signal, and where the code was.

    The siginfo begins with the number, 0 for no error, and the code that says it was a fault. Its
    address is that of the instruction, or of the access, which the frame has too: that decides.
    """
    known = FRAMES.get(core.goarch)
    if known is None:
        return None
    word, big = core.memory.bits // 8, core.memory.big_endian

    def number_at(address: int) -> int:
        return int.from_bytes(core.read(address, word), "big" if big else "little")

    base = stack & ~7
    raw = core.read(base, _STACK_BYTES)
    form = struct.Struct((">" if big else "<") + "ii")
    for index, (number, error) in enumerate(form.iter_unpack(raw[: len(raw) & ~7])):
        if number not in _CAUSED or error:
            continue
        at = base + index * 8
        code = int.from_bytes(core.read(at + 8, 4), "big" if big else "little")
        counter, named = number_at(at + known.counter), number_at(at + (16 if word == 8 else 12))
        access = number_at(at + known.access) if known.access else None
        if code in _CODES and _is_code(core, counter) and named in (counter, access):
            return number, counter
    return None


def _is_code(core: Core, address: int) -> bool:
    inside = (one for one in core.memory.regions if one.executable)
    if any(one.address <= address < one.address + one.size for one in inside):
        return True
    return core.mapped(address) is not None


def _mapped_ids(core: Core) -> Iterator[str]:
    """The build ids in the headers of the program, which are kept in a core."""
    place = core.executable()
    if place is None:
        return
    head = core.read(place.start, 1 << 16)
    try:
        yield from _ids(Window(head, big=core.memory.big_endian), core.memory.bits == 64)
    except BinaryError:
        return


def build_ids(executable: Executable) -> tuple[str, ...]:
    """Return the build ids of a program: the linker's and Go's."""
    window = executable.window
    try:
        return tuple(_ids(window, executable.bits == 64))
    except BinaryError:
        return ()


def _ids(window: Window, wide: bool) -> Iterator[str]:
    offset = window.one("Q" if wide else "I", 32 if wide else 28)
    size, count = window.unpack("HH", 54 if wide else 42)
    for index in range(min(count, 64)):
        values = window.unpack("IIQQQQQQ" if wide else "IIIIIIII", offset + index * size)
        if values[0] != 4:
            continue
        place, length = (values[2], values[5]) if wide else (values[1], values[4])
        for note in notes(window, place, min(length, 1 << 14)):
            if note.name == b"GNU" and note.kind == 3:
                yield f"GNU {note.content.hex()}"
            elif note.name == b"Go" and note.kind == 4:
                yield f"Go {note.content.decode('ascii', 'replace')}"


def _mismatch(
    core: Core, identity: tuple[str, ...], build: BuildInfo | None, binary: Inspection | None
) -> str:
    """Why a program is not the one that died; empty when nothing says so."""
    if binary is None:
        return ""
    if binary.goarch != core.goarch:
        return f"{binary.path} is for {binary.goarch}, the core is of {core.goarch}"
    own = build_ids(binary.executable)
    for one in identity:
        same = [other for other in own if other.split()[0] == one.split()[0]]
        if same and one not in same:
            return f"{binary.path} has the build id {same[0]}, the core is of {one}"
    if (
        build
        and binary.build
        and (build.settings, build.path)
        != (
            binary.build.settings,
            binary.build.path,
        )
    ):
        return f"{binary.path} has another build info than the core"
    return ""


def diagnosed(story: Story, binary: Inspection | None = None) -> Diagnosis:
    """Return the causes that a core allows, as for a log."""
    name, words = SIGNALS.get(story.signal, (f"signal {story.signal}", ""))
    text = f"{name}: {words}\n" if story.signal else ""
    one = diagnose(text, None if story.mismatch else binary, story.fault)
    causes = tuple(_of_core(cause, story) for cause in one.causes)
    collect = one.collect if causes else (*one.collect, "the program, by --binary")
    return changed(one, causes=causes, collect=collect, fault=None, trace=Trace())


def _of_core(cause: Cause, story: Story) -> Cause:
    """Evidence in a core has no lines."""
    name = SIGNALS.get(story.signal, (f"signal {story.signal}", ""))[0]
    said = f"the core says {name}"
    if story.earlier:
        said += f", and then signal {story.core.signal}, which Go sends itself after its trace"
    evidence = [said if one.startswith("line 1: ") else one for one in cause.evidence]
    against = (*cause.against, story.mismatch) if story.mismatch else cause.against
    return changed(cause, evidence=tuple(dict.fromkeys(evidence)), against=against)
