"""File modes as the archive endpoints' `X-Docker-Container-Path-Stat` header has them.

The header carries Go's `os.FileMode`: the permission bits as on disk, the kind of file in the high
bits. Source: https://pkg.go.dev/io/fs#FileMode.
"""

from __future__ import annotations

import stat
from typing import Final

__all__ = ["file_mode"]

_KINDS: Final = {
    stat.S_IFREG: 0,
    stat.S_IFDIR: 1 << 31,
    stat.S_IFLNK: 1 << 27,
    stat.S_IFBLK: 1 << 26,
    stat.S_IFIFO: 1 << 25,
    stat.S_IFSOCK: 1 << 24,
    stat.S_IFCHR: 1 << 26 | 1 << 21,
}
_BITS: Final = ((stat.S_ISUID, 1 << 23), (stat.S_ISGID, 1 << 22), (stat.S_ISVTX, 1 << 20))


def file_mode(mode: int) -> int:
    """Return the header's number for a `st_mode`."""
    number = mode & 0o777 | _KINDS.get(stat.S_IFMT(mode), 1 << 19)
    for bit, shown in _BITS:
        if mode & bit:
            number |= shown
    return number
