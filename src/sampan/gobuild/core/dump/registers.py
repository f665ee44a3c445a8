"""Where registers are in a core, by architecture, and the frames that signals leave on a stack.

Source: asm/ptrace.h, asm/sigcontext.h and the `rt_sigframe` of Linux's architectures.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from sampan.base.record import record

__all__ = ["FRAMES", "LAYOUTS", "Frame", "Layout"]


@record
class Layout:
    """Indices of program counter and stack pointer, in words."""

    counter: int
    stack: int


@record
class Frame:
    """Bytes from the siginfo of a signal frame to the program counter that was interrupted, and to
    the address whose access failed, which is kept there once more; 0 where it is not.
    """

    counter: int
    access: int


LAYOUTS: Final[Mapping[str, Layout]] = {
    "386": Layout(12, 15),
    "amd64": Layout(16, 19),
    "arm": Layout(15, 13),
    "arm64": Layout(32, 31),
    "loong64": Layout(33, 3),
    "mips": Layout(40, 35),
    "mips64": Layout(34, 29),
    "mips64le": Layout(34, 29),
    "mipsle": Layout(40, 35),
    "ppc64": Layout(32, 1),
    "ppc64le": Layout(32, 1),
    "riscv64": Layout(0, 2),
    "s390x": Layout(1, 17),
}

FRAMES: Final[Mapping[str, Frame]] = {
    "amd64": Frame(-136, -88),
    "arm": Frame(220, 228),
    "arm64": Frame(568, 304),
    "riscv64": Frame(304, 0),
}
