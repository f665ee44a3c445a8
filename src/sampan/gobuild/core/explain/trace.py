"""Go's traces: the reason, the signal, the frames of the goroutine that failed, and data races.

Source: the runtime's traceback.go and signal_*.go; ThreadSanitizer's report.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import islice
from typing import Final

from sampan.base.record import record

__all__ = ["Access", "Frame", "Trace", "read_trace"]

_REASON: Final = re.compile(
    r"(?:^|[ \t|])((?:panic|fatal error|runtime error): .{0,400}|SIG[A-Z]+: .{0,200})$", re.M
)
_GOROUTINE: Final = re.compile(
    r"^(.{0,120}?)goroutine (\d+)(?: gp=\S+ m=\S+(?: mp=\S+)?)? \[([^\]\n]{1,200})\]:\s*$", re.M
)
_ACCESS: Final = re.compile(
    r"^(.{0,120}?)((?:Previous )?(?:atomic )?(?:read|write)) at 0x[0-9a-f]+ by "
    r"(goroutine \d+|main goroutine):[ \t]*$",
    re.M | re.I,
)
_PLACE: Final = re.compile(r"^\s+(\S.*?):(\d+)(?: \+0x[0-9a-f]+)?(?: fp=.*)?\s*$")
_REGISTERS: Final = (
    ("arm64", re.compile(r"\br29\s+0x")),
    ("amd64", re.compile(r"\brax\s+0x")),
    ("386", re.compile(r"\beax\s+0x")),
    ("arm", re.compile(r"\bcpsr\s+0x")),
    ("riscv64", re.compile(r"\bt6\s+0x")),
)
_STD: Final = frozenset(
    "archive bufio bytes cmp compress container context crypto database debug embed encoding "
    "errors expvar flag fmt go hash html image index internal io iter log maps math mime net os "
    "path plugin reflect regexp runtime slices sort strconv strings structs sync syscall testing "
    "text time unicode unique unsafe vendor weak".split()
)
_FRAMES_LIMIT: Final = 200
_LOOKED_AT: Final = 50
_COUNT_LIMIT: Final = 100_000


@record
class Frame:
    """A call: whose code it is is `runtime`, `std`, `cgo` or `module`."""

    function: str
    owner: str
    file: str = ""
    line: int = 0


@record
class Access:
    """One side of a data race: `what` was done, `write` or `previous read`, and by whom."""

    what: str
    by: str
    frames: tuple[Frame, ...]

    @property
    def own_frame(self) -> Frame | None:
        """The first frame of the program or its modules."""
        return _first_own(self.frames)


@record
class Trace:
    """What a trace says; empty fields where it says nothing. `goroutines` is their number.

    `race` has both sides of the first data race that was reported.
    """

    reason: str = ""
    signal: str = ""
    goarch: str = ""
    goroutines: int = 0
    state: str = ""
    frames: tuple[Frame, ...] = ()
    race: tuple[Access, ...] = ()

    @property
    def own_frame(self) -> Frame | None:
        """The first frame of the program or its modules."""
        return _first_own(self.frames)


def _first_own(frames: Iterable[Frame]) -> Frame | None:
    return next((one for one in frames if one.owner == "module"), None)


def read_trace(text: str) -> Trace:
    """Return what the first trace of a text says; an empty Trace when there is none."""
    reason = _reason(text)
    signal = None
    if "SIG" in text:
        signal = re.search(r"\[signal (SIG\w+)", text) or re.search(r"\b(SIG[A-Z]{3,6}): ", text)
    begin = text.find("goroutine ")
    first = _GOROUTINE.search(text, text.rfind("\n", 0, begin) + 1) if begin >= 0 else None
    count = 0
    frames: list[Frame] = []
    if first:
        # A dump of SIGQUIT begins with the scheduler: look for the program in the next ones.
        for head in islice(_GOROUTINE.finditer(text, first.start()), _LOOKED_AT):
            listed = _frames(text, head)
            if not frames or any(one.owner == "module" for one in listed):
                first, frames = (head, listed) if listed else (first, frames)
            if any(one.owner == "module" for one in frames):
                break
        count = sum(1 for _ in islice(_GOROUTINE.finditer(text), _COUNT_LIMIT))
    goarch = ""
    if first:
        goarch = next((name for name, pattern in _REGISTERS if pattern.search(text)), "")
    return Trace(
        reason,
        signal[1] if signal else "",
        goarch,
        count,
        first[3] if first else "",
        tuple(frames),
        _race(text),
    )


def _race(text: str) -> tuple[Access, ...]:
    """Both sides of the first data race."""
    at = text.find("WARNING: DATA RACE")
    if at < 0:
        return ()
    heads = islice(_ACCESS.finditer(text, at, at + (1 << 18)), 2)
    return tuple(Access(head[2].lower(), head[3], tuple(_frames(text, head))) for head in heads)


def _reason(text: str) -> str:
    """The line that says why the program ended; the first one of a text."""
    places = [at for word in ("panic: ", "fatal error: ", "SIG") if (at := text.find(word)) >= 0]
    for at in sorted(places):
        start = text.rfind("\n", 0, at) + 1
        end = text.find("\n", at)
        if match := _REASON.search(text[max(start, at - 500) : end if end >= 0 else None][:1500]):
            return match[1].strip()
    return ""


def _frames(text: str, head: re.Match[str]) -> list[Frame]:
    """The frames below a goroutine's line; what a collector put before each line is cut off."""
    width = len(head[1])
    lines = text[head.end() : head.end() + (1 << 18)].split("\n")[1:]
    found: list[Frame] = []
    index = 0
    while index < len(lines) and len(found) < _FRAMES_LIMIT:
        line = lines[index][width:].strip()
        index += 1
        if not line or line.startswith(("goroutine ", "exit status")):
            break
        function = line.removeprefix("created by ").split(" in goroutine")[0]
        function = re.sub(r"\((?:0x[^()]*|\{[^()]*|\.\.\.|)\)$", "", function)
        place = _PLACE.match(lines[index][width:]) if index < len(lines) else None
        if place is None:
            continue
        index += 1
        found.append(Frame(function, _owner(function), place[1], int(place[2])))
    return found


def _owner(function: str) -> str:
    if "_Cfunc_" in function or "_cgo" in function or function.startswith("runtime/cgo."):
        return "cgo"
    if function == "panic" or function.startswith(("runtime.", "internal/runtime/")):
        return "runtime"
    path = function.split("(")[0]
    head = path.split("/")[0] if "/" in path else path.split(".")[0]
    return "std" if head in _STD else "module"
