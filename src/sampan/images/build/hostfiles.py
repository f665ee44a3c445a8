"""`FROM host`: the machine's own files in a command's root, without a way to change them.

The directories at the top of the machine's root are bound into an otherwise empty one, read-only
with all that is mounted below them; links at the top are made again. What belongs to this boot
(/run, /tmp, devices) and what services write (/var) is not there.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from sampan.base.errors import UnsupportedError
from sampan.images.build.execution import Bind

__all__ = ["HostFiles"]

_LEFT_OUT: Final = frozenset("boot dev lost+found media mnt proc run srv sys tmp var".split())


class HostFiles:
    """What of the machine a command sees. `spool` is a directory for the frame they are put in."""

    def __init__(self, spool: Path) -> None:
        self._frame = spool / "host-frame"
        self._names = [name for name in sorted(os.listdir("/")) if name not in _LEFT_OUT]

    def below(self, mounts: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
        """Return an overlay's mounts with the frame as its lowest layer; blocks.

        Raises UnsupportedError for what is no overlay.
        """
        (mount,) = mounts
        if mount["type"] != "overlay":
            raise UnsupportedError("FROM host needs the storage driver overlay2")
        self._make_frame()
        options = [
            f"{one}:{self._frame}" if one.startswith("lowerdir=") else one
            for one in mount["options"]
        ]
        return [{**mount, "options": options}]

    def _make_frame(self) -> None:
        """Make places to mount on, and the links."""
        for name in (*self._names, "tmp"):
            place, real = self._frame / name, Path("/") / name
            if place.is_symlink() or place.exists():
                continue
            place.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            if real.is_symlink():
                place.symlink_to(os.readlink(real))
            elif stat.S_ISDIR(real.stat().st_mode):
                place.mkdir()
        self._frame.chmod(0o755)
        (self._frame / "tmp").chmod(0o1777)

    def binds(self) -> list[Bind]:
        """Return what to mount on the frame."""
        found = []
        for name in self._names:
            real = f"/{name}"
            if os.path.isdir(real) and not os.path.islink(real):
                found.append(Bind(real, real, read_only=True))
        return found
