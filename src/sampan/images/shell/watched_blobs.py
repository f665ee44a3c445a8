"""Blobs that tell how far they have been read."""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, Final, cast

__all__ = ["WatchedBlobs"]

_STEP_BYTES: Final = 1 << 20


class WatchedBlobs:
    """Blobs by their digest; `told` hears from which one how many bytes have been read."""

    def __init__(self, path: Callable[[str], Path], told: Callable[[str, int], None]) -> None:
        self._path = path
        self._told = told

    def open(self, digest: str) -> BinaryIO:
        """Open one for reading."""
        file = _WatchedFile(self._path(digest))
        file.told = partial(self._told, digest)
        return cast(BinaryIO, file)


class _WatchedFile(io.FileIO):
    """A file that tells how far it has been read, once for each piece of some size."""

    told: Callable[[int], None]
    _next_bytes = 0

    def _tell(self) -> None:
        at = self.tell()
        if at >= self._next_bytes:
            self._next_bytes = at + _STEP_BYTES
            self.told(at)

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(-1 if size is None else size) or b""
        self._tell()
        return data

    def readinto(self, buffer: Any, /) -> int:
        count = super().readinto(buffer) or 0
        self._tell()
        return count
