"""Which file system a directory is on."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["filesystem_of"]

_AS_DOCKER = {"ext2": "extfs", "ext3": "extfs", "ext4": "extfs", "overlay": "overlayfs"}


def filesystem_of(path: Path) -> str:
    """Return the kind of a directory's file system, in Docker's words."""
    device = os.stat(path).st_dev
    number = f"{os.major(device)}:{os.minor(device)}"
    best, kind = "", "<unknown>"
    real = os.path.realpath(path)
    with open("/proc/thread-self/mountinfo") as lines:
        for line in lines:
            before, _, after = line.partition(" - ")
            fields = before.split()
            point = fields[4].encode().decode("unicode_escape")
            inside = real == point or real.startswith(point.rstrip("/") + "/")
            # By number where there is one; btrfs gives every subvolume another.
            if inside and len(point) >= len(best) and (fields[2] == number or point != "/"):
                best, kind = point, after.split()[0]
            elif inside and not best:
                best, kind = point, after.split()[0]
    return _AS_DOCKER.get(kind, kind)
