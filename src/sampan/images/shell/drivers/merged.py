"""What drivers share whose layers hold all files: a container's root is one directory."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sampan.base.errors import NotFoundError
from sampan.images.shell import nodes
from sampan.images.shell.difference import (
    Change,
    Usage,
    changed_usage,
    changes,
    write_changes,
)
from sampan.images.shell.drivers.driver import FILES
from sampan.images.shell.packing import Output, TarWriter, all_attributes
from sampan.images.shell.unpack import Form

__all__ = ["MergedDriver"]


class MergedDriver:
    """Layers that are whole; subclasses say how one is made out of another."""

    name = ""
    slow = False

    def __init__(self, root: Path, places: Path) -> None:
        self._root = root
        self._places = places

    def clone(self, source: Path | None, target: Path) -> None:
        """Make a directory with the files of another, or an empty one."""
        raise NotImplementedError

    def status(self) -> list[tuple[str, str]]:
        """Return what `docker info` tells of it."""
        return []

    def begin_layer(self, place: Path, lower: Sequence[Path]) -> Form:
        """Make a copy of the layer below."""
        place.mkdir(mode=0o700)
        self.clone(_top(lower), place / FILES)
        return Form(merged=True)

    def files(self, lower: Sequence[Path]) -> list[Path]:
        """Return the uppermost layer, which has everything."""
        return list(lower[:1])

    def prepare(self, place: Path, lower: Sequence[Path]) -> None:
        """Make a copy for a container, with the places that something is mounted on."""
        self.clone(_top(lower), place / FILES)
        _add_places(place / FILES, self._places)

    def own_files(self, place: Path) -> Path:
        """Return the root."""
        return place / FILES

    def mounts(
        self, place: Path, lower: Sequence[Path], *, read_only: bool = False
    ) -> list[dict[str, Any]]:
        """Return the directory as a mount of its own."""
        _top(lower)
        options = ["bind", "ro"] if read_only else ["bind"]
        return [{"type": "bind", "source": str(place / FILES), "options": options}]

    def changes(self, place: Path, lower: Sequence[Path]) -> list[Change]:
        """Compare all files with those of the image."""
        return changes(place / FILES, [*lower[:1], self._places], merged=True)

    def write_layer(self, place: Path, lower: Sequence[Path], out: Output) -> None:
        """Write the files that differ."""
        tar = TarWriter(out, all_attributes)
        write_changes(place / FILES, self.changes(place, lower), tar)
        tar.end()

    def adopt(self, place: Path, layer: Path) -> bool:
        """Leave it: the files of all layers are in it, and not only its own."""
        return False

    def usage(self, place: Path, lower: Sequence[Path]) -> Usage:
        """Add up the files that differ."""
        return changed_usage(place / FILES, self.changes(place, lower))

    def remove(self, place: Path) -> None:
        """Remove a tree."""
        nodes.remove_path(place)

    def data(self, place: Path | None, lower: Sequence[Path]) -> dict[str, str] | None:
        """Nothing is told, as by Docker."""
        return None


def _top(lower: Sequence[Path]) -> Path | None:
    if not lower:
        return None
    if not lower[0].is_dir():
        raise NotFoundError(f"layer {lower[0]} is missing; pull or load the image again")
    return lower[0]


def _add_places(root: Path, places: Path) -> None:
    """Copy the places that are missing; where the image has a link or a file, nothing is added."""
    fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _add_below(fd, places)
    finally:
        os.close(fd)


def _add_below(fd: int, place: Path) -> None:
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    for source in sorted(place.iterdir()):
        try:
            if source.is_symlink():
                os.symlink(os.readlink(source), source.name, dir_fd=fd)
            elif source.is_dir():
                os.mkdir(source.name, 0o755, dir_fd=fd)
            else:
                create = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC
                mode = source.stat().st_mode & 0o777
                os.close(os.open(source.name, create, mode, dir_fd=fd))
            # The same time, or it would look like a change.
            time_ns = source.lstat().st_mtime_ns
            os.utime(source.name, ns=(time_ns, time_ns), dir_fd=fd, follow_symlinks=False)
        except FileExistsError:
            pass
        if source.is_dir() and not source.is_symlink():
            try:
                below = os.open(source.name, flags, dir_fd=fd)
            except OSError:
                continue
            try:
                _add_below(below, source)
            finally:
                os.close(below)
