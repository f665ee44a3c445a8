"""The interpreter as what containers' first moments run: on a mount that nobody can write to.

Until execve, a process that enters a container is this interpreter, and its `/proc/PID/exe` is a
way to the file. By that way a container's root could write to the file of the host, once nobody
executes it. A process started from here has a read-only mount of its own on that way.
"""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from collections.abc import Sequence

from sampan.engine.runtime.core.mount_options import RDONLY
from sampan.engine.runtime.shell import syscalls

__all__ = ["open_read_only", "start_python"]


def open_read_only() -> int:
    """Return a descriptor of the interpreter, detached and read-only; -1 without the right to."""
    try:
        fd = syscalls.open_tree(os.path.realpath(sys.executable), recursive=False)
    except OSError:
        return -1
    try:
        syscalls.mount_setattr(fd, set_=RDONLY)
    except OSError:
        os.close(fd)
        return -1
    return fd


def start_python(arguments: Sequence[str], fds: Sequence[int]) -> subprocess.Popen[bytes]:
    """Start this interpreter, read-only where that is possible, in a session of its own."""
    words = [sys.executable, *arguments]
    sealed = open_read_only()
    if sealed < 0:
        return subprocess.Popen(
            words, pass_fds=fds, stdin=subprocess.DEVNULL, start_new_session=True
        )
    environment = dict(os.environ)
    if sysconfig.get_config_var("Py_ENABLE_SHARED"):
        # The loader cannot find a library beside a program whose place it cannot see.
        folders = [sysconfig.get_config_var("LIBDIR"), environment.get("LD_LIBRARY_PATH")]
        environment["LD_LIBRARY_PATH"] = ":".join(filter(None, folders))
    try:
        return subprocess.Popen(
            words,
            executable=f"/proc/self/fd/{sealed}",
            pass_fds=[*fds, sealed],
            stdin=subprocess.DEVNULL,
            env=environment,
            start_new_session=True,
        )
    finally:
        os.close(sealed)
