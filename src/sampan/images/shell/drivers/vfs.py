"""`vfs`: every layer and every container a copy. Slow and large, but it works everywhere.

Where the file system can share blocks between files, as xfs and btrfs do, copies share them.
"""

from __future__ import annotations

from pathlib import Path

from sampan.images.shell.copying import copy_tree
from sampan.images.shell.drivers.merged import MergedDriver

__all__ = ["VfsDriver"]


class VfsDriver(MergedDriver):
    """Copies of directories."""

    name = "vfs"
    slow = True

    def clone(self, source: Path | None, target: Path) -> None:
        """Copy a tree."""
        target.mkdir(mode=0o755)
        target.chmod(0o755)
        if source is not None:
            copy_tree(source, target)
