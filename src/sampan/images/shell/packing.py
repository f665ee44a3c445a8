"""Writing files as tar entries: what `docker cp`, `export` and `commit` have in common.

Files are opened by a descriptor of their directory, without following a link; what vanishes
meanwhile is left out, what shrinks is filled up with zeros. Holes are written as zeros without
being read: entries for sparse files are not written, since Docker cannot take such a layer apart
and put it together again to the byte.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from typing import Final, Protocol

from sampan.base.errors import LimitError
from sampan.images.core.tar import BLOCK_BYTES, Entry, Kind, header, padding
from sampan.images.shell.nodes import UNCARRIED

__all__ = [
    "GONE",
    "OPEN",
    "Output",
    "Owners",
    "TarWriter",
    "all_attributes",
    "capability",
]

GONE: Final = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)
OPEN: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_COPY_BYTES: Final = 256 * 1024
_ZEROS: Final = bytes(_COPY_BYTES)
_CAPABILITY: Final = "security.capability"
_DEPTH: Final = 400
_KINDS: Final = {
    stat.S_IFREG: Kind.FILE,
    stat.S_IFDIR: Kind.DIRECTORY,
    stat.S_IFLNK: Kind.SYMLINK,
    stat.S_IFIFO: Kind.FIFO,
    stat.S_IFCHR: Kind.CHARACTER,
    stat.S_IFBLK: Kind.BLOCK,
}

Attributes = Callable[[int | str], dict[str, bytes]]
"""Returns the extended attributes to carry, by a descriptor or a path that is not followed."""


Owners = Callable[[int, int], tuple[int, int]]
"""Returns the user and group to write for those of a file."""


def _same(uid: int, gid: int) -> tuple[int, int]:
    return uid, gid


class Output(Protocol):
    """Where a tar goes."""

    def write(self, data: bytes, /) -> object:
        """Take all of it."""
        ...


def capability(at: int | str) -> dict[str, bytes]:
    """Return the file capabilities: the one attribute that travels with `docker cp`."""
    try:
        return {_CAPABILITY: os.getxattr(at, _CAPABILITY, follow_symlinks=isinstance(at, int))}
    except OSError:
        return {}


def all_attributes(at: int | str) -> dict[str, bytes]:
    """Return every attribute that belongs to the file and not to the machine."""
    follow = isinstance(at, int)
    found = {}
    for key in os.listxattr(at, follow_symlinks=follow):
        if not key.startswith(UNCARRIED):
            found[key] = os.getxattr(at, key, follow_symlinks=follow)
    return found


class TarWriter:
    """Writes a tar, entry by entry. A file of several names is written once, then as links."""

    def __init__(
        self,
        out: Output,
        attributes: Attributes,
        *,
        whole_seconds: bool = False,
        owners: Owners | None = None,
    ) -> None:
        self._owners = owners
        self._out = out
        self._attributes = attributes
        self._whole_seconds = whole_seconds
        self._seen: dict[tuple[int, int], str] = {}

    def end(self) -> None:
        """Write the end of the archive."""
        self._out.write(bytes(2 * BLOCK_BYTES))

    def empty(self, name: str) -> None:
        """Write an empty file, as whiteouts are."""
        self._out.write(header(Entry(name, mode=0o600)))

    def directory(self, fd: int, name: str) -> None:
        """Write the entry of an open directory."""
        self._put(os.fstat(fd), name, fd)

    def node(self, parent: int, last: str, name: str, below: Callable[[int], None]) -> None:
        """Write what has a name in a directory; `below` is called with a directory's descriptor."""
        if name.count("/") > _DEPTH:
            raise LimitError(f"{name[:64]}...: nested too deeply")
        try:
            status = os.stat(last, dir_fd=parent, follow_symlinks=False)
            kind = stat.S_IFMT(status.st_mode)
            if kind == stat.S_IFSOCK:
                return
            if kind not in (stat.S_IFDIR, stat.S_IFREG):
                link = os.readlink(last, dir_fd=parent) if kind == stat.S_IFLNK else ""
                self._put(status, name, f"/proc/thread-self/fd/{parent}/{last}", link)
                return
            fd = os.open(last, OPEN, dir_fd=parent)
        except OSError as error:
            if error.errno in GONE:
                return
            raise
        try:
            # Looked at again: it may have been exchanged. No further call for a directory, so that
            # a deep tree needs no more frames than it must.
            status = os.fstat(fd)
            if stat.S_ISDIR(status.st_mode):
                self._put(status, name, fd)
                below(fd)
            elif stat.S_ISREG(status.st_mode):
                if self._put(status, name, fd).kind is Kind.FILE:
                    self._data(fd, status)
        finally:
            os.close(fd)

    def _put(self, status: os.stat_result, name: str, at: int | str, link: str = "") -> Entry:
        entry = Entry(
            name,
            _KINDS[stat.S_IFMT(status.st_mode)],
            stat.S_IMODE(status.st_mode),
            *(self._owners or _same)(status.st_uid, status.st_gid),
            mtime_ns=status.st_mtime_ns,
            link=link,
        )
        if self._whole_seconds:
            entry.mtime_ns -= entry.mtime_ns % 1_000_000_000
        if entry.kind in (Kind.CHARACTER, Kind.BLOCK):
            entry.device = (os.major(status.st_rdev), os.minor(status.st_rdev))
        first = name
        if status.st_nlink > 1 and entry.kind is not Kind.DIRECTORY:
            first = self._seen.setdefault((status.st_dev, status.st_ino), name)
        if first != name:
            entry.kind, entry.link = Kind.HARD_LINK, first
        else:
            entry.xattrs = self._attributes(at)
            if entry.kind is Kind.FILE:
                entry.size = status.st_size
        self._out.write(header(entry))
        return entry

    def _data(self, fd: int, status: os.stat_result) -> None:
        size = status.st_size
        left = size
        if status.st_blocks * 512 < size:
            for piece in _around_holes(fd, size):
                self._out.write(piece)
                left -= len(piece)
        else:
            while left and (data := os.read(fd, min(left, _COPY_BYTES))):
                self._out.write(data)
                left -= len(data)
        # Where it has shrunk the header has promised more.
        left += padding(size)
        while left > 0:
            self._out.write(_ZEROS[:left])
            left -= len(_ZEROS)


def _around_holes(fd: int, size: int) -> Iterator[bytes]:
    """Yield `size` bytes of a file, or fewer when it has shrunk; holes are not read."""
    at = 0
    while at < size:
        try:
            start = min(os.lseek(fd, at, os.SEEK_DATA), size)
            end = min(os.lseek(fd, start, os.SEEK_HOLE), size) if start < size else size
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
            start = end = size
        while at < start:
            piece = _ZEROS[: start - at]
            at += len(piece)
            yield piece
        os.lseek(fd, at, os.SEEK_SET)
        while at < end:
            data = os.read(fd, min(end - at, _COPY_BYTES))
            if not data:
                return
            at += len(data)
            yield data
