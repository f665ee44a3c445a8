"""The system calls that storing images needs and Python's library does not have."""

from __future__ import annotations

import ctypes
import os
import struct
from typing import Final

__all__ = ["BENEATH", "NO_SYMLINKS", "openat2", "syncfs"]

_libc = ctypes.CDLL(None, use_errno=True)
_NR_OPENAT2: Final = 437

NO_SYMLINKS: Final = 0x04 | 0x08
"""For openat2: no link anywhere in the path, nothing outside the directory."""

BENEATH: Final = 0x02 | 0x08
"""For openat2: links may be in the path, but not one that leads outside the directory."""


def openat2(dir_fd: int, path: str, flags: int, resolve: int) -> int:
    """Open a path below a directory; raises OSError, EXDEV or ELOOP for a link that must not be."""
    how = struct.pack("=3Q", flags | os.O_CLOEXEC, 0, resolve)
    fd = int(
        _libc.syscall(
            ctypes.c_long(_NR_OPENAT2),
            ctypes.c_int(dir_fd),
            os.fsencode(path),
            how,
            ctypes.c_size_t(len(how)),
        )
    )
    if fd < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), path)
    return fd


def syncfs(fd: int) -> None:
    """Write everything of the file system that a descriptor is on to the disk."""
    if _libc.syncfs(ctypes.c_int(fd)) < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
