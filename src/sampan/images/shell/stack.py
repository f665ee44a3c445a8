"""Layers seen as one, the way overlayfs merges them, without mounting anything.

Layers do not change, so their paths are safe to follow once each part is known to be a directory.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Final

__all__ = ["Stack", "is_opaque", "is_whiteout"]

_LINKS: Final = 40
_OPAQUE: Final = ("trusted.overlay.opaque", "user.overlay.opaque")


def is_whiteout(status: os.stat_result) -> bool:
    """Tell whether overlayfs takes a node for a deletion."""
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == 0


def is_opaque(at: int | str) -> bool:
    """Tell whether a directory, by descriptor or path, hides what is below it."""
    for key in _OPAQUE:
        try:
            if os.getxattr(at, key) == b"y":
                return True
        except OSError:
            pass
    return False


class Stack:
    """One directory of the merged layers."""

    def __init__(self, folders: Sequence[str]) -> None:
        self._folders = folders

    @classmethod
    def of(cls, layers: Sequence[Path]) -> Stack:
        """Return the root; the uppermost layer comes first."""
        return cls([str(layer) for layer in layers])

    @property
    def folders(self) -> Sequence[str]:
        """Where its files are, the uppermost first."""
        return self._folders

    def stat(self, name: str) -> os.stat_result | None:
        """Return what is seen under a name, None for nothing."""
        found = self._find(name)
        return found[1] if found else None

    def path(self, name: str) -> str:
        """Return where the thing that is seen under a name really is, "" for nothing."""
        found = self._find(name)
        return found[0] if found else ""

    def _find(self, name: str) -> tuple[str, os.stat_result] | None:
        for folder in self._folders:
            path = f"{folder}/{name}"
            try:
                status = os.lstat(path)
            except OSError:
                continue
            return None if is_whiteout(status) else (path, status)
        return None

    def enter(self, name: str) -> Stack:
        """Return the merged directory of that name; an empty one when it is none."""
        folders: list[str] = []
        for folder in self._folders:
            path = f"{folder}/{name}"
            try:
                status = os.lstat(path)
            except OSError:
                continue
            if not stat.S_ISDIR(status.st_mode):
                break
            folders.append(path)
            if is_opaque(path):
                break
        return Stack(folders)

    @property
    def top(self) -> str:
        """Where the directory itself is seen, "" when there is none."""
        return self._folders[0] if self._folders else ""

    def resolve(self, path: str) -> Stack | None:
        """Return a directory below this root, links followed inside of it; None without it."""
        trail = [self]
        left = path.split("/")
        links = 0
        while left:
            part = left.pop(0)
            if part in ("", "."):
                continue
            if part == "..":
                trail = trail[:-1] or [self]
                continue
            status = trail[-1].stat(part)
            if status is not None and stat.S_ISLNK(status.st_mode):
                links += 1
                text = os.readlink(trail[-1].path(part))
                trail = [self] if text.startswith("/") else trail
                left = text.split("/") + left
            elif status is None or not stat.S_ISDIR(status.st_mode):
                return None
            else:
                trail.append(trail[-1].enter(part))
            if links > _LINKS:
                return None
        return trail[-1]

    def names(self) -> list[str]:
        """Return the names that are seen, sorted."""
        found: dict[str, bool] = {}
        for folder in self._folders:
            with os.scandir(folder) as entries:
                for entry in entries:
                    if entry.name not in found:
                        status = entry.stat(follow_symlinks=False)
                        found[entry.name] = not is_whiteout(status)
        return sorted(name for name, seen in found.items() if seen)
