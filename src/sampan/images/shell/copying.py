"""Copies of trees: with owners, modes, times, attributes, hard links and holes.

Data is shared between the files where the file system can do that, else copied by the kernel.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from pathlib import Path
from typing import Final

from sampan.base.errors import LimitError
from sampan.images.shell.nodes import UNCARRIED
from sampan.images.shell.stack import Stack

__all__ = ["copy_merged", "copy_tree"]

_FICLONE: Final = 0x40049409
_COPY_BYTES: Final = 64 << 20
_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_CREATE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_DEPTH: Final = 400
_CANNOT: Final = (errno.EOPNOTSUPP, errno.EXDEV, errno.EINVAL, errno.ENOTTY, errno.ENOSYS)


def copy_tree(source: Path, target: Path) -> None:
    """Copy what is in a directory, and what the directory itself is like, into an empty one."""
    one = os.open(source, _DIRECTORY)
    try:
        other = os.open(target, _DIRECTORY)
        try:
            _Copy().folder(one, other, 0)
        finally:
            os.close(other)
    finally:
        os.close(one)


def copy_merged(source: Stack, target: Path) -> None:
    """Copy what is seen in a directory of merged layers, and what it is like, into an empty one."""
    if source.top:
        fd = os.open(target, _DIRECTORY)
        try:
            _Copy().merged(source, fd, 0)
        finally:
            os.close(fd)


class _Copy:
    def __init__(self) -> None:
        self._links: dict[tuple[int, int], str] = {}
        self._shares = True
        self._top = -1

    def folder(self, source: int, target: int, depth: int, path: str = "") -> None:
        """Copy one directory into another."""
        if depth > _DEPTH:
            raise LimitError(f"{path[:64]}...: nested too deeply")
        if self._top < 0:
            self._top = target
        for name in os.listdir(source):
            status = os.stat(name, dir_fd=source, follow_symlinks=False)
            inside = f"{path}/{name}" if path else name
            if stat.S_ISDIR(status.st_mode):
                os.mkdir(name, 0o700, dir_fd=target)
                one = os.open(name, _DIRECTORY, dir_fd=source)
                other = os.open(name, _DIRECTORY, dir_fd=target)
                try:
                    self.folder(one, other, depth + 1, inside)
                finally:
                    os.close(one)
                    os.close(other)
            elif not self._linked(status, target, name, inside):
                self._node(source, target, name, status)
        _settle(os.fstat(source), source, target)

    def merged(self, source: Stack, target: int, depth: int, path: str = "") -> None:
        """Copy one directory of merged layers."""
        if depth > _DEPTH:
            raise LimitError(f"{path[:64]}...: nested too deeply")
        if self._top < 0:
            self._top = target
        for name in source.names():
            place = source.path(name)
            status = os.lstat(place)
            inside = f"{path}/{name}" if path else name
            if stat.S_ISDIR(status.st_mode):
                os.mkdir(name, 0o700, dir_fd=target)
                other = os.open(name, _DIRECTORY, dir_fd=target)
                try:
                    self.merged(source.enter(name), other, depth + 1, inside)
                finally:
                    os.close(other)
            elif not self._linked(status, target, name, inside):
                folder = os.open(os.path.dirname(place), _DIRECTORY)
                try:
                    self._node(folder, target, name, status)
                finally:
                    os.close(folder)
        top = os.open(source.top, _DIRECTORY)
        try:
            _settle(os.fstat(top), top, target)
        finally:
            os.close(top)

    def _linked(self, status: os.stat_result, target: int, name: str, inside: str) -> bool:
        """Make a further name of a file that was copied before."""
        if status.st_nlink < 2:
            return False
        first = self._links.setdefault((status.st_dev, status.st_ino), inside)
        if first == inside:
            return False
        os.link(first, name, src_dir_fd=self._top, dst_dir_fd=target, follow_symlinks=False)
        return True

    def _node(self, source: int, target: int, name: str, status: os.stat_result) -> None:
        mode = status.st_mode
        if stat.S_ISREG(mode):
            one = os.open(name, _READ, dir_fd=source)
            try:
                other = os.open(name, _CREATE, 0o600, dir_fd=target)
                try:
                    self._data(one, other, status)
                    _settle(status, one, other)
                finally:
                    os.close(other)
            finally:
                os.close(one)
            return
        if stat.S_ISLNK(mode):
            os.symlink(os.readlink(name, dir_fd=source), name, dir_fd=target)
        elif stat.S_ISSOCK(mode):
            return
        else:
            os.mknod(name, stat.S_IFMT(mode) | 0o600, status.st_rdev, dir_fd=target)
        _settle(status, f"/proc/thread-self/fd/{source}/{name}", (target, name))

    def _data(self, source: int, target: int, status: os.stat_result) -> None:
        if not status.st_size:
            return
        if self._shares:
            try:
                fcntl.ioctl(target, _FICLONE, source)
                return
            except OSError as error:
                if error.errno not in _CANNOT:
                    raise
                self._shares = False
        os.ftruncate(target, status.st_size)
        if status.st_blocks * 512 >= status.st_size:
            _copy_range(source, target, 0, status.st_size)
            return
        at = 0
        while at < status.st_size:
            try:
                start = os.lseek(source, at, os.SEEK_DATA)
            except OSError as error:
                if error.errno != errno.ENXIO:
                    raise
                return
            at = os.lseek(source, start, os.SEEK_HOLE)
            _copy_range(source, target, start, at)


def _copy_range(source: int, target: int, start: int, end: int) -> None:
    at = start
    while at < end:
        try:
            done = os.copy_file_range(source, target, min(end - at, _COPY_BYTES), at, at)
        except OSError as error:
            if error.errno not in _CANNOT:
                raise
            data = os.pread(source, min(end - at, 1 << 20), at)
            done = os.pwrite(target, data, at)
        if not done:
            return
        at += done


def _settle(status: os.stat_result, source: int | str, target: int | tuple[int, str]) -> None:
    """Give a copy the owner, the attributes, the mode and the time of the original."""
    if isinstance(target, int):
        if os.geteuid() == 0:
            os.fchown(target, status.st_uid, status.st_gid)
        for key in os.listxattr(source):
            if not key.startswith(UNCARRIED) or key.startswith("system.posix_acl"):
                try:
                    os.setxattr(target, key, os.getxattr(source, key))
                except OSError as error:
                    if error.errno not in (errno.EOPNOTSUPP, errno.EPERM):
                        raise
        os.fchmod(target, stat.S_IMODE(status.st_mode))
        os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))
        return
    folder, name = target
    if os.geteuid() == 0:
        os.chown(name, status.st_uid, status.st_gid, dir_fd=folder, follow_symlinks=False)
    if not stat.S_ISLNK(status.st_mode):
        os.chmod(name, stat.S_IMODE(status.st_mode), dir_fd=folder)
    times = (status.st_atime_ns, status.st_mtime_ns)
    os.utime(name, ns=times, dir_fd=folder, follow_symlinks=False)
