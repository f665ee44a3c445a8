"""A tree of files as it is told by a client: what may be in it, and what has been asked for.

The order is fsutil's: a directory comes before what is in it, and names in one directory rise. So a
parent is always the directory that was told last at its depth, and nothing is told twice.
Every bound that a stranger could exceed is here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from sampan.base.errors import InvalidError, LimitError
from sampan.engine.buildkit.core.filenode import FileKind, FileNode, node_of
from sampan.engine.buildkit.pb import files_pb2

__all__ = ["ArrivalLimits", "Arrivals"]

_PATH_BYTES: Final = 4096
_NAME_BYTES: Final = 255
_DEPTH: Final = 400
_MOST_NS: Final = 1 << 62


@dataclass(frozen=True, slots=True)
class ArrivalLimits:
    """How much one transfer may be: files, the bytes of their names, and of their data."""

    entries: int = 1_000_000
    name_bytes: int = 256 << 20
    data_bytes: int = 32 << 30


class Arrivals:
    """Checks what is told, in its order."""

    def __init__(self, limits: ArrivalLimits) -> None:
        self._limits = limits
        self._names: list[bytes] = []
        """The parts of the path that was told last."""

        self._parent_is_directory = True
        self._count = 0
        self._name_bytes = 0
        self._data_bytes = 0
        self.ended = False
        """Everything has been told."""

    def told(self, stat: files_pb2.Stat) -> FileNode:
        """Return the next file; InvalidError for one that must not be, LimitError for too many."""
        if self.ended:
            raise InvalidError("a file was told after the end of the list")
        node = node_of(self._count, stat)
        self._count += 1
        self._name_bytes += len(stat.path) + len(stat.linkname)
        if self._count > self._limits.entries or self._name_bytes > self._limits.name_bytes:
            raise LimitError(f"the build context has more than {self._limits.entries} files")
        parts = _parts(node.path)
        self._check_order(node.path, parts)
        self._names = parts
        self._parent_is_directory = node.kind is FileKind.DIRECTORY
        if node.size < 0 or not 0 <= abs(node.mtime_ns) < _MOST_NS:
            raise InvalidError(f"{node.path}: its size or time is out of range")
        return node

    def _check_order(self, path: str, parts: list[bytes]) -> None:
        before = self._names
        depth = len(parts) - 1
        if depth > len(before) or parts[:depth] != before[:depth]:
            raise InvalidError(f"{path}: told before the directory that it is in")
        if depth == len(before):
            if not self._parent_is_directory:
                raise InvalidError(f"{path}: what it is said to be in is no directory")
        elif parts[depth] <= before[depth]:
            raise InvalidError(f"{path}: told out of order")

    def data(self, size_bytes: int) -> None:
        """Count data that has come; LimitError when it is too much."""
        self._data_bytes += size_bytes
        if self._data_bytes > self._limits.data_bytes:
            raise LimitError(
                f"the build context is larger than {self._limits.data_bytes >> 30} GiB"
            )

    def end(self) -> None:
        """The list has ended."""
        self.ended = True


def _parts(path: str) -> list[bytes]:
    """Return the names of a path; InvalidError for one that is not plain and relative."""
    raw = path.encode()
    parts = raw.split(b"/")
    if len(raw) > _PATH_BYTES or len(parts) > _DEPTH:
        raise InvalidError(f"{path[:64]}...: the path is too long")
    for part in parts:
        if part in (b"", b".", b"..") or b"\0" in part or len(part) > _NAME_BYTES:
            raise InvalidError(f"{path!r} is no path in a build context")
    return parts
