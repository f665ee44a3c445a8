"""A file tree of a container as a tar stream, in the shape that `docker cp` and `export` expect."""

from __future__ import annotations

import errno
import os
import stat
import tarfile
from collections.abc import Iterator
from typing import BinaryIO, Final

from sampan.engine.daemon.shell.rootview import mount_of
from sampan.engine.runtime.shell import inside

__all__ = ["TreeWriter", "pseudo_mounts"]

_COPY_BYTES: Final = 256 * 1024
_CAPABILITY: Final = "security.capability"
_XATTR: Final = "SCHILY.xattr."
_GONE: Final = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)
_OPEN: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_PSEUDO: Final = frozenset(
    ("proc", "sysfs", "cgroup", "cgroup2", "devpts", "mqueue", "debugfs", "tracefs", "securityfs")
)


class TreeWriter:
    """Writes entries to a stream. Mounts of the kernel's own file systems are shown empty."""

    def __init__(self, out: BinaryIO, mountinfo: str = "") -> None:
        self._out = out
        self._seen: dict[tuple[int, int], str] = {}
        self._pseudo = pseudo_mounts(mountinfo)

    def tree(self, root_fd: int, path: str, name: str) -> None:
        """Write the file or directory at `path` under `name` ("" for the contents of the root)."""
        parent, _, last = path.rstrip("/").rpartition("/")
        if not last or last in (".", ".."):
            fd = inside.open_path(root_fd, path, os.O_RDONLY | os.O_DIRECTORY)
            try:
                self._header(os.fstat(fd), name + "/", f"/proc/thread-self/fd/{fd}")
                self._children(fd, name)
            finally:
                os.close(fd)
            return
        folder = inside.open_path(root_fd, parent or "/", os.O_RDONLY | os.O_DIRECTORY)
        try:
            self._entry(folder, last, name)
        finally:
            os.close(folder)

    def contents(self, root_fd: int) -> None:
        """Write everything below the root, but not the root itself."""
        fd = inside.open_path(root_fd, "/", os.O_RDONLY | os.O_DIRECTORY)
        try:
            self._children(fd, "")
        finally:
            os.close(fd)

    def end(self) -> None:
        """Write the end of the archive."""
        self._out.write(bytes(2 * tarfile.BLOCKSIZE))

    def _children(self, fd: int, name: str) -> None:
        if mount_of(fd) in self._pseudo:
            return
        for one in sorted(os.listdir(fd)):
            self._entry(fd, one, f"{name}/{one}" if name else one)

    def _entry(self, folder: int, last: str, name: str) -> None:
        """Write one entry; what vanishes while it is looked at is left out."""
        try:
            status = os.stat(last, dir_fd=folder, follow_symlinks=False)
            if stat.S_ISDIR(status.st_mode):
                fd = os.open(last, _OPEN | os.O_DIRECTORY, dir_fd=folder)
            elif stat.S_ISREG(status.st_mode):
                fd = os.open(last, _OPEN, dir_fd=folder)
            else:
                self._special(folder, last, name, status)
                return
        except OSError as error:
            if error.errno in _GONE:
                return
            raise
        try:
            status = os.fstat(fd)
            if stat.S_ISDIR(status.st_mode):
                self._header(status, name + "/", f"/proc/thread-self/fd/{fd}")
                self._children(fd, name)
            elif stat.S_ISREG(status.st_mode):
                self._file(fd, name, status)
        finally:
            os.close(fd)

    def _special(self, folder: int, last: str, name: str, status: os.stat_result) -> None:
        if stat.S_ISSOCK(status.st_mode):
            return
        link = os.readlink(last, dir_fd=folder) if stat.S_ISLNK(status.st_mode) else ""
        self._header(status, name, "", link)

    def _file(self, fd: int, name: str, status: os.stat_result) -> None:
        member = self._header(status, name, f"/proc/thread-self/fd/{fd}")
        if member.type != tarfile.REGTYPE:
            return
        left = status.st_size
        while left:
            data = os.read(fd, min(left, _COPY_BYTES))
            if not data:
                break  # it has shrunk: the header has promised more
            self._out.write(data)
            left -= len(data)
        for piece in _zeros(left + -status.st_size % tarfile.BLOCKSIZE):
            self._out.write(piece)

    def _header(
        self, status: os.stat_result, name: str, attributes: str, link: str = ""
    ) -> tarfile.TarInfo:
        member = tarfile.TarInfo(name)
        pax: dict[str, str] = {}
        member.pax_headers = pax
        member.mode = stat.S_IMODE(status.st_mode)
        member.uid, member.gid, member.mtime = status.st_uid, status.st_gid, int(status.st_mtime)
        member.type, member.linkname = _kind(status.st_mode), link
        if member.type in (tarfile.CHRTYPE, tarfile.BLKTYPE):
            number = status.st_rdev
            member.devmajor, member.devminor = os.major(number), os.minor(number)
        elif member.type == tarfile.REGTYPE:
            member.size = status.st_size
            self._find_link(member, status)
        if attributes and member.type != tarfile.LNKTYPE:
            value = _capability(attributes)
            if value:
                pax[_XATTR + _CAPABILITY] = value
        text = member.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")
        self._out.write(text)
        return member

    def _find_link(self, member: tarfile.TarInfo, status: os.stat_result) -> None:
        if status.st_nlink < 2:
            return
        first = self._seen.setdefault((status.st_dev, status.st_ino), member.name)
        if first != member.name:
            member.type, member.linkname, member.size = tarfile.LNKTYPE, first, 0


def _kind(mode: int) -> bytes:
    kinds = {
        stat.S_IFDIR: tarfile.DIRTYPE,
        stat.S_IFLNK: tarfile.SYMTYPE,
        stat.S_IFIFO: tarfile.FIFOTYPE,
        stat.S_IFCHR: tarfile.CHRTYPE,
        stat.S_IFBLK: tarfile.BLKTYPE,
    }
    return kinds.get(stat.S_IFMT(mode), tarfile.REGTYPE)


def _capability(path: str) -> str:
    """Return the file capabilities; they are the one attribute that travels, as with Docker."""
    try:
        return os.getxattr(path, _CAPABILITY).decode("utf-8", "surrogateescape")
    except OSError:
        return ""


def _zeros(count: int) -> Iterator[bytes]:
    while count > 0:
        piece = min(count, _COPY_BYTES)
        yield bytes(piece)
        count -= piece


def pseudo_mounts(mountinfo: str) -> frozenset[int]:
    """Return the ids of the mounts whose files are the kernel's."""
    found = set()
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        if after.split()[0] in _PSEUDO:
            found.add(int(before.split()[0]))
    return frozenset(found)
