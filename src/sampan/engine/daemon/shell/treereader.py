"""A tar stream unpacked below a directory of a container's root, as `docker cp` does it.

Every parent is resolved by openat2 inside the root, every entry is made relative to a descriptor of
its parent and never through a link of its own name: whatever links the container or the archive
contain, nothing outside the root is touched.
"""

from __future__ import annotations

import contextlib
import errno
import os
import posixpath
import stat
import tarfile
from collections.abc import Iterator
from typing import BinaryIO, Final

from sampan.base.errors import InvalidError
from sampan.engine.runtime.shell import inside

__all__ = ["TreeReader"]

_COPY_BYTES: Final = 256 * 1024
_XATTR: Final = "SCHILY.xattr."
_FORBIDDEN_XATTRS: Final = ("trusted.", "system.", "security.selinux")
_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY
_MOST_DEPTH: Final = 256


class TreeReader:
    """Unpacks one archive below `path`."""

    def __init__(
        self,
        root_fd: int,
        path: str,
        *,
        keep_kinds: bool = False,
        owner: tuple[int, int] | None = None,
    ) -> None:
        """`keep_kinds` refuses a file in place of a directory and the reverse; `owner` is who all
        of it shall belong to, in place of the archive's own ids.
        """
        self._root_fd = root_fd
        self._path = path.rstrip("/")
        self._keep_kinds = keep_kinds
        self._owner = owner
        self._times: list[tuple[str, int]] = []

    def unpack(self, source: BinaryIO) -> None:
        """Take the whole archive, plain or compressed; InvalidError for what is none."""
        try:
            with tarfile.open(fileobj=source, mode="r|*", bufsize=_COPY_BYTES) as tar:
                for member in tar:
                    self._place(tar, member)
                    tar.members.clear()  # type: ignore[attr-defined]  # would only grow
        except (tarfile.TarError, EOFError) as error:
            if str(error) == "empty file":
                return
            raise InvalidError(f"Error processing tar file: {error}") from error
        for name, time_ns in reversed(self._times):
            with self._parent(name) as (parent, last), contextlib.suppress(OSError):
                os.utime(last, ns=(time_ns, time_ns), dir_fd=parent, follow_symlinks=False)

    @contextlib.contextmanager
    def _parent(self, name: str) -> Iterator[tuple[int, str]]:
        """Open the directory of an entry, made where it is missing; yields it and the last part."""
        folder, _, last = name.rpartition("/")
        path = f"{self._path}/{folder}"
        try:
            fd = inside.open_path(self._root_fd, path, _DIRECTORY)
        except FileNotFoundError:
            os.close(inside.make_directory(self._root_fd, path))
            fd = inside.open_path(self._root_fd, path, _DIRECTORY)
        try:
            yield fd, last
        finally:
            os.close(fd)

    def _place(self, tar: tarfile.TarFile, member: tarfile.TarInfo) -> None:
        name = _inside(member.name)
        if not name:
            return  # the directory itself keeps what it is
        with self._parent(name) as (parent, last):
            if self._make_room(parent, last, member, name):
                self._make(tar, member, parent, last)
            if member.islnk():
                return
            self._own(parent, last, member)
            if member.isdir():
                self._times.append((name, int(member.mtime) * 1_000_000_000))

    def _make_room(self, parent: int, last: str, member: tarfile.TarInfo, name: str) -> bool:
        """Remove what is in the way; False when a directory is there and may stay."""
        try:
            found = os.stat(last, dir_fd=parent, follow_symlinks=False)
        except FileNotFoundError:
            return True
        directory = stat.S_ISDIR(found.st_mode)
        if directory and member.isdir():
            return False
        if self._keep_kinds and directory:
            path = f"{self._path}/{name}"
            raise InvalidError(f'cannot overwrite directory "{path}" with non-directory "{name}"')
        if self._keep_kinds and member.isdir():
            path = f"{self._path}/{name}"
            raise InvalidError(f'cannot overwrite non-directory "{path}" with directory "{name}"')
        if directory:
            _remove_tree(parent, last)
        else:
            os.unlink(last, dir_fd=parent)
        return True

    def _make(self, tar: tarfile.TarFile, member: tarfile.TarInfo, parent: int, last: str) -> None:
        if member.isdir():
            os.mkdir(last, 0o755, dir_fd=parent)
        elif member.isreg():
            self._write(tar, member, parent, last)
        elif member.issym():
            os.symlink(member.linkname, last, dir_fd=parent)
        elif member.islnk():
            self._link(member, parent, last)
        elif member.isfifo():
            os.mkfifo(last, dir_fd=parent)
        elif member.ischr() or member.isblk():
            kind = stat.S_IFCHR if member.ischr() else stat.S_IFBLK
            number = os.makedev(member.devmajor, member.devminor)
            if number == 0 and member.ischr():
                raise InvalidError(f"{member.name}: overlayfs takes this device for a deletion")
            os.mknod(last, kind, number, dir_fd=parent)
        else:
            raise InvalidError(f"unhandled tar header type {ord(member.type)}")

    def _write(self, tar: tarfile.TarFile, member: tarfile.TarInfo, parent: int, last: str) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        source = tar.extractfile(member)
        assert source is not None
        fd = os.open(last, flags, 0o600, dir_fd=parent)
        try:
            while data := source.read(_COPY_BYTES):
                view = memoryview(data)
                while view:
                    view = view[os.write(fd, view) :]
        finally:
            os.close(fd)

    def _link(self, member: tarfile.TarInfo, parent: int, last: str) -> None:
        target = _inside(member.linkname)
        if not target:
            raise InvalidError(f'invalid hardlink "{member.linkname}" -> "{member.name}"')
        with self._parent(target) as (folder, first):
            os.link(first, last, src_dir_fd=folder, dst_dir_fd=parent, follow_symlinks=False)

    def _own(self, parent: int, last: str, member: tarfile.TarInfo) -> None:
        """Set owner, mode, attributes and time."""
        uid, gid = self._owner or (member.uid, member.gid)
        os.chown(last, uid, gid, dir_fd=parent, follow_symlinks=False)
        if not member.issym():
            # Made or checked just now, yet the container may have exchanged it since.
            fd = os.open(last, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
            try:
                if not stat.S_ISLNK(os.fstat(fd).st_mode):
                    os.chmod(f"/proc/thread-self/fd/{fd}", member.mode & 0o7777)
                    _set_attributes(fd, member)
            finally:
                os.close(fd)
        time_ns = int(member.mtime) * 1_000_000_000
        os.utime(last, ns=(time_ns, time_ns), dir_fd=parent, follow_symlinks=False)


def _set_attributes(fd: int, member: tarfile.TarInfo) -> None:
    for key, value in member.pax_headers.items():
        name = key.removeprefix(_XATTR)
        if name == key or name.startswith(_FORBIDDEN_XATTRS):
            continue
        data = value.encode("utf-8", "surrogateescape")
        try:
            os.setxattr(f"/proc/thread-self/fd/{fd}", name, data)
        except OSError as error:
            if error.errno not in (errno.ENOTSUP, errno.EPERM):
                raise


def _inside(name: str) -> str:
    """Return an entry's path below the directory; `..` cannot lead out of it."""
    path = posixpath.normpath("/" + name).lstrip("/")
    if path.count("/") > _MOST_DEPTH:
        raise InvalidError(f"{name[:64]}: nested too deeply")
    return path


def _remove_tree(parent: int, name: str) -> None:
    fd = os.open(name, _DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
    try:
        for one in os.listdir(fd):
            if stat.S_ISDIR(os.stat(one, dir_fd=fd, follow_symlinks=False).st_mode):
                _remove_tree(fd, one)
            else:
                os.unlink(one, dir_fd=fd)
    finally:
        os.close(fd)
    os.rmdir(name, dir_fd=parent)
