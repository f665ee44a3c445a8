"""Being told when the kernel kills a container's process for want of memory."""

from __future__ import annotations

import os

from sampan.engine.runtime.shell import syscalls

__all__ = ["OomWatch", "kills", "watch_v1", "watch_v2"]


class OomWatch:
    """`fd` is readable when something has happened; `happened` tells whether it was that."""

    def __init__(self, fd: int, counted_in: str) -> None:
        self.fd = fd
        self._counted_in = counted_in
        self._seen = 0

    def happened(self) -> bool:
        """Take the notice; False when the group has gone or only another figure has changed."""
        try:
            os.read(self.fd, 4096)
        except BlockingIOError:
            return False
        if not self._counted_in:
            return True
        count = kills(self._counted_in)
        happened, self._seen = count > self._seen, count
        return happened

    def close(self) -> None:
        """Listen no more."""
        os.close(self.fd)


def watch_v1(place: str) -> OomWatch | None:
    """Watch a version 1 memory group, by an eventfd; None where the kernel has no such notice.

    The notice comes when memory has run out, before anybody is killed.
    """
    try:
        control = os.open(f"{place}/memory.oom_control", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    notice = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
    try:
        register = os.open(f"{place}/cgroup.event_control", os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(register, f"{notice} {control}".encode())
        finally:
            os.close(register)
    except OSError:
        os.close(notice)
        return None
    finally:
        os.close(control)
    return OomWatch(notice, "")


def watch_v2(place: str) -> OomWatch | None:
    """Watch a group of the unified hierarchy, by changes of its file of events."""
    path = f"{place}/memory.events"
    try:
        return OomWatch(syscalls.inotify_changes(path), path)
    except OSError:
        return None


def kills(path: str) -> int:
    """Return how many processes were killed, by a file with a line `oom_kill`."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return 0
    try:
        for line in os.read(fd, 4096).decode().splitlines():
            key, _, value = line.partition(" ")
            if key == "oom_kill":
                return int(value)
    except OSError:
        pass
    finally:
        os.close(fd)
    return 0
