"""What a container has changed: `docker diff`, and the sizes and layers that follow from it.

As Docker does it: nodes are compared by kind, mode, owner, device and capabilities, files also by
size and time. A directory is changed when something in it is.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from sampan.base.errors import LimitError
from sampan.images.shell.packing import GONE, OPEN, TarWriter, capability
from sampan.images.shell.stack import Stack, is_opaque, is_whiteout

__all__ = ["Change", "Usage", "changed_usage", "changes", "tree_usage", "write_changes"]

ADDED, MODIFIED, DELETED = 1, 0, 2
_DEPTH = 400
_SECOND_NS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Change:
    """A path of the writable layer that differs: `kind` 0 modified, 1 added, 2 deleted."""

    path: str
    kind: int


@dataclass(frozen=True, slots=True)
class Usage:
    """Disk space of a directory tree."""

    size_bytes: int
    inodes: int


def changes(own: Path, layers: Sequence[Path], *, merged: bool) -> list[Change]:
    """Return what differs from the layers below, in order of the paths; blocks.

    `own` holds the container's own files in overlayfs's form, or all files when `merged`.
    """
    fd = os.open(own, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        found: list[Change] = []
        _Comparison(found, merged).folder(fd, "", Stack.of(layers))
    finally:
        os.close(fd)
    return sorted(found, key=lambda change: change.path)


class _Comparison:
    def __init__(self, found: list[Change], merged: bool) -> None:
        self._found = found
        self._merged = merged

    def folder(self, fd: int, path: str, below: Stack) -> None:
        """Compare what is in a directory."""
        if path.count("/") > _DEPTH:
            raise LimitError(f"{path[:64]}...: nested too deeply")
        names = set(os.listdir(fd))
        for name in names:
            try:
                self._node(fd, name, f"{path}/{name}", below)
            except OSError as error:
                if error.errno not in GONE:
                    raise
        if self._merged or (path and is_opaque(fd)):
            gone = (name for name in below.names() if name not in names)
            self._found += [Change(f"{path}/{name}", DELETED) for name in gone]

    def _node(self, parent: int, name: str, path: str, below: Stack) -> None:
        status = os.stat(name, dir_fd=parent, follow_symlinks=False)
        before = below.stat(name)
        if not self._merged and is_whiteout(status):
            if before is not None:
                self._found.append(Change(path, DELETED))
            return
        count = len(self._found)
        place = f"/proc/thread-self/fd/{parent}/{name}"
        said = True
        if before is None:
            self._found.append(Change(path, ADDED))
        elif _differs(status, before) or _other_capability(status, place, below.path(name)):
            self._found.append(Change(path, MODIFIED))
        else:
            said = False
        if stat.S_ISDIR(status.st_mode):
            fd = os.open(name, OPEN | os.O_DIRECTORY, dir_fd=parent)
            try:
                self.folder(fd, path, below.enter(name))
            finally:
                os.close(fd)
            if len(self._found) > count and not said:
                self._found.append(Change(path, MODIFIED))


def _differs(one: os.stat_result, other: os.stat_result) -> bool:
    if (one.st_mode, one.st_uid, one.st_gid) != (other.st_mode, other.st_uid, other.st_gid):
        return True
    if stat.S_ISDIR(one.st_mode):
        return False
    if one.st_size != other.st_size or one.st_rdev != other.st_rdev:
        return True
    # A time without a fraction has come through something that could not keep it.
    if one.st_mtime_ns % _SECOND_NS and other.st_mtime_ns % _SECOND_NS:
        return one.st_mtime_ns != other.st_mtime_ns
    return one.st_mtime_ns // _SECOND_NS != other.st_mtime_ns // _SECOND_NS


def _other_capability(status: os.stat_result, one: str, other: str) -> bool:
    return stat.S_ISREG(status.st_mode) and capability(one) != capability(other)


def changed_usage(own: Path, found: Sequence[Change]) -> Usage:
    """Add up the files that were added or modified; blocks."""
    size, seen = 0, set()
    for change in found:
        if change.kind != DELETED:
            try:
                status = os.lstat(f"{own}{change.path}")
            except OSError:
                continue
            if status.st_ino not in seen:
                seen.add(status.st_ino)
                size += status.st_size if stat.S_ISREG(status.st_mode) else 0
    return Usage(size, len(seen))


def write_changes(own: Path, found: Sequence[Change], tar: TarWriter) -> None:
    """Write changes of a merged tree as a layer's entries; they are in order of the paths."""
    root = os.open(own, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _write_folder(root, "", _nested(found), tar)
    finally:
        os.close(root)


_Tree = dict[str, tuple[int, "_Tree"]]


def _nested(found: Sequence[Change]) -> _Tree:
    root: _Tree = {}
    for change in found:
        at = root
        *above, last = change.path.strip("/").split("/")
        for part in above:
            at = at.setdefault(part, (MODIFIED, {}))[1]
        at[last] = (change.kind, at[last][1] if last in at else {})
    return root


def _write_folder(fd: int, path: str, tree: _Tree, tar: TarWriter) -> None:
    for name, (kind, below) in tree.items():
        inside = f"{path}/{name}" if path else name
        if kind == DELETED:
            tar.empty(f"{path}/.wh.{name}" if path else f".wh.{name}")
        else:
            tar.node(fd, name, inside, partial(_write_folder, path=inside, tree=below, tar=tar))


def tree_usage(root: Path) -> Usage:
    """Add up a directory tree; a file with several names counts once. Blocks."""
    size, seen = 0, set()
    for folder, folders, files in os.walk(root):
        for name in (*folders, *files):
            try:
                status = os.lstat(os.path.join(folder, name))
            except OSError:
                continue
            if status.st_ino not in seen:
                seen.add(status.st_ino)
                size += status.st_size if stat.S_ISREG(status.st_mode) else 0
    return Usage(size, len(seen))
