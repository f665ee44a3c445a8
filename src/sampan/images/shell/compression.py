"""What is around a tar: gzip, zstd, bzip2, xz or nothing, told by its first bytes.

Every reader is bounded: it never holds more of the plain bytes than it was asked for, however far
they would unfold.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
from collections.abc import Callable
from typing import BinaryIO, Final, Protocol, cast

import zstandard
from isal import igzip

__all__ = ["DAMAGED", "PlainReader", "compression_of", "open_plain", "peek"]

_WINDOW_BYTES: Final = 1 << 27
_XZ_BYTES: Final = 256 << 20
_READ_BYTES: Final = 1 << 20

DAMAGED: Final = (gzip.BadGzipFile, zstandard.ZstdError, lzma.LZMAError, EOFError, OSError)
"""What readers raise for damaged data; of OSError only those without an error number."""


class PlainReader(Protocol):
    """A reader of plain bytes."""

    def read(self, size: int, /) -> bytes:
        """Return up to `size` bytes, nothing at the end."""
        ...

    def readinto(self, buffer: memoryview, /) -> int | None:
        """Fill the front of a buffer; returns how many bytes, 0 at the end."""
        ...


class _Xz:
    """xz with a bound on memory, which the standard library's file class lacks."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._inner = lzma.LZMADecompressor(memlimit=_XZ_BYTES)

    def read(self, size: int, /) -> bytes:
        while True:
            if self._inner.eof:
                rest = self._inner.unused_data or self._file.read(_READ_BYTES)
                if not rest.strip(b"\0"):
                    return b""
                self._inner = lzma.LZMADecompressor(memlimit=_XZ_BYTES)
            else:
                rest = self._file.read(_READ_BYTES) if self._inner.needs_input else b""
                if not rest and self._inner.needs_input:
                    raise EOFError("compressed data ends in the middle")
            data = self._inner.decompress(rest, size)
            if data:
                return data

    def readinto(self, buffer: memoryview, /) -> int:
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


def _zstd(file: BinaryIO) -> PlainReader:
    inner = zstandard.ZstdDecompressor(max_window_size=_WINDOW_BYTES)
    reader = inner.stream_reader(file, read_size=_READ_BYTES, read_across_frames=True)
    return cast(PlainReader, reader)


def _gzip(file: BinaryIO) -> PlainReader:
    return cast(PlainReader, igzip.GzipFile(fileobj=file))


_READERS: Final[dict[str, Callable[[BinaryIO], PlainReader]]] = {
    "gzip": _gzip,
    "zstd": _zstd,
    "bzip2": lambda file: cast(PlainReader, bz2.BZ2File(file)),
    "xz": _Xz,
}


def compression_of(magic: bytes) -> str:
    """Return `gzip`, `zstd`, `bzip2`, `xz`, or nothing for plain bytes; needs the first six."""
    if magic[:2] == b"\x1f\x8b":
        return "gzip"
    # A frame that is skipped may stand before the first one with data.
    if magic[:4] == b"\x28\xb5\x2f\xfd" or (magic[1:4] == b"\x2a\x4d\x18" and magic[0] >> 4 == 5):
        return "zstd"
    if magic[:3] == b"BZh":
        return "bzip2"
    return "xz" if magic[:6] == b"\xfd7zXZ\0" else ""


def peek(file: BinaryIO) -> str:
    """Return what a file that can seek is compressed with, without moving on in it."""
    magic = file.read(6)
    file.seek(-len(magic), os.SEEK_CUR)
    return compression_of(magic)


def open_plain(file: BinaryIO, kind: str) -> PlainReader:
    """Return a reader of the plain bytes of a file of that kind."""
    reader = _READERS.get(kind)
    return reader(file) if reader else cast(PlainReader, file)
