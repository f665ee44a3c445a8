"""Output as shims send it: eight bytes say which stream and how much, then come the bytes."""

from __future__ import annotations

import struct

from sampan.base.errors import InvalidError

__all__ = ["FrameReader"]

_HEAD = struct.Struct(">B3xI")


class FrameReader:
    """Takes bytes as they come and returns pieces of stdout (1) and stderr (2)."""

    def __init__(self) -> None:
        self._head = b""
        self._stream = 0
        self._left = 0

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        """Return the pieces in some bytes, without waiting for whole frames."""
        pieces: list[tuple[int, bytes]] = []
        while data:
            if not self._left:
                needed = _HEAD.size - len(self._head)
                self._head, data = self._head + data[:needed], data[needed:]
                if len(self._head) < _HEAD.size:
                    break
                self._stream, self._left = _HEAD.unpack(self._head)
                self._head = b""
                if self._stream not in (1, 2):
                    raise InvalidError(f"output of stream {self._stream}")
                continue
            piece, data = data[: self._left], data[self._left :]
            self._left -= len(piece)
            pieces.append((self._stream, piece))
        return pieces
