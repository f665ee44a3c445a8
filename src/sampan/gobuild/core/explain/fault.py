"""Where a program stopped: the instruction, what it needs, and the line it belongs to."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from sampan.base.record import record
from sampan.gobuild.core.binary.executable import Executable
from sampan.gobuild.core.binary.lines import Place, place_of
from sampan.gobuild.core.binary.window import BinaryError
from sampan.gobuild.core.isa.instruction import DECODED_BYTES, decode

__all__ = ["Disassembler", "Fault", "code_at", "fault_at", "printed_address"]

Disassembler = Callable[[bytes, str, int], str]
"""Takes code, GOARCH and address; returns the first instruction as text, empty if it cannot."""

_SHOWN: Final = 8
_HEXADECIMAL: Final = r"(?:0x)?([0-9a-f]{1,16})"
# What stands on a line before and behind an address of code: Go's two ways, and the kernel's.
_PRINTED: Final = (
    ("PC=0x", re.compile(rf"PC={_HEXADECIMAL} m=")),
    (" pc=0x", re.compile(rf" pc={_HEXADECIMAL}\]")),
    (" ip:", re.compile(rf" ip:{_HEXADECIMAL} sp:")),
)
_TRIES: Final = 100


@record
class Fault:
    """An address of the program, the code there, and what is known of it.

    `text` is the instruction, `needs` the extension it is of; empty when it is an ordinary one.
    """

    address: int
    code: bytes = b""
    text: str = ""
    needs: str = ""
    place: Place | None = None

    def __str__(self) -> str:
        parts = [f"{self.address:#x}"]
        if self.place:
            parts[0] += f" in {self.place}"
        if self.text or self.code:
            parts.append(self.text or self.code[:_SHOWN].hex(" "))
        if self.needs:
            parts.append(f"needs {self.needs}")
        return ": ".join(parts[:2]) + "".join(f", {one}" for one in parts[2:])


def printed_address(text: str) -> int | None:
    """Return the address of the code that failed, as Go or the kernel printed it."""
    for word, pattern in _PRINTED:
        at = text.find(word)
        for _ in range(_TRIES):
            if at < 0:
                break
            if match := pattern.match(text, at):
                return int(match[1], 16)
            at = text.find(word, at + 1)
    return None


def fault_at(
    executable: Executable | None,
    goarch: str,
    address: int,
    code: bytes = b"",
    disassembler: Disassembler | None = None,
) -> Fault:
    """Return what is at an address, by the bytes that were read there, else by the program's."""
    place = place_of(executable, address) if executable else None
    if not code and executable:
        code = code_at(executable, address)
    text = disassembler(code, goarch, address) if disassembler and code else ""
    found = decode(code, goarch)
    return Fault(
        address, code, text or (found.name if found else ""), found.needs if found else "", place
    )


def code_at(executable: Executable, address: int) -> bytes:
    """Return the code at an address; empty when the program has none there."""
    for region in executable.regions:
        if region.executable and region.address <= address < region.address + region.size:
            try:
                return executable.at(address, DECODED_BYTES)
            except BinaryError:
                break
    return b""
