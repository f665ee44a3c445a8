"""The system calls that storing images needs and Python's library does not have."""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Mapping, Sequence
from typing import Final

__all__ = ["BENEATH", "NO_SYMLINKS", "detached_mount", "openat2", "syncfs"]

_libc = ctypes.CDLL(None, use_errno=True)
_NR_FSOPEN: Final = 430
_NR_FSCONFIG: Final = 431
_NR_FSMOUNT: Final = 432
_NR_OPENAT2: Final = 437
_RESOLVE_ATTEMPTS: Final = 1_000

NO_SYMLINKS: Final = 0x04 | 0x08
"""For openat2: no link anywhere in the path, nothing outside the directory."""

BENEATH: Final = 0x02 | 0x08
"""For openat2: links may be in the path, but not one that leads outside the directory."""


def _call(number: int, *arguments: object) -> int:
    result = int(_libc.syscall(ctypes.c_long(number), *arguments))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def openat2(dir_fd: int, path: str, flags: int, resolve: int) -> int:
    """Open a path below a directory; raises OSError, EXDEV or ELOOP for a link that must not be."""
    how = struct.pack("=3Q", flags | os.O_CLOEXEC, 0, resolve)
    number, size = ctypes.c_int(dir_fd), ctypes.c_size_t(len(how))
    attempts_left = _RESOLVE_ATTEMPTS
    while True:
        try:
            return _call(_NR_OPENAT2, number, os.fsencode(path), how, size)
        except BlockingIOError:
            # A rename or a mount somewhere made it unsure where `..` leads; openat2(2) says: again.
            attempts_left -= 1
            if not attempts_left:
                raise
            os.sched_yield()


def detached_mount(kind: str, options: Mapping[str, str], words: Sequence[str] = ()) -> int:
    """Return a new mount that is attached nowhere and gone with its descriptor."""
    context = _call(_NR_FSOPEN, kind.encode(), ctypes.c_uint(1))
    try:
        number, nothing = ctypes.c_int(context), ctypes.c_int(0)
        for key, value in options.items():
            text = os.fsencode(value)
            _call(_NR_FSCONFIG, number, ctypes.c_uint(1), key.encode(), text, nothing)
        for word in words:
            _call(_NR_FSCONFIG, number, ctypes.c_uint(0), word.encode(), None, nothing)
        _call(_NR_FSCONFIG, number, ctypes.c_uint(6), None, None, nothing)
        return _call(_NR_FSMOUNT, number, ctypes.c_uint(1), ctypes.c_uint(0))
    finally:
        os.close(context)


def syncfs(fd: int) -> None:
    """Write everything of the file system that a descriptor is on to the disk."""
    if _libc.syncfs(ctypes.c_int(fd)) < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
