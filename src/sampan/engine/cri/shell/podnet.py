"""Connections into a pod's network namespace."""

from __future__ import annotations

import os
import socket
from typing import Final

from sampan.base.errors import UnavailableError
from sampan.engine.daemon.shell.rootview import in_thread
from sampan.engine.runtime.core.plan import CLONE_FLAGS
from sampan.engine.runtime.shell import syscalls

__all__ = ["connect"]

_CONNECT_S: Final = 10.0
_LOOPBACKS: Final = ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"))


async def connect(pid: int, port: int) -> socket.socket:
    """Connect to a port on the loopback addresses of the namespace that a process is in.

    Raises UnavailableError when nobody listens there.
    """
    return await in_thread(lambda: _connect(pid, port))


def _connect(pid: int, port: int) -> socket.socket:
    """Enter the namespace and connect; only in a thread of its own, which it never leaves."""
    fd = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        syscalls.setns(fd, CLONE_FLAGS["network"])
    finally:
        os.close(fd)
    told = ""
    for family, address in _LOOPBACKS:
        try:
            sock = socket.socket(family, socket.SOCK_STREAM)
        except OSError:
            continue  # this kernel has no such addresses
        sock.settimeout(_CONNECT_S)
        try:
            sock.connect((address, port))
        except OSError as error:
            sock.close()
            told = told or (error.strerror or str(error)).lower()
        else:
            sock.setblocking(False)
            return sock
    raise UnavailableError(f"failed to connect to localhost:{port} inside namespace: {told}")
