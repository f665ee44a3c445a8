"""Where a created container waits: a socket in its state directory that `start` connects to.

The listener is bound before the child is cloned and lives in the child alone, so that a container
whose process has ended is seen by a refused connection. Over the connection the launch goes on as
it does over the one to a parent: "go", then its end with execve, or what went wrong.
"""

from __future__ import annotations

import os
import socket
from typing import Final

from sampan.base.errors import ConflictError
from sampan.engine.runtime.shell.launch import pass_gate

__all__ = ["listen_at", "open_gate", "wait_at"]

_MOST_DESCRIPTORS: Final = 1 << 20


def listen_at(path: str) -> socket.socket:
    """Return the listener at a path; only its owner and root may connect."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    directory, name = os.path.split(path)
    # By way of a descriptor: the full path may exceed what a socket address holds.
    fd = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    mask = os.umask(0o177)
    try:
        listener.bind(f"/proc/self/fd/{fd}/{name}")
    finally:
        os.umask(mask)
        os.close(fd)
    listener.listen(1)
    return listener


def wait_at(listener: socket.socket, preserve_fds: int) -> socket.socket:
    """Wait in the child; of the descriptors that it was cloned with it keeps what it needs."""
    own = listener.fileno()
    os.closerange(3 + preserve_fds, own)
    os.closerange(own + 1, _MOST_DESCRIPTORS)
    return listener.accept()[0]


def open_gate(path: str) -> None:
    """Let the container go on; returns when its program runs.

    Raises ConflictError when nobody waits there, LaunchError when the program cannot be started.
    """
    channel = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    directory, name = os.path.split(path)
    try:
        fd = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            channel.connect(f"/proc/self/fd/{fd}/{name}")
        finally:
            os.close(fd)
    except (FileNotFoundError, ConnectionRefusedError):
        channel.close()
        raise ConflictError("cannot start an already running container") from None
    pass_gate(channel)
