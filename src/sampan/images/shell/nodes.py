"""Making what a tar entry says, relative to a descriptor of its directory.

Nothing here resolves a path: whoever calls has opened the directory, and no call follows a link of
the entry's own name. It serves layers and `docker cp` alike.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from sampan.images.core.tar import Entry, Kind, TarError

__all__ = [
    "UNCARRIED",
    "clear_attributes",
    "make_special",
    "owned_by_overlay",
    "remove",
    "remove_path",
    "set_attributes",
    "set_times",
    "write_data",
]

_KINDS: Final = {
    Kind.CHARACTER: stat.S_IFCHR,
    Kind.BLOCK: stat.S_IFBLK,
    Kind.FIFO: stat.S_IFIFO,
}
_OVERLAY: Final = ("trusted.overlay.", "user.overlay.")
UNCARRIED: Final = ("trusted.overlay.", "user.overlay.", "security.selinux", "system.")
"""Beginnings of attributes that belong to the machine or the file system, not to the files."""

_HOLE_BYTES: Final = 64 << 10
_ZEROS: Final = bytes(_HOLE_BYTES)
_REFUSED: Final = (errno.ENOTSUP, errno.EPERM, errno.EACCES)


def owned_by_overlay(attribute: str) -> bool:
    """Tell whether overlayfs reads an extended attribute as a word of its own."""
    return attribute.startswith(_OVERLAY)


def make_special(entry: Entry, parent: int, name: str) -> None:
    """Make a symbolic link, a fifo or a device; FileExistsError when the name is taken.

    Raises TarError for the device that overlayfs takes for a deletion.
    """
    if entry.kind is Kind.SYMLINK:
        if not entry.link:
            raise TarError(f"{entry.name}: a symbolic link to nothing")
        os.symlink(entry.link, name, dir_fd=parent)
        return
    if entry.kind is Kind.CHARACTER and entry.device == (0, 0):
        raise TarError(f"{entry.name}: a device that overlayfs takes for a deletion")
    number = os.makedev(*entry.device) if entry.kind is not Kind.FIFO else 0
    os.mknod(name, _KINDS[entry.kind] | 0o600, number, dir_fd=parent)


def write_data(fd: int, entry: Entry, pieces: Iterable[memoryview]) -> None:
    """Write a file's data. Holes stay holes, and long runs of zeros become some."""
    if entry.extents is not None:
        _write_sparse(fd, entry, pieces)
        return
    if entry.size <= _HOLE_BYTES:
        for piece in pieces:
            _write(fd, piece)
        return
    ends_in_hole = False
    for piece in pieces:
        ends_in_hole = _write_around_zeros(fd, piece)
    if ends_in_hole:
        os.ftruncate(fd, entry.size)


def _write(fd: int, data: memoryview) -> None:
    done = os.write(fd, data)
    while done < len(data):
        done += os.write(fd, data[done:])


def _write_around_zeros(fd: int, data: memoryview) -> bool:
    """Write data but not its runs of zeros; returns whether it ends in one."""
    start = at = 0
    size = len(data)
    while at < size:
        end = min(at + _HOLE_BYTES, size)
        # The first byte decides almost always; comparing a slice costs more.
        if data[at] == 0 and bytes(data[at:end]) == _ZEROS[: end - at]:
            if start < at:
                _write(fd, data[start:at])
            os.lseek(fd, end - at, os.SEEK_CUR)
            start = end
        at = end
    if start < size:
        _write(fd, data[start:])
    return start == size


def _write_sparse(fd: int, entry: Entry, pieces: Iterable[memoryview]) -> None:
    extents = iter(entry.extents or ())
    left = 0
    os.ftruncate(fd, entry.full_size)
    for piece in pieces:
        while piece:
            while not left:
                offset, left = next(extents)
                os.lseek(fd, offset, os.SEEK_SET)
            count = min(left, len(piece))
            _write(fd, piece[:count])
            piece, left = piece[count:], left - count


def set_attributes(
    entry: Entry, path: int | str, *, refused: tuple[str, ...] = (), follow: bool = False
) -> None:
    """Set extended attributes by a descriptor, or by a path that is not followed unless told so.

    Attributes that the file system or the kernel does not take are left out, as by Docker, but for
    a file's capabilities where they are not permitted. `refused` begins names that are never set.
    """
    follow = follow or isinstance(path, int)
    for key, value in entry.xattrs.items():
        if key.startswith(refused or "\0"):
            continue
        try:
            os.setxattr(path, key, value, follow_symlinks=follow)
        except OSError as error:
            unable = error.errno == errno.ENOTSUP or key != "security.capability"
            if error.errno not in _REFUSED or not unable:
                raise


def clear_attributes(fd: int) -> None:
    """Remove the extended attributes of a directory that a layer below has made."""
    for key in os.listxattr(fd):
        if not key.startswith(UNCARRIED):
            os.removexattr(fd, key)


def set_times(entry: Entry, parent: int, name: str) -> None:
    """Set a node's time of change to its entry's."""
    times = (entry.mtime_ns, entry.mtime_ns)
    os.utime(name, ns=times, dir_fd=parent, follow_symlinks=False)


def remove(parent: int, name: str) -> None:
    """Remove a file, or a directory with everything below; nothing happens without it."""
    try:
        os.unlink(name, dir_fd=parent)
    except FileNotFoundError:
        return
    except IsADirectoryError:
        _remove_tree(parent, name)


def remove_path(path: Path) -> None:
    """Remove a file or a tree by its path; nothing happens without it."""
    try:
        fd = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        remove(fd, path.name)
    finally:
        os.close(fd)


def _remove_tree(parent: int, name: str) -> None:
    """Remove a directory, however deep, with two descriptors open at a time."""
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    at = os.open(name, flags, dir_fd=parent)
    # The way back, by `..`; a directory that somebody moves meanwhile must not lead elsewhere.
    way: list[tuple[str, tuple[int, int]]] = []
    try:
        while True:
            below = _remove_files(at)
            if below is not None:
                way.append((below, _identity(at)))
                at = _exchange(at, below, flags)
            elif way:
                gone, expected = way.pop()
                at = _exchange(at, "..", flags)
                if _identity(at) != expected:
                    raise OSError(errno.EBUSY, "moved while it was being removed", name)
                os.rmdir(gone, dir_fd=at)
            else:
                break
    finally:
        os.close(at)
    os.rmdir(name, dir_fd=parent)


def _exchange(fd: int, name: str, flags: int) -> int:
    found = os.open(name, flags, dir_fd=fd)
    os.close(fd)
    return found


def _identity(fd: int) -> tuple[int, int]:
    status = os.fstat(fd)
    return status.st_dev, status.st_ino


def _remove_files(fd: int) -> str | None:
    """Remove what is no directory, up to the first directory; returns that one."""
    with os.scandir(fd) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                return entry.name
            os.unlink(entry.name, dir_fd=fd)
    return None
