"""What this machine says of a process: is it the one that was started, and does it still live."""

from __future__ import annotations

import os
import select

from sampan.engine.runtime.shell import syscalls

__all__ = ["await_end", "is_alive", "open_process", "start_ticks"]


def start_ticks(pid: int) -> int:
    """Return when the process was started, in clock ticks since boot; 0 when it is gone."""
    found = _stat(pid)
    return int(found[19]) if found else 0


def is_alive(pid: int, ticks: int) -> bool:
    """Tell whether the process is that one and has not ended."""
    found = _stat(pid) if pid else None
    return found is not None and found[0] not in ("Z", "X") and int(found[19]) == ticks


def _stat(pid: int) -> list[str] | None:
    """Return the fields of /proc/PID/stat after the command's name."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().decode(errors="replace").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None


def open_process(pid: int, ticks: int) -> int:
    """Return a pidfd of exactly that process; ProcessLookupError when it has ended."""
    if pid == 0:
        raise ProcessLookupError(pid)
    fd = syscalls.pidfd_open(pid)
    if not is_alive(pid, ticks):
        os.close(fd)
        raise ProcessLookupError(pid)
    return fd


def await_end(pidfds: list[int], timeout_s: float) -> bool:
    """Wait until all these processes have ended; False when one has not in time."""
    poll = select.poll()
    waiting = set(pidfds)
    for fd in waiting:
        poll.register(fd, select.POLLIN)
    while waiting:
        ready = poll.poll(timeout_s * 1000)
        if not ready:
            return False
        for fd, _ in ready:
            poll.unregister(fd)
            waiting.discard(fd)
    return True
