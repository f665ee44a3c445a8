"""Placing a layer's entries: in the form that overlayfs reads, or into a copy of what is below.

A whiteout and an opaque directory hide what is below this layer and nothing of the layer itself,
in whatever order the entries come.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sampan.images.core.tar import Entry, Kind
from sampan.images.core.tarreader import TarReader
from sampan.images.shell import nodes
from sampan.images.shell.folders import Folder, Folders, LayerError, split

__all__ = ["Form", "Unpacker"]

_WHITEOUT: Final = ".wh."
_OPAQUE: Final = ".wh..wh..opq"
_AUFS: Final = ".wh..wh."
_CREATE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_DEFAULT_ACL: Final = "system.posix_acl_default"


@dataclass(frozen=True, slots=True)
class Form:
    """What an unpacked layer looks like.

    `merged`: the directory holds a copy of the layers below, and deletions are carried out.
    Otherwise it is empty before, and deletions become what overlayfs reads.
    """

    merged: bool = False
    lower: Sequence[Path] = ()
    """The layers below, the uppermost first; for overlays only."""

    devices: bool = True
    whiteouts: bool = True
    """Whether names that begin with `.wh.` mean deletions; otherwise they are names as any."""

    opaque: str = "trusted.overlay.opaque"
    """The attribute by which overlayfs knows an opaque directory."""


class Unpacker:
    """Places the entries of one layer below a directory. `size_bytes` adds up its files."""

    def __init__(self, target: Path, form: Form) -> None:
        self._form = form
        self._uid, self._gid = os.geteuid(), os.getegid()
        self._umask = _umask()
        # Of a merged layer every path that it has made: deletions must spare them.
        self._made: set[str] | None = set() if form.merged else None
        self._late: list[tuple[str, bytes]] = []
        self.size_bytes = 0
        root = os.open(target, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.removexattr(root, _DEFAULT_ACL)
        except OSError:
            pass
        self._folders = Folders(root, form.lower, self._is_made, whiteouts=form.whiteouts)

    def _is_made(self, path: str) -> bool:
        return self._made is None or path in self._made

    def place(self, reader: TarReader, entry: Entry) -> None:
        """Put one entry where it belongs."""
        self._folders.trim()
        if len(entry.name) > 4000:
            split(entry.name)
        name = entry.name.rstrip("/")
        front, _, last = name.rpartition("/")
        if last in ("", ".", ".."):
            parts = split(entry.name)
            if not parts:
                self._place_root(entry)
                return
            front, last = "/".join(parts[:-1]), parts[-1]
        if last.startswith(_WHITEOUT) and self._form.whiteouts:
            self._hide(front, last, entry.name)
            return
        if front.startswith(_AUFS) and self._form.whiteouts:
            return
        folder = self._folders.find(front)
        match entry.kind:
            case Kind.FILE:
                self._file(reader, entry, folder, last)
            case Kind.DIRECTORY:
                self._directory(entry, folder, last)
            case Kind.HARD_LINK:
                self._link(entry, folder, last)
            case _:
                self._special(entry, folder, last)
        if self._made is not None:
            self._note(f"{folder.path}/{last}" if folder.path else last)

    def _note(self, path: str) -> None:
        """Remember a path and those above it."""
        assert self._made is not None
        while path and path not in self._made:
            self._made.add(path)
            path = path.rpartition("/")[0]

    def _place_root(self, entry: Entry) -> None:
        if entry.kind is not Kind.DIRECTORY:
            raise LayerError(f"{entry.name or '(no name)'}: the root must be a directory")
        self._settle_directory(entry, self._folders.root)

    def _file(self, reader: TarReader, entry: Entry, folder: Folder, name: str) -> None:
        mode = entry.mode
        try:
            fd = os.open(name, _CREATE, mode & 0o777, dir_fd=folder.fd)
        except FileExistsError:
            self._replace(folder, name)
            fd = os.open(name, _CREATE, mode & 0o777, dir_fd=folder.fd)
        try:
            if entry.size or entry.full_size:
                nodes.write_data(fd, entry, reader.data())
                self.size_bytes += entry.full_size
            owned = entry.uid == self._uid and entry.gid == self._gid == folder.gid
            if not owned and self._uid == 0:
                os.fchown(fd, entry.uid, entry.gid)
            # Behind the owner: a change of that one takes the bits away.
            if mode & self._umask or mode & 0o7000:
                os.fchmod(fd, mode)
            if entry.xattrs:
                self._attributes(entry, fd)
            os.utime(fd, ns=(entry.mtime_ns, entry.mtime_ns))
        finally:
            os.close(fd)

    def _attributes(self, entry: Entry, at: int | str) -> None:
        for key in entry.xattrs:
            if nodes.owned_by_overlay(key):
                raise LayerError(f"{entry.name}: extended attribute {key} is overlayfs's own")
        nodes.set_attributes(entry, at, refused=(_DEFAULT_ACL,))

    def _replace(self, folder: Folder, name: str) -> bool:
        """Remove what has the name; returns whether it hid a layer below."""
        status = os.stat(name, dir_fd=folder.fd, follow_symlinks=False)
        path = f"{folder.path}/{name}" if folder.path else name
        self._uncount(folder.fd, name, path)
        if stat.S_ISDIR(status.st_mode):
            self._folders.forget(path)
        nodes.remove(folder.fd, name)
        return not stat.S_ISDIR(status.st_mode)

    def _uncount(self, parent: int, name: str, path: str) -> None:
        """Take the sizes of what this layer had made, and now replaces, off the sum."""
        status = os.stat(name, dir_fd=parent, follow_symlinks=False)
        if not self._is_made(path):
            return
        if stat.S_ISREG(status.st_mode) and status.st_nlink == 1:
            self.size_bytes -= status.st_size
        elif stat.S_ISDIR(status.st_mode):
            fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
            try:
                for below in os.listdir(fd):
                    self._uncount(fd, below, f"{path}/{below}")
            finally:
                os.close(fd)

    def _directory(self, entry: Entry, parent: Folder, name: str) -> None:
        path = f"{parent.path}/{name}" if parent.path else name
        try:
            folder = self._folders.make(parent, name, path)
        except FileExistsError:
            status = os.stat(name, dir_fd=parent.fd, follow_symlinks=False)
            if stat.S_ISDIR(status.st_mode):
                folder = self._folders.find(path)
            else:
                hid = self._replace(parent, name)
                folder = self._folders.make(parent, name, path)
                if hid and self._made is None:
                    os.setxattr(folder.fd, self._form.opaque, b"y")
        self._settle_directory(entry, folder)

    def _settle_directory(self, entry: Entry, folder: Folder) -> None:
        status = os.fstat(folder.fd)
        if (status.st_uid, status.st_gid) != (entry.uid, entry.gid) and self._uid == 0:
            os.fchown(folder.fd, entry.uid, entry.gid)
            folder.gid = entry.gid
        if stat.S_IMODE(os.fstat(folder.fd).st_mode) != entry.mode:
            os.fchmod(folder.fd, entry.mode)
        if self._form.merged:
            nodes.clear_attributes(folder.fd)
        if entry.xattrs:
            self._attributes(entry, folder.fd)
            if _DEFAULT_ACL in entry.xattrs:
                # Last of all, or what is made below would inherit it.
                self._late.append((folder.path, entry.xattrs[_DEFAULT_ACL]))
        folder.mtime_ns = entry.mtime_ns

    def _special(self, entry: Entry, folder: Folder, name: str) -> None:
        if entry.kind in (Kind.CHARACTER, Kind.BLOCK) and not self._form.devices:
            raise LayerError(f"{entry.name}: device nodes are not allowed here")
        try:
            nodes.make_special(entry, folder.fd, name)
        except FileExistsError:
            self._replace(folder, name)
            nodes.make_special(entry, folder.fd, name)
        if self._uid == 0:
            os.chown(name, entry.uid, entry.gid, dir_fd=folder.fd, follow_symlinks=False)
        if entry.kind is not Kind.SYMLINK:
            os.chmod(name, entry.mode, dir_fd=folder.fd)
        if entry.xattrs:
            self._attributes(entry, f"/proc/self/fd/{folder.fd}/{name}")
        nodes.set_times(entry, folder.fd, name)

    def _link(self, entry: Entry, folder: Folder, name: str) -> None:
        parts = split(entry.link)
        if not parts:
            raise LayerError(f"{entry.name}: a hard link to the root")
        last = parts[-1]
        if last.startswith(_WHITEOUT) and self._form.whiteouts:
            raise LayerError(f"{entry.name}: a hard link to a whiteout")
        source = self._folders.find("/".join(parts[:-1]))
        if (source.path, last) == (folder.path, name):
            raise LayerError(f"{entry.name}: a hard link to itself")
        try:
            status = os.stat(last, dir_fd=source.fd, follow_symlinks=False)
            if stat.S_ISCHR(status.st_mode) and status.st_rdev == 0:
                raise LayerError(f"{entry.name}: a hard link to a whiteout")
            self._make_link(source, last, folder, name)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
                raise
            text = f"{entry.name}: hard link to {entry.link}: {error.strerror}"
            raise LayerError(text) from error

    def _make_link(self, source: Folder, last: str, folder: Folder, name: str) -> None:
        try:
            os.link(last, name, src_dir_fd=source.fd, dst_dir_fd=folder.fd, follow_symlinks=False)
        except FileExistsError:
            self._replace(folder, name)
            os.link(last, name, src_dir_fd=source.fd, dst_dir_fd=folder.fd, follow_symlinks=False)

    def _hide(self, front: str, last: str, name: str) -> None:
        """Carry out a whiteout."""
        if last == _OPAQUE:
            folder = self._folders.find(front)
            if self._made is None:
                os.setxattr(folder.fd, self._form.opaque, b"y")
            else:
                self._clear(folder)
                self._note(folder.path)
            return
        if last.startswith(_AUFS):
            return
        hidden = last.removeprefix(_WHITEOUT)
        if hidden in ("", ".", ".."):
            raise LayerError(f"{name}: a whiteout of nothing")
        folder = self._folders.find(front)
        if self._made is None:
            self._hide_in_overlay(folder, hidden)
        else:
            self._remove_lower(folder, hidden)
            self._note(folder.path)

    def _hide_in_overlay(self, folder: Folder, name: str) -> None:
        try:
            os.mknod(name, stat.S_IFCHR, 0, dir_fd=folder.fd)
        except FileExistsError:
            # The layer has it anew; as a directory it must not show what is below.
            status = os.stat(name, dir_fd=folder.fd, follow_symlinks=False)
            if stat.S_ISDIR(status.st_mode):
                path = f"{folder.path}/{name}" if folder.path else name
                os.setxattr(self._folders.find(path).fd, self._form.opaque, b"y")

    def _remove_lower(self, folder: Folder, name: str) -> None:
        """Remove what a layer below has of a name, and keep what this one has."""
        assert self._made is not None
        path = f"{folder.path}/{name}" if folder.path else name
        if path not in self._made:
            self._folders.forget(path)
            nodes.remove(folder.fd, name)
            return
        status = os.stat(name, dir_fd=folder.fd, follow_symlinks=False)
        if stat.S_ISDIR(status.st_mode):
            self._clear(self._folders.find(path))

    def _clear(self, folder: Folder) -> None:
        path = folder.path
        for name in os.listdir(folder.fd):
            self._folders.trim()
            # Looked up anew each time: going deeper may have closed it.
            self._remove_lower(self._folders.find(path), name)

    def finish(self) -> None:
        """Set what had to wait until everything was there."""
        for path, acl in self._late:
            entry = Entry(path, xattrs={_DEFAULT_ACL: acl})
            nodes.set_attributes(entry, self._folders.find(path).fd)
        self._folders.close()

    def abandon(self) -> None:
        """Close everything; the caller removes the directory."""
        self._folders.close(abandon=True)


def _umask() -> int:
    with open("/proc/thread-self/status") as lines:
        for line in lines:
            if line.startswith("Umask:"):
                return int(line.split()[1], 8)
    return 0o777
