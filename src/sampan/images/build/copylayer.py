"""The layer that COPY or ADD makes, written as a tar upon a root that is only read.

Where a path of the target leads is decided in the merged root; what is missing on the way is made.
Source: the Dockerfile reference, "COPY"; conflicts are refused in BuildKit's words.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sampan.base.errors import InvalidError
from sampan.images.build.filetree import FileTree, Found
from sampan.images.build.selection import Chosen, Selection
from sampan.images.core.build.filemode import FileMode
from sampan.images.core.tar import Entry, Kind, header, padding
from sampan.images.shell.packing import Output, all_attributes

__all__ = ["CopyLayer", "Placement"]

_CHUNK_BYTES: Final = 1 << 20
_KINDS: Final = {
    stat.S_IFREG: Kind.FILE,
    stat.S_IFDIR: Kind.DIRECTORY,
    stat.S_IFLNK: Kind.SYMLINK,
    stat.S_IFIFO: Kind.FIFO,
    stat.S_IFCHR: Kind.CHARACTER,
    stat.S_IFBLK: Kind.BLOCK,
}


@dataclass(frozen=True, slots=True)
class Placement:
    """Where files go and what becomes of them. Times are nanoseconds since 1970.

    `owner` is given to all files; without it those of a context are root's, others keep theirs.
    `latest_ns` bounds the times, for output that can be reproduced.
    """

    target: str
    owner: tuple[int, int] | None = None
    mode: FileMode | None = None
    parents: bool = False
    now_ns: int = 0
    latest_ns: int | None = None


class CopyLayer:
    """Writes one layer upon `root`; call `end` when all is in it."""

    def __init__(self, root: FileTree, out: Output, placement: Placement) -> None:
        self._root = root
        self._out = out
        self._place = placement
        self._made: set[str] = set()

    def end(self) -> None:
        """Write the end of the tar."""
        self._out.write(bytes(1024))

    def selection(self, selection: Selection, *, keep_owner: bool) -> None:
        """Copy what one source stands for."""
        if selection.directory:
            path = self._place.target
            if self._place.parents and selection.path:
                path = f"{path.rstrip('/')}/{selection.path}"
            self._contents(self.directory(path), selection.entries(), keep_owner)
            return
        name = selection.path if self._place.parents else selection.base
        for one in selection.entries():
            self._node(self._file_target(name), one, keep_owner)

    def text(
        self, name: str, content: bytes, mode: int = 0o644, mtime_ns: int | None = None
    ) -> None:
        """Write a file that is no file yet."""
        path = self._file_target(name)
        entry = Entry(path, mode=mode, size=len(content))
        entry.mtime_ns = self._place.now_ns if mtime_ns is None else mtime_ns
        self._emit(entry, None)
        self._out.write(content + bytes(padding(len(content))))

    def file(self, name: str, path: Path, mode: int, mtime_ns: int) -> None:
        """Write a file that comes from elsewhere."""
        size = path.stat().st_size
        self._emit(Entry(self._file_target(name), mode=mode, size=size, mtime_ns=mtime_ns), None)
        self._data(str(path), size)

    def entry(self, entry: Entry, data: Iterator[memoryview]) -> None:
        """Write an entry of an archive below the target; InvalidError when it would lead out."""
        parts = [part for part in entry.name.split("/") if part not in ("", ".")]
        if ".." in parts or any(part.startswith(".wh.") for part in parts):
            raise InvalidError(f"the archive has an entry that must not be: {entry.name!r}")
        folder = self.directory(self._place.target)
        if not parts:
            return
        for part in parts[:-1]:
            folder = self._child(folder, part)
        entry.name = f"{folder}/{parts[-1]}" if folder else parts[-1]
        if entry.kind is Kind.HARD_LINK:
            entry.link = f"{self.directory(self._place.target)}/{entry.link}".strip("/")
        if entry.kind is Kind.DIRECTORY:
            self._made.add(entry.name)
        self._out.write(header(entry))
        size = 0
        for piece in data:
            self._out.write(bytes(piece))
            size += len(piece)
        self._out.write(bytes(padding(size)))

    def _at(self, path: str, *, follow: bool = True) -> Found:
        """Return what the root has at a path; InvalidError when a file is on the way to it."""
        try:
            return self._root.find(path, follow=follow)
        except OSError as error:
            if error.errno == errno.ENOTDIR:
                folder = path.rpartition("/")[0]
                raise InvalidError(f"cannot copy to non-directory: /{folder}") from None
            raise InvalidError(f"/{path}: {error.strerror}") from None

    def directory(self, path: str) -> str:
        """Return where a directory of the root really is, made with its parents if missing."""
        here = ""
        for part in path.split("/"):
            if part not in ("", "."):
                here = self._child(here, part)
        return here

    def _child(self, folder: str, name: str) -> str:
        path = f"{folder}/{name}" if folder else name
        if path in self._made:
            return path
        found = self._at(path)
        if found.is_directory:
            return found.path
        if found.status is not None:
            raise InvalidError(f"cannot copy to non-directory: /{path}")
        self._make(found.path)
        return found.path

    def _make(self, path: str) -> None:
        """Make a directory that is missing; a dangling link may have led here."""
        parent = path.rpartition("/")[0]
        if parent and parent not in self._made and not self._at(parent).is_directory:
            self._make(parent)
        self._made.add(path)
        entry = Entry(path, Kind.DIRECTORY, 0o755, mtime_ns=self._place.now_ns)
        self._emit(entry, None)

    def _file_target(self, name: str) -> str:
        """Return where a file goes: below the target when that is a directory."""
        target = self._place.target
        inside = target.strip("/")
        found = self._at(inside) if inside else None
        if target.endswith("/") or not inside or inside in self._made or self._place.parents:
            below = True
        else:
            below = found is not None and found.is_directory
        if below:
            folder = self.directory(target)
            *parents, last = name.split("/")
            for part in parents:
                folder = self._child(folder, part)
            return f"{folder}/{last}" if folder else last
        folder = self.directory(inside.rpartition("/")[0])
        at = self._at(f"{folder}/{inside.rpartition('/')[2]}")
        return at.path

    def _contents(self, folder: str, entries: Iterator[Chosen], keep_owner: bool) -> None:
        """Copy what is in a directory into one of the root."""
        for one in entries:
            path = f"{folder}/{one.name}" if folder else one.name
            if one.is_directory:
                found = self._at(path, follow=False)
                if path in self._made or found.is_directory:
                    continue
                if found.status is not None:
                    raise InvalidError(f"cannot copy to non-directory: /{path}")
                self._made.add(path)
            self._node(path, one, keep_owner)

    def _node(self, path: str, one: Chosen, keep_owner: bool) -> None:
        status = one.status
        kind = _KINDS[stat.S_IFMT(status.st_mode)]
        if kind is not Kind.DIRECTORY and self._at(path, follow=False).is_directory:
            raise InvalidError(f"cannot replace directory /{path} with a file")
        entry = Entry(path, kind, stat.S_IMODE(status.st_mode), mtime_ns=status.st_mtime_ns)
        if keep_owner:
            entry.uid, entry.gid = status.st_uid, status.st_gid
            entry.xattrs = all_attributes(one.real)
        if kind is Kind.SYMLINK:
            entry.link = os.readlink(one.real)
        elif kind in (Kind.CHARACTER, Kind.BLOCK):
            entry.device = (os.major(status.st_rdev), os.minor(status.st_rdev))
        elif kind is Kind.FILE:
            entry.size = status.st_size
        self._emit(entry, one)

    def _emit(self, entry: Entry, one: Chosen | None) -> None:
        place = self._place
        if place.owner is not None:
            entry.uid, entry.gid = place.owner
        if place.mode is not None and entry.kind is not Kind.SYMLINK:
            entry.mode = place.mode.apply(entry.mode, directory=entry.kind is Kind.DIRECTORY)
        if place.latest_ns is not None:
            entry.mtime_ns = min(entry.mtime_ns, place.latest_ns)
        self._out.write(header(entry))
        if one is not None and entry.kind is Kind.FILE:
            self._data(one.real, entry.size)

    def _data(self, path: str, size: int) -> None:
        """Write exactly `size` bytes of a file, whatever has become of it meanwhile."""
        left = size
        with open(path, "rb", buffering=0) as file:
            while left and (data := file.read(min(left, _CHUNK_BYTES))):
                self._out.write(data)
                left -= len(data)
        left += padding(size)
        while left:
            piece = min(left, _CHUNK_BYTES)
            self._out.write(bytes(piece))
            left -= piece
