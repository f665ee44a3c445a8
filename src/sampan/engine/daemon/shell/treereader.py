"""A tar stream unpacked below a directory of a container's root, as `docker cp` does it.

Every parent is resolved by openat2 inside the root, every entry is made relative to a descriptor of
its parent and never through a link of its own name: whatever links the container or the archive
contain, nothing outside the root is touched.
"""

from __future__ import annotations

import contextlib
import os
import posixpath
import stat
from collections.abc import Callable, Iterator
from typing import BinaryIO, Final

from sampan.base.errors import InvalidError
from sampan.engine.runtime.shell import inside
from sampan.images.core.tar import Entry, Kind, TarError
from sampan.images.core.tarreader import TarReader
from sampan.images.shell import nodes
from sampan.images.shell.compression import DAMAGED
from sampan.images.shell.streamsource import StreamSource

__all__ = ["TreeReader"]

_FORBIDDEN_XATTRS: Final = ("trusted.", "system.", "security.selinux", "user.overlay.")
_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY
_CREATE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
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
        owners: Callable[[int, int], tuple[int, int]] | None = None,
    ) -> None:
        """`keep_kinds` refuses a file in place of a directory and the reverse; `owner` is who all
        of it shall belong to, in place of the archive's own ids; `owners` returns the ids to set
        for those.
        """
        self._root_fd = root_fd
        self._path = path.rstrip("/")
        self._keep_kinds = keep_kinds
        self._owner = owner
        self._owners = owners
        self._times: list[tuple[str, int]] = []

    def unpack(self, source: BinaryIO) -> None:
        """Take the whole archive, plain or compressed; InvalidError for what is none."""
        stream = StreamSource(source)
        if stream.empty:
            return
        reader = TarReader(stream)
        try:
            while (entry := reader.next()) is not None:
                self._place(reader, entry)
        except TarError as error:
            raise InvalidError(f"Error processing tar file: {error}") from error
        except DAMAGED as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise
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

    def _place(self, reader: TarReader, entry: Entry) -> None:
        name = _inside(entry.name)
        if not name:
            return  # the directory itself keeps what it is
        with self._parent(name) as (parent, last):
            if self._make_room(parent, last, entry, name):
                self._make(reader, entry, parent, last)
            if entry.kind is Kind.HARD_LINK:
                return
            self._own(parent, last, entry)
            if entry.kind is Kind.DIRECTORY:
                self._times.append((name, entry.mtime_ns))

    def _make_room(self, parent: int, last: str, entry: Entry, name: str) -> bool:
        """Remove what is in the way; False when a directory is there and may stay."""
        try:
            found = os.stat(last, dir_fd=parent, follow_symlinks=False)
        except FileNotFoundError:
            return True
        directory = stat.S_ISDIR(found.st_mode)
        if directory and entry.kind is Kind.DIRECTORY:
            return False
        if self._keep_kinds and directory:
            path = f"{self._path}/{name}"
            raise InvalidError(f'cannot overwrite directory "{path}" with non-directory "{name}"')
        if self._keep_kinds and entry.kind is Kind.DIRECTORY:
            path = f"{self._path}/{name}"
            raise InvalidError(f'cannot overwrite non-directory "{path}" with directory "{name}"')
        nodes.remove(parent, last)
        return True

    def _make(self, reader: TarReader, entry: Entry, parent: int, last: str) -> None:
        match entry.kind:
            case Kind.DIRECTORY:
                os.mkdir(last, 0o755, dir_fd=parent)
            case Kind.FILE:
                fd = os.open(last, _CREATE, 0o600, dir_fd=parent)
                try:
                    nodes.write_data(fd, entry, reader.data())
                finally:
                    os.close(fd)
            case Kind.HARD_LINK:
                self._link(entry, parent, last)
            case _:
                nodes.make_special(entry, parent, last)

    def _link(self, entry: Entry, parent: int, last: str) -> None:
        target = _inside(entry.link)
        if not target:
            raise InvalidError(f'invalid hardlink "{entry.link}" -> "{entry.name}"')
        with self._parent(target) as (folder, first):
            os.link(first, last, src_dir_fd=folder, dst_dir_fd=parent, follow_symlinks=False)

    def _own(self, parent: int, last: str, entry: Entry) -> None:
        """Set owner, mode, attributes and time."""
        uid, gid = self._owner or (entry.uid, entry.gid)
        if self._owners is not None:
            uid, gid = self._owners(uid, gid)
        os.chown(last, uid, gid, dir_fd=parent, follow_symlinks=False)
        if entry.kind is not Kind.SYMLINK:
            # Made or checked just now, yet the container may have exchanged it since.
            fd = os.open(last, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
            try:
                if not stat.S_ISLNK(os.fstat(fd).st_mode):
                    path = f"/proc/thread-self/fd/{fd}"
                    os.chmod(path, entry.mode)
                    # The path leads through a link of procfs to just that file.
                    nodes.set_attributes(entry, path, refused=_FORBIDDEN_XATTRS, follow=True)
            finally:
                os.close(fd)
        nodes.set_times(entry, parent, last)


def _inside(name: str) -> str:
    """Return an entry's path below the directory; `..` cannot lead out of it."""
    path = posixpath.normpath("/" + name).lstrip("/")
    if path.count("/") > _MOST_DEPTH:
        raise InvalidError(f"{name[:64]}: nested too deeply")
    return path
