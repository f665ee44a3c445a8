"""What process lists show of a process that has become something else without execve."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Final

__all__ = ["set_command_line"]

_NAME_BYTES: Final = 15


def set_command_line(words: Sequence[str]) -> None:
    """Write these words over the command line that the process was started with.

    It takes the room that the first one left: what does not fit is cut off. A system that shows no
    such thing is no error.
    """
    name = words[0].rpartition("/")[2].encode()[:_NAME_BYTES]
    try:
        with open("/proc/self/comm", "wb", buffering=0) as file:
            file.write(name)
        with open("/proc/self/stat", "rb", buffering=0) as file:
            fields = file.read(4096).rpartition(b")")[2].split()
        start, end = int(fields[45]), int(fields[46])
        text = b"\0".join(word.encode() for word in words) + b"\0"
        memory = os.open("/proc/self/mem", os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.pwrite(memory, text[: end - start].ljust(end - start, b"\0"), start)
        finally:
            os.close(memory)
    except (OSError, ValueError, IndexError):
        return
