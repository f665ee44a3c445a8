"""ADD of a local archive: its entries become part of the layer."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from sampan.base.errors import InvalidError, LimitError
from sampan.images.build.copylayer import CopyLayer
from sampan.images.core.tar import TarError
from sampan.images.core.tarreader import TarReader
from sampan.images.shell.compression import DAMAGED, PlainReader, open_plain, peek

__all__ = ["is_archive", "unpack_into"]

_CHUNK_BYTES: Final = 1 << 20
_SIZE_LIMIT: Final = 64 << 30
_BLOCK: Final = 512


class _Bytes:
    """A tar reader's source out of a reader of plain bytes."""

    def __init__(self, reader: PlainReader) -> None:
        self._reader = reader
        self._total = 0

    def take(self, size: int) -> memoryview:
        """Return the next bytes, fewer at the end only."""
        found = bytearray()
        while len(found) < size and (data := self._reader.read(size - len(found))):
            found += data
        self._total += len(found)
        if self._total > _SIZE_LIMIT:
            raise LimitError(f"the archive unfolds to more than {_SIZE_LIMIT >> 30} GiB")
        return memoryview(bytes(found))

    def pieces(self, size: int) -> Iterator[memoryview]:
        """Yield the next bytes piece by piece."""
        while size:
            piece = self.take(min(size, _CHUNK_BYTES))
            if not piece:
                return
            size -= len(piece)
            yield piece


def unpack_into(layer: CopyLayer, path: Path) -> bool:
    """Put the entries of an archive into a layer; False when the file is no archive. Blocks."""
    if not is_archive(path):
        return False
    with open(path, "rb") as file:
        reader = TarReader(_Bytes(open_plain(file, peek(file))))
        try:
            while (entry := reader.next()) is not None:
                layer.entry(entry, reader.data())
        except (TarError, *DAMAGED) as error:
            raise InvalidError(f"{path.name}: the archive is damaged: {error}") from None
    return True


def is_archive(path: Path) -> bool:
    """Tell whether a file begins as a tar, plain or compressed."""
    try:
        with open(path, "rb") as file:
            block = _Bytes(open_plain(file, peek(file))).take(_BLOCK)
    except (OSError, *DAMAGED):
        return False
    if len(block) < _BLOCK:
        return False
    stated = bytes(block[148:156]).strip(b"\0 ")
    if not stated or not stated.isdigit():
        return False
    total = sum(struct.unpack("512B", block)) - sum(block[148:156]) + 8 * 32
    return bool(int(stated, 8) == total)
