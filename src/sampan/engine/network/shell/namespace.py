"""Network namespaces that outlive their processes: made, kept by a mount, entered, let go.

All of it happens on a thread: a namespace is a property of a thread, and only of the one that asks.
The calls give up the interpreter's lock, since making a namespace takes the kernel half a
millisecond.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from sampan.base.errors import invariant

__all__ = ["created", "entered", "release"]

_CLONE_NEWNET: Final = 0x40000000
_MS_BIND: Final = 4096
_MNT_DETACH: Final = 2
_OWN: Final = "/proc/thread-self/ns/net"

_libc = ctypes.CDLL(None, use_errno=True)


def _check(name: str, result: int) -> None:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{name}: {os.strerror(code)}")


def _setns(fd: int) -> None:
    _check("setns", _libc.setns(ctypes.c_int(fd), ctypes.c_int(_CLONE_NEWNET)))


@contextlib.contextmanager
def _and_back() -> Iterator[None]:
    """Come back to the thread's namespace, whatever happens."""
    own = os.open(_OWN, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield
    finally:
        back = _libc.setns(ctypes.c_int(own), ctypes.c_int(_CLONE_NEWNET))
        os.close(own)
        invariant(back == 0, "a thread could not return to its network namespace")


@contextlib.contextmanager
def created(path: Path) -> Iterator[int]:
    """Make a namespace, keep it at `path`, and be in it; yields its descriptor, open until the end.

    Nothing stays at the path when the block fails.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.close(os.open(path, os.O_RDONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o400))
    try:
        with _and_back():
            _check("unshare", _libc.unshare(ctypes.c_int(_CLONE_NEWNET)))
            source, target = os.fsencode(_OWN), os.fsencode(path)
            flags = ctypes.c_ulong(_MS_BIND)
            _check(f"mount {path}", _libc.mount(source, target, None, flags, None))
            fd = os.open(_OWN, os.O_RDONLY | os.O_CLOEXEC)
            try:
                yield fd
            finally:
                os.close(fd)
    except BaseException:
        release(path)
        raise


@contextlib.contextmanager
def entered(path: Path) -> Iterator[int]:
    """Be in the namespace at `path`; yields its descriptor, open until the end."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        with _and_back():
            _setns(fd)
            yield fd
    finally:
        os.close(fd)


def release(path: Path) -> None:
    """Let go of the namespace at `path`; it ends with its last process. No harm when it is gone."""
    _libc.umount2(os.fsencode(path), ctypes.c_int(_MNT_DETACH))
    path.unlink(missing_ok=True)
