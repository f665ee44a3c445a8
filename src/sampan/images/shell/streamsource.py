"""The plain bytes of a tar that comes as a stream, whatever it is compressed with."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO, Final, cast

from sampan.base.errors import LimitError
from sampan.images.shell.compression import compression_of, open_plain
from sampan.images.shell.forward import ForwardReader

__all__ = ["StreamSource"]

_MAGIC_BYTES: Final = 6
_RATIO_FROM_BYTES: Final = 256 << 20
_PIECE_BYTES: Final = 256 * 1024


class _Rejoined(ForwardReader):
    """A stream with the bytes before it that were taken for a look."""

    def __init__(self, head: bytes, file: BinaryIO) -> None:
        self._head = head
        self._file = file
        self.size_bytes = len(head)

    def read(self, size: int = -1, /) -> bytes:
        if not self._head:
            data = self._file.read(size)
            self.size_bytes += len(data)
            return data
        if size < 0 or size >= len(self._head):
            head, self._head = self._head, b""
            return head
        head, self._head = self._head[:size], self._head[size:]
        return head


class StreamSource:
    """A source for a TarReader."""

    def __init__(self, file: BinaryIO, *, ratio: int | None = None) -> None:
        """With a `ratio` a stream may not unfold to more than so many times its size."""
        head = file.read(_MAGIC_BYTES)
        self.empty = not head
        """Whether there is nothing at all."""

        self._ratio = ratio
        self._plain_bytes = 0
        self._stream = _Rejoined(head, file)
        self._reader = open_plain(cast(BinaryIO, self._stream), compression_of(head))

    def take(self, size: int) -> memoryview:
        """Return the next `size` bytes, fewer only at the end."""
        return memoryview(b"".join(bytes(piece) for piece in self.pieces(size)))

    def pieces(self, size: int) -> Iterator[memoryview]:
        """Yield the next `size` bytes piece by piece, fewer only at the end."""
        while size and (data := self._reader.read(min(size, _PIECE_BYTES))):
            size -= len(data)
            self._plain_bytes += len(data)
            if self._ratio is not None and self._plain_bytes > _RATIO_FROM_BYTES:
                if self._plain_bytes > self._stream.size_bytes * self._ratio:
                    raise LimitError(f"archive unfolds to more than {self._ratio} times its size")
            yield memoryview(data)
