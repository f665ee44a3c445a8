"""`btrfs`: every layer a subvolume, a snapshot of the one below; nothing is copied.

The ioctls are those of linux/btrfs.h.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from pathlib import Path
from typing import Final

from sampan.images.shell import nodes
from sampan.images.shell.drivers.filesystem import filesystem_of
from sampan.images.shell.drivers.merged import MergedDriver

__all__ = ["BtrfsDriver", "probe_btrfs"]

_ARGUMENTS: Final = struct.Struct("=q4088s")
_SNAP_CREATE: Final = 0x50009401
_SUBVOL_CREATE: Final = 0x5000940E
_SNAP_DESTROY: Final = 0x5000940F
_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_SUBVOLUME_INODE: Final = 256


class BtrfsDriver(MergedDriver):
    """Subvolumes and their snapshots."""

    name = "btrfs"

    def status(self) -> list[tuple[str, str]]:
        """Return what `docker info` tells of it."""
        return [("Btrfs", "")]

    def clone(self, source: Path | None, target: Path) -> None:
        """Make a subvolume, empty or a snapshot."""
        if source is None:
            _control(_SUBVOL_CREATE, target)
            target.chmod(0o755)
            return
        fd = os.open(source, _DIRECTORY)
        try:
            _control(_SNAP_CREATE, target, fd)
        finally:
            os.close(fd)

    def remove(self, place: Path) -> None:
        """Remove the subvolumes in a directory, and the directory."""
        if place.is_dir():
            for one in place.iterdir():
                if one.lstat().st_ino == _SUBVOLUME_INODE:
                    _destroy(one)
        nodes.remove_path(place)


def _destroy(path: Path) -> None:
    try:
        _control(_SNAP_DESTROY, path)
    except OSError as error:
        # A container may have made subvolumes of its own in it; emptied, it goes as a directory.
        if error.errno not in (errno.ENOTEMPTY, errno.EPERM, errno.EBUSY):
            raise
        nodes.remove_path(path)


def _control(request: int, path: Path, source: int = 0) -> None:
    """Do something to the subvolume of a name in its directory."""
    parent = os.open(path.parent, _DIRECTORY)
    try:
        # In place: an argument to copy may not be so large.
        arguments = bytearray(_ARGUMENTS.pack(source, os.fsencode(path.name)))
        fcntl.ioctl(parent, request, arguments, True)
    except OSError as error:
        raise OSError(error.errno, f"subvolume {path}: {error.strerror}") from error
    finally:
        os.close(parent)


def probe_btrfs(root: Path) -> str:
    """Return why subvolumes cannot be made in a directory, "" when they can."""
    kind = filesystem_of(root)
    if kind != "btrfs":
        return f"{root} is on {kind}, not on btrfs"
    place = root / "probe"
    try:
        nodes.remove_path(place)
        _control(_SUBVOL_CREATE, place)
        _destroy(place)
    except OSError as error:
        return str(error.strerror)
    return ""
