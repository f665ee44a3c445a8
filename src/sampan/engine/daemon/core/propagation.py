"""Whether mounts can come and go between a container and the host, as a bind asks for."""

from __future__ import annotations

from typing import Final

from sampan.base.errors import SampanError

__all__ = ["PROPAGATING", "check_propagation"]

PROPAGATING: Final = frozenset(("shared", "rshared", "slave", "rslave"))


def check_propagation(shown: str, path: str, propagation: str, mountinfo: str) -> None:
    """Raise SampanError unless the mount below `path` is of the kind that a bind needs.

    `path` has no links in it, `shown` is how the user wrote it; `mountinfo` is the engine's own.
    """
    place, tags = _mount_of(path, mountinfo)
    if "shared:" in tags or ("master:" in tags and propagation.endswith("slave")):
        return
    kind = "shared or slave" if propagation.endswith("slave") else "shared"
    raise SampanError(f"path {shown} is mounted on {place} but it is not a {kind} mount")


def _mount_of(path: str, mountinfo: str) -> tuple[str, str]:
    """Return the mount point that a path lies on, and the optional fields of the mount."""
    place, tags = "/", ""
    for line in mountinfo.splitlines():
        words, _, _ = line.partition(" - ")
        fields = words.split(" ")
        point = fields[4].encode().decode("unicode_escape")
        inside = path == point or path.startswith(f"{point.rstrip('/')}/")
        # Of several mounts on one point the last one is seen.
        if inside and len(point) >= len(place):
            place, tags = point, " ".join(fields[6:])
    return place, tags
