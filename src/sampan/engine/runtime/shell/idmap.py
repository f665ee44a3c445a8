"""Id maps of user namespaces: written directly with privilege, by shadow's helpers without."""

from __future__ import annotations

import os
from collections.abc import Sequence

from sampan.base.errors import UnsupportedError
from sampan.engine.runtime.core.plan import CLONE_FLAGS
from sampan.engine.runtime.core.spec import IdMap
from sampan.engine.runtime.shell import syscalls

__all__ = ["in_user_namespace", "namespace", "write", "write_own"]

_ALL_IDS = 4294967295


def in_user_namespace() -> bool:
    """Tell whether this process is in another user namespace than the first one."""
    with open("/proc/self/uid_map") as file:
        return file.read().split() != ["0", "0", str(_ALL_IDS)]


def write(pid: int, uid_maps: Sequence[IdMap], gid_maps: Sequence[IdMap]) -> None:
    """Give the user namespace of `pid` its maps."""
    if os.geteuid() == 0:
        _write(pid, "uid_map", uid_maps)
        _write(pid, "gid_map", gid_maps)
        return
    if _only_self(uid_maps, os.geteuid()) and _only_self(gid_maps, os.getegid()):
        with open(f"/proc/{pid}/setgroups", "w") as file:
            file.write("deny")
        _write(pid, "uid_map", uid_maps)
        _write(pid, "gid_map", gid_maps)
        return
    _helper("newuidmap", pid, uid_maps)
    _helper("newgidmap", pid, gid_maps)


def write_own(uid_maps: Sequence[IdMap], gid_maps: Sequence[IdMap]) -> None:
    """Give the new user namespace of this process maps of its own single ids."""
    with open("/proc/self/setgroups", "w") as file:
        file.write("deny")
    _write("self", "uid_map", uid_maps)
    _write("self", "gid_map", gid_maps)


def namespace(uid_maps: Sequence[IdMap], gid_maps: Sequence[IdMap]) -> int:
    """Return the descriptor of a user namespace with these maps, for a mount."""
    receive, send = os.pipe()
    pid, pidfd = syscalls.clone3(CLONE_FLAGS["user"])
    if pid == 0:
        os.close(send)
        os.read(receive, 1)  # until the parent has gone on, or away
        os._exit(0)
    try:
        write(pid, uid_maps, gid_maps)
        return os.open(f"/proc/{pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        for fd in (send, receive, pidfd):
            os.close(fd)
        os.waitpid(pid, 0)


def _only_self(maps: Sequence[IdMap], own: int) -> bool:
    return len(maps) == 1 and maps[0].size == 1 and maps[0].host == own


def _write(pid: int | str, name: str, maps: Sequence[IdMap]) -> None:
    text = "".join(f"{one.container} {one.host} {one.size}\n" for one in maps)
    fd = os.open(f"/proc/{pid}/{name}", os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)


def _helper(name: str, pid: int, maps: Sequence[IdMap]) -> None:
    # Only without privileges: these two cost more than all else that a start imports.
    import shutil
    import subprocess

    path = shutil.which(name)
    if path is None:
        raise UnsupportedError(
            f"{name} not found: more than one id in a user namespace needs it (package uidmap) "
            "and ranges in /etc/subuid and /etc/subgid"
        )
    numbers = [str(n) for one in maps for n in (one.container, one.host, one.size)]
    done = subprocess.run([path, str(pid), *numbers], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise UnsupportedError(f"{name}: {done.stderr.strip()}")
