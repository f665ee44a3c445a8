"""A tree of files to copy from or into: a context, or the merged layers of a root.

Links are followed inside of the tree only, by names and never by the system's own resolution.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sampan.images.shell.stack import Stack

__all__ = ["FileTree", "Found"]

_LINKS_LIMIT = 40


@dataclass(frozen=True, slots=True)
class Found:
    """A path without links in it: where it is in the tree, its directory, and what is there.

    `status` is None where nothing is.
    """

    path: str
    folder: Stack
    name: str
    status: os.stat_result | None

    @property
    def is_directory(self) -> bool:
        """Tell whether it is a directory."""
        return self.status is not None and stat.S_ISDIR(self.status.st_mode)

    @property
    def real(self) -> str:
        """Where it really is, for opening; "" for nothing and for a tree's root."""
        return self.folder.path(self.name) if self.name else ""

    def below(self) -> Stack:
        """Return the directory that it is."""
        return self.folder.enter(self.name) if self.name else self.folder


class FileTree:
    """The merged directories, the uppermost first."""

    def __init__(self, layers: Sequence[Path]) -> None:
        self.root = Stack.of(layers)

    def find(self, path: str, *, follow: bool = True) -> Found:
        """Return what is at a path; a link at its end is followed too if so wished.

        Raises OSError with ELOOP when links go round in a circle, with ENOTDIR when something on
        the way is no directory.
        """
        todo = [part for part in reversed(path.split("/")) if part not in ("", ".")]
        trail: list[tuple[str, Stack]] = []
        here = self.root
        links = 0
        while todo:
            name = todo.pop()
            if name == "..":
                here = trail.pop()[1] if trail else self.root
                continue
            status = here.stat(name)
            last = not todo
            if status is not None and stat.S_ISLNK(status.st_mode) and (follow or not last):
                links += 1
                if links > _LINKS_LIMIT:
                    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
                target = os.readlink(here.path(name))
                if target.startswith("/"):
                    here, trail = self.root, []
                todo += [part for part in reversed(target.split("/")) if part not in ("", ".")]
                continue
            if last:
                return Found(_joined(trail, name), here, name, status)
            if status is not None and not stat.S_ISDIR(status.st_mode):
                raise OSError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)
            trail.append((name, here))
            here = here.enter(name)
        if trail:
            name, folder = trail[-1]
            return Found(_joined(trail[:-1], name), folder, name, folder.stat(name))
        return Found("", self.root, "", _ROOT)

    def read(self, path: str, limit_bytes: int) -> str:
        """Return the text of a file, "" when there is none; what exceeds the limit is left out."""
        try:
            found = self.find(path)
        except OSError:
            return ""
        if found.status is None or not stat.S_ISREG(found.status.st_mode):
            return ""
        with open(found.real, "rb") as file:
            return file.read(limit_bytes).decode(errors="replace")


_ROOT = os.stat_result((stat.S_IFDIR | 0o755, 0, 0, 1, 0, 0, 0, 0, 0, 0))


def _joined(trail: Sequence[tuple[str, Stack]], name: str) -> str:
    return "/".join([*(part for part, _ in trail), name])
