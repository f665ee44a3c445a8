"""What a storage driver does. Snapshots decide where things are and when; a driver how."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from sampan.images.shell.difference import Change, Usage
from sampan.images.shell.packing import Output
from sampan.images.shell.unpack import Form

__all__ = ["FILES", "Driver"]

FILES = "fs"
"""The directory of a layer that holds its files."""


class Driver(Protocol):
    """One way to store layers. `lower` are layers' files, the uppermost first; all calls block."""

    @property
    def name(self) -> str:
        """As Docker calls it."""
        ...

    @property
    def slow(self) -> bool:
        """Whether a writable layer takes long to make."""
        ...

    def status(self) -> list[tuple[str, str]]:
        """Return what `docker info` tells of it."""
        ...

    def begin_layer(self, place: Path, lower: Sequence[Path]) -> Form:
        """Make `place/fs` for the next layer upon these; returns the form to unpack it in."""
        ...

    def files(self, lower: Sequence[Path]) -> list[Path]:
        """Return the directories in which all files of these layers are, the uppermost first."""
        ...

    def prepare(self, place: Path, lower: Sequence[Path]) -> None:
        """Make the writable layer of a container in a directory that exists."""
        ...

    def own_files(self, place: Path) -> Path:
        """Return where a container's files can be changed from outside while it is stopped."""
        ...

    def mounts(
        self, place: Path, lower: Sequence[Path], *, read_only: bool = False
    ) -> list[dict[str, Any]]:
        """Return what to mount as a container's root."""
        ...

    def changes(self, place: Path, lower: Sequence[Path]) -> list[Change]:
        """Return what a container has changed, in order of the paths."""
        ...

    def write_layer(self, place: Path, lower: Sequence[Path], out: Output) -> None:
        """Write what a container has changed as the tar of a layer."""
        ...

    def adopt(self, place: Path, layer: Path) -> bool:
        """Move a container's own files to `layer/fs` as they are; False where that is no layer."""
        ...

    def usage(self, place: Path, lower: Sequence[Path]) -> Usage:
        """Return what a container's own files take."""
        ...

    def remove(self, place: Path) -> None:
        """Remove a layer's or a container's directory with everything in it."""
        ...

    def data(self, place: Path | None, lower: Sequence[Path]) -> dict[str, str] | None:
        """Return what `inspect` tells under GraphDriver, of a container or of an image."""
        ...
