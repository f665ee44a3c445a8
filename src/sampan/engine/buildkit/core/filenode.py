"""A file as fsutil's messages have it: modes are Go's, times nanoseconds, names relative."""

from __future__ import annotations

import stat
from dataclasses import dataclass
from enum import Enum
from typing import Final, Protocol

from sampan.engine.buildkit.pb import files_pb2

__all__ = ["FileKind", "FileNode", "describe", "node_of"]

_DIRECTORY: Final = 1 << 31
_SYMLINK: Final = 1 << 27
_DEVICE: Final = 1 << 26
_FIFO: Final = 1 << 25
_SOCKET: Final = 1 << 24
_SETUID: Final = 1 << 23
_SETGID: Final = 1 << 22
_CHARACTER: Final = 1 << 21
_STICKY: Final = 1 << 20
_IRREGULAR: Final = 1 << 19
_TYPE: Final = _DIRECTORY | _SYMLINK | _DEVICE | _FIFO | _SOCKET | _CHARACTER | _IRREGULAR
_SPECIAL: Final = ((_SETUID, stat.S_ISUID), (_SETGID, stat.S_ISGID), (_STICKY, stat.S_ISVTX))


class FileKind(Enum):
    """What a file is; OTHER are devices, sockets and what else no context has use for."""

    FILE = "file"
    DIRECTORY = "directory"
    SYMLINK = "symlink"
    FIFO = "fifo"
    OTHER = "other"


_KINDS: Final = {
    0: FileKind.FILE,
    _DIRECTORY: FileKind.DIRECTORY,
    _SYMLINK: FileKind.SYMLINK,
    _FIFO: FileKind.FIFO,
}
_MODES: Final = {
    stat.S_IFDIR: _DIRECTORY,
    stat.S_IFLNK: _SYMLINK,
    stat.S_IFIFO: _FIFO,
    stat.S_IFSOCK: _SOCKET,
    stat.S_IFBLK: _DEVICE,
    stat.S_IFCHR: _DEVICE | _CHARACTER,
}


@dataclass(frozen=True, slots=True)
class FileNode:
    """One file. `number` is its place among all that were told; `mode` are Unix permissions.

    `link` is where a symbolic link leads, or of which earlier file another name this is.
    """

    number: int
    path: str
    kind: FileKind
    mode: int
    size: int
    mtime_ns: int
    link: str = ""


def node_of(number: int, told: files_pb2.Stat) -> FileNode:
    """Return a file as it was told; nothing is checked."""
    mode = told.mode & 0o777
    for theirs, ours in _SPECIAL:
        mode |= ours if told.mode & theirs else 0
    kind = _KINDS.get(told.mode & _TYPE, FileKind.OTHER)
    return FileNode(number, told.path, kind, mode, told.size, told.modTime, told.linkname)


class Status(Protocol):
    """What the system says of a file: the fields of `os.stat_result` that count."""

    @property
    def st_mode(self) -> int: ...
    @property
    def st_uid(self) -> int: ...
    @property
    def st_gid(self) -> int: ...
    @property
    def st_size(self) -> int: ...
    @property
    def st_mtime_ns(self) -> int: ...


def describe(path: str, status: Status, link: str = "") -> files_pb2.Stat:
    """Return a file as it is told to a client."""
    mode = status.st_mode & 0o777 | _MODES.get(stat.S_IFMT(status.st_mode), 0)
    for theirs, ours in _SPECIAL:
        mode |= theirs if status.st_mode & ours else 0
    regular = stat.S_ISREG(status.st_mode)
    return files_pb2.Stat(
        path=path,
        mode=mode,
        uid=status.st_uid,
        gid=status.st_gid,
        size=status.st_size if regular else 0,
        modTime=status.st_mtime_ns,
        linkname=link,
    )
