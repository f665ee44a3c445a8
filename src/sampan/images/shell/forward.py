"""Streams that are read from front to back, as decompressors want them."""

from __future__ import annotations

__all__ = ["ForwardReader"]


class ForwardReader:
    """What a file is besides `read`, which a subclass has."""

    closed = False

    def read(self, size: int = -1, /) -> bytes:
        """Return up to `size` bytes, nothing at the end."""
        raise NotImplementedError

    def readinto(self, buffer: bytearray | memoryview, /) -> int:
        """Fill the front of a buffer; returns how many bytes, 0 at the end."""
        view = memoryview(buffer).cast("B")
        data = self.read(len(view))
        view[: len(data)] = data
        return len(data)

    def readable(self) -> bool:
        """It can be read."""
        return True

    def seekable(self) -> bool:
        """There is no way back."""
        return False
