"""The process that shims are forked from: small, warm, and without a thread.

It reads requests from the socket that it was started with: the directory of a container, and the
descriptors that its shim takes over. When the daemon goes, it goes; the shims stay.
"""

from __future__ import annotations

import gc
import os
import platform
import resource
import signal
import socket
import sys
import traceback
from typing import NoReturn

from sampan.engine.runtime.core.capability import ALL, DEFAULT
from sampan.engine.runtime.core.seccomp import compile_filter
from sampan.engine.runtime.core.seccomp_default import default_profile
from sampan.engine.shim.shim import run_shim

__all__ = ["main"]

_REQUEST_BYTES = 4096
_MOST_FDS = 64


def main(arguments: list[str]) -> int:
    """Serve the socket whose descriptor is the first argument, until it ends.

    The second one is how many descriptors a process may have.
    """
    channel = socket.socket(fileno=int(arguments[0]))
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (int(arguments[1]), most))
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _warm_up()
    gc.collect()
    gc.freeze()
    while True:
        request, fds, _, _ = socket.recv_fds(channel, _REQUEST_BYTES, _MOST_FDS)
        if not request:
            return 0
        if os.fork() == 0:
            channel.close()
            _become_shim(request.decode(), fds)
        for fd in fds:
            os.close(fd)


def _warm_up() -> None:
    """Compile the filter that nearly every container has, once for all of them."""
    architecture = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), "")
    profile = default_profile([one for one in ALL if one in DEFAULT], architecture)
    if profile is not None:
        compile_filter(profile)


def _become_shim(directory: str, fds: list[int]) -> NoReturn:
    code = 1
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.setsid()
        _log_to(directory)
        run_shim(directory, fds)
        code = 0
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(code)


def _log_to(directory: str) -> None:
    """Let errors of the shim go to a file: the daemon's own output may end before it."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    log = os.open(os.path.join(directory, "shim.log"), flags, 0o600)
    null = os.open("/dev/null", os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(null, 1)
    os.dup2(log, 2)
    os.close(log)
    os.close(null)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
