"""Sockets in the file system: one that its server has left behind makes room for the next."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
from pathlib import Path

from sampan.base.errors import ConflictError

__all__ = ["remove_stale_socket"]


def remove_stale_socket(path: Path) -> None:
    """Take a socket away that its server has left behind; ConflictError while one listens."""
    try:
        if not stat.S_ISSOCK(path.stat().st_mode):
            return
    except FileNotFoundError:
        return
    with contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as probe:
        try:
            probe.connect(os.fspath(path))
        except (ConnectionRefusedError, FileNotFoundError):
            path.unlink(missing_ok=True)
            return
    raise ConflictError(f"{path}: another process listens on this socket")
