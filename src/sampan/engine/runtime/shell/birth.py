"""How a process comes to be in another PID namespace: it must be born there."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from typing import Final, NoReturn

from sampan.engine.runtime.core.plan import CLONE_FLAGS
from sampan.engine.runtime.shell import syscalls
from sampan.engine.runtime.shell.idmap import in_user_namespace

__all__ = ["born"]

_PARENT: Final = 0x8000
_PID: Final = CLONE_FLAGS["pid"]


def born(
    run: Callable[[], NoReturn],
    flags: int,
    *,
    cgroup_fd: int,
    pid_namespace: int = -1,
    user_namespace: int = -1,
) -> tuple[int, int]:
    """Clone a child that does `run`; return its pid, as seen here, and a pidfd.

    `flags` are CLONE_NEW*; `pid_namespace` is a descriptor of the namespace to be born in, or a
    pidfd of a process there. What is made new belongs to `user_namespace`, if there is one to be
    born in. Raises OSError.
    """
    if user_namespace >= 0:
        return _born_of_helper(run, flags, cgroup_fd, pid_namespace, user_namespace)
    if pid_namespace < 0:
        return _clone(run, flags, cgroup_fd)
    if in_user_namespace():
        return _born_of_helper(run, flags, cgroup_fd, pid_namespace)
    own = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
    try:
        syscalls.setns(pid_namespace, _PID)
        try:
            return _clone(run, flags, cgroup_fd)
        finally:
            syscalls.setns(own, _PID)
    finally:
        os.close(own)


def _clone(run: Callable[[], NoReturn], flags: int, cgroup_fd: int) -> tuple[int, int]:
    pid, pidfd = syscalls.clone3(flags, cgroup_fd=cgroup_fd)
    if pid == 0:
        run()
    return pid, pidfd


def _born_of_helper(
    run: Callable[[], NoReturn],
    flags: int,
    cgroup_fd: int,
    pid_namespace: int,
    user_namespace: int = -1,
) -> tuple[int, int]:
    """Let somebody else enter, for who has not made the host's namespace may not come back, and
    nobody comes back out of a user namespace.

    The child is this process's own all the same (CLONE_PARENT).
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    helper = os.fork()
    if helper == 0:
        try:
            ours.close()
            if pid_namespace >= 0:
                syscalls.setns(pid_namespace, _PID)
            if user_namespace >= 0:
                syscalls.setns(user_namespace, CLONE_FLAGS["user"])
            pid, pidfd = syscalls.clone3(flags | _PARENT, cgroup_fd=cgroup_fd)
            if pid == 0:
                theirs.close()
                run()
            socket.send_fds(theirs, [str(pid).encode()], [pidfd])
        except OSError as error:
            theirs.send(f"E{error.errno}".encode())
        finally:
            os._exit(0)
    theirs.close()
    with ours:
        message, fds, _, _ = socket.recv_fds(ours, 64, 1)
    os.waitpid(helper, 0)
    if not fds:
        number = int(message[1:] or b"1")
        raise OSError(number, f"setns: {os.strerror(number)}")
    return int(message), fds[0]
