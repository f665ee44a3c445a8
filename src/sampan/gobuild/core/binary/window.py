"""Reading numbers and texts of a buffer that a stranger made."""

from __future__ import annotations

import mmap
import struct
from functools import lru_cache
from typing import Final

from sampan.base.errors import InvalidError

__all__ = ["BinaryError", "Buffer", "Window"]

Buffer = bytes | mmap.mmap
"""What is read: both slice to bytes and have `find`."""
_NAME_BYTES: Final = 4096


class BinaryError(InvalidError):
    """The file is no executable, or is damaged; the message says where."""


@lru_cache(maxsize=256)
def _compiled(form: str) -> struct.Struct:
    return struct.Struct(form)


class Window:
    """A part of a buffer with a byte order: reads beyond its end raise BinaryError."""

    def __init__(self, data: Buffer, start: int = 0, size: int | None = None, big: bool = False):
        whole = len(data)
        if start < 0 or start > whole:
            raise BinaryError(f"offset {start} is outside of the file ({whole} bytes)")
        self.data = data
        self.start = start
        self.size = whole - start if size is None else max(0, min(size, whole - start))
        self.order = ">" if big else "<"

    def unpack(self, form: str, offset: int) -> tuple[int, ...]:
        """Return the integers of a struct format (without byte order) at an offset."""
        compiled = _compiled(self.order + form)
        if offset < 0 or offset + compiled.size > self.size:
            raise BinaryError(f"offset {offset} is outside of its part ({self.size} bytes)")
        return compiled.unpack_from(self.data, self.start + offset)

    def one(self, form: str, offset: int) -> int:
        """Return a single integer."""
        return self.unpack(form, offset)[0]

    def take(self, offset: int, size: int) -> bytes:
        """Return bytes; fewer at the end."""
        if offset < 0 or size < 0:
            raise BinaryError(f"offset {offset} is outside of its part ({self.size} bytes)")
        first = self.start + min(offset, self.size)
        return bytes(self.data[first : min(first + size, self.start + self.size)])

    def text(self, offset: int) -> str:
        """Return the text up to a NUL, at most 4096 bytes of it."""
        return self.take(offset, _NAME_BYTES).split(b"\0", 1)[0].decode("utf-8", "replace")

    def find(self, what: bytes, start: int = 0, end: int | None = None) -> int:
        """Return where `what` begins at or after `start`, -1 when nowhere."""
        last = self.start + (self.size if end is None else min(end, self.size))
        found = self.data.find(what, self.start + max(0, start), last)
        return -1 if found < 0 else found - self.start
