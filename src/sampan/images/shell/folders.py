"""The directories of a layer that is being unpacked, open by descriptor.

A path of an entry leads to the descriptor of its directory without resolving it again. No link is
followed unless the layer itself has made it and it stays inside. A directory's time is set when it
is closed, after everything that changes it; so nothing has to be remembered of those behind.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sampan.base.errors import InvalidError, LimitError
from sampan.images.shell import syscalls

__all__ = ["Folder", "Folders", "LayerError"]

_OPEN: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_KEPT: Final = 256
_ALIASES: Final = 4096
_PATH_BYTES: Final = 4096
_DEPTH: Final = 256


class LayerError(InvalidError):
    """A layer that must not be unpacked; the message names the entry."""


@dataclass(slots=True)
class Folder:
    """An open directory, the group that files made in it may inherit, and its final time."""

    fd: int
    path: str
    gid: int
    mtime_ns: int | None = None


def split(name: str) -> list[str]:
    """Return the parts of an entry's path; LayerError or LimitError for one that cannot be."""
    if len(name) > _PATH_BYTES:
        raise LimitError(f"{name[:64]}...: the path is too long")
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise LayerError(f"{name}: leads out of the layer")
    if len(parts) > _DEPTH:
        raise LimitError(f"{name[:64]}...: nested too deeply")
    return parts


class Folders:
    """Open directories by their path in the layer, a bounded number of them."""

    def __init__(
        self,
        root: int,
        lower: Sequence[Path],
        made: Callable[[str], bool],
        *,
        whiteouts: bool = True,
    ) -> None:
        """`lower` are the layers below, the uppermost first: a directory that no entry names is
        made like theirs. `made` tells whether the layer itself has made a path.
        """
        self.root = Folder(root, "", os.fstat(root).st_gid)
        self._open: dict[str, Folder] = {"": self.root}
        self._aliases: dict[str, str] = {}
        self._lower = lower
        self._made = made
        self._whiteouts = whiteouts

    def find(self, front: str) -> Folder:
        """Return the directory of a path as it stands in an entry, made where it is missing."""
        path = self._aliases.get(front)
        if path is None:
            path = "/".join(split(front))
            if len(self._aliases) > _ALIASES:
                self._aliases.clear()
            self._aliases[front] = path
        return self._open.get(path) or self._enter(path)

    def _enter(self, path: str) -> Folder:
        found = self._open.get(path)
        if found is not None:
            return found
        front, _, name = path.rpartition("/")
        if name.startswith(".wh.") and self._whiteouts:
            raise LayerError(f"{path}: a whiteout is no directory")
        parent = self._enter(front)
        try:
            fd = os.open(name, _OPEN, dir_fd=parent.fd)
        except FileNotFoundError:
            return self.make(parent, name, path)
        except OSError as error:
            if error.errno not in (errno.ENOTDIR, errno.ELOOP):
                raise
            return self._through(parent, name, path)
        return self._keep(fd, path, timed=True)

    def _through(self, parent: Folder, name: str, path: str) -> Folder:
        """Go through what is no directory: a link of this layer that stays inside of it."""
        if not self._made(path):
            os.unlink(name, dir_fd=parent.fd)  # of a layer below: this one's directory hides it
            return self.make(parent, name, path)
        try:
            fd = syscalls.openat2(
                self.root.fd, path, os.O_RDONLY | os.O_DIRECTORY, syscalls.BENEATH
            )
        except OSError as error:
            text = f"{path}: a link or file is in the way of a directory"
            raise LayerError(text) from error
        try:
            top = os.readlink(f"/proc/self/fd/{self.root.fd}")
            real = os.readlink(f"/proc/self/fd/{fd}")
        finally:
            os.close(fd)
        return self._enter(real[len(top) :].strip("/"))

    def make(self, parent: Folder, name: str, path: str) -> Folder:
        """Make a directory, with what a layer below has of it if no entry says otherwise."""
        os.mkdir(name, 0o755, dir_fd=parent.fd)
        folder = self._keep(os.open(name, _OPEN, dir_fd=parent.fd), path, timed=False)
        self._copy_lower(folder)
        return folder

    def _copy_lower(self, folder: Folder) -> None:
        for layer in self._lower:
            root = os.open(layer, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                fd = syscalls.openat2(root, folder.path, os.O_PATH, syscalls.NO_SYMLINKS)
            except OSError as error:
                if error.errno == errno.ENOENT:
                    continue
                return
            finally:
                os.close(root)
            status = os.fstat(fd)
            os.close(fd)
            if stat.S_ISDIR(status.st_mode):
                if (status.st_uid, status.st_gid) != (os.geteuid(), os.getegid()):
                    os.fchown(folder.fd, status.st_uid, status.st_gid)
                os.fchmod(folder.fd, stat.S_IMODE(status.st_mode))
                folder.gid, folder.mtime_ns = status.st_gid, status.st_mtime_ns
            return

    def _keep(self, fd: int, path: str, *, timed: bool) -> Folder:
        status = os.fstat(fd)
        folder = Folder(fd, path, status.st_gid, status.st_mtime_ns if timed else None)
        self._open[path] = folder
        return folder

    def trim(self) -> None:
        """Close those opened first when they are many; only while no folder is in use."""
        if len(self._open) > _KEPT:
            for old in [one for one in self._open if one][: _KEPT // 2]:
                self._close(self._open.pop(old))

    def _close(self, folder: Folder) -> None:
        try:
            if folder.mtime_ns is not None:
                os.utime(folder.fd, ns=(folder.mtime_ns, folder.mtime_ns))
        finally:
            os.close(folder.fd)

    def forget(self, path: str) -> None:
        """Close what is at and below a path that is about to become something else."""
        below = path + "/"
        for known in [one for one in self._open if one == path or one.startswith(below)]:
            os.close(self._open.pop(known).fd)

    def close(self, *, abandon: bool = False) -> None:
        """Close all, with their times set unless the layer is given up."""
        while self._open:
            _, folder = self._open.popitem()
            if abandon:
                os.close(folder.fd)
            else:
                self._close(folder)
