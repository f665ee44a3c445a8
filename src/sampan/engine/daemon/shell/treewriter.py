"""A file tree of a container as a tar stream, in the shape that `docker cp` and `export` expect."""

from __future__ import annotations

import os
from functools import partial
from typing import BinaryIO, Final

from sampan.engine.daemon.shell.rootview import mount_of
from sampan.engine.runtime.shell import inside
from sampan.images.shell.packing import Owners, TarWriter, capability

__all__ = ["TreeWriter", "pseudo_mounts"]

_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY
_PSEUDO: Final = frozenset(
    ("proc", "sysfs", "cgroup", "cgroup2", "devpts", "mqueue", "debugfs", "tracefs", "securityfs")
)


class TreeWriter:
    """Writes entries to a stream. Mounts of the kernel's own file systems are shown empty."""

    def __init__(self, out: BinaryIO, mountinfo: str = "", owners: Owners | None = None) -> None:
        # Whole seconds and no attributes but capabilities, as by Docker.
        self._tar = TarWriter(out, capability, whole_seconds=True, owners=owners)
        self._pseudo = pseudo_mounts(mountinfo)

    def tree(self, root_fd: int, path: str, name: str) -> None:
        """Write the file or directory at `path` under `name` ("" for the contents of the root)."""
        parent, _, last = path.rstrip("/").rpartition("/")
        # A slash at the end asks for what a link leads to.
        if not last or last in (".", "..") or path.endswith("/"):
            fd = inside.open_path(root_fd, path, _DIRECTORY)
            try:
                self._tar.directory(fd, name)
                self._children(fd, name)
            finally:
                os.close(fd)
            return
        folder = inside.open_path(root_fd, parent or "/", _DIRECTORY)
        try:
            self._tar.node(folder, last, name, partial(self._children, name=name))
        finally:
            os.close(folder)

    def contents(self, root_fd: int) -> None:
        """Write everything below the root, but not the root itself."""
        fd = inside.open_path(root_fd, "/", _DIRECTORY)
        try:
            self._children(fd, "")
        finally:
            os.close(fd)

    def end(self) -> None:
        """Write the end of the archive."""
        self._tar.end()

    def _children(self, fd: int, name: str) -> None:
        if mount_of(fd) in self._pseudo:
            return
        for one in sorted(os.listdir(fd)):
            inside = f"{name}/{one}" if name else one
            self._tar.node(fd, one, inside, partial(self._children, name=inside))


def pseudo_mounts(mountinfo: str) -> frozenset[int]:
    """Return the ids of the mounts whose files are the kernel's."""
    found = set()
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        if after.split()[0] in _PSEUDO:
            found.add(int(before.split()[0]))
    return frozenset(found)
