"""What this machine offers to pods."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Final

from sampan.base.errors import InvalidError
from sampan.engine.cri.core.security import Machine
from sampan.engine.daemon.shell.rootview import mount_of
from sampan.engine.runtime.core.capability import ALL
from sampan.engine.runtime.shell.cgroups import layout

__all__ = ["check_propagation", "kernel_version", "look_around"]

_SYS_RESOURCE: Final = ALL.index("CAP_SYS_RESOURCE")


def look_around() -> Machine:
    """Read what the kernel says of itself and of this process."""
    return Machine(
        apparmor=_text("/sys/module/apparmor/parameters/enabled").strip() == "Y",
        selinux=os.path.exists("/sys/fs/selinux/enforce"),
        cgroup_version=layout().version,
        lowest_oom_score_adj=_lowest_score(),
    )


def _lowest_score() -> int:
    """Without CAP_SYS_RESOURCE a process may not make its children less likely to be killed."""
    for line in _text("/proc/self/status").splitlines():
        if line.startswith("CapEff:") and int(line.split()[1], 16) >> _SYS_RESOURCE & 1:
            return -1000
    return int(_text("/proc/self/oom_score_adj") or 0)


def check_propagation(path: str, *, both_ways: bool) -> None:
    """Raise InvalidError unless mounts below a path reach, or come from, other namespaces."""
    fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        number = mount_of(fd)
    finally:
        os.close(fd)
    for line in _text("/proc/self/mountinfo").splitlines():
        words = line.split()
        if words[0] != str(number):
            continue
        tags = words[6 : words.index("-")]
        if any(tag.startswith("shared:") for tag in tags):
            return
        if not both_ways and any(tag.startswith("master:") for tag in tags):
            return
        wanted = "a shared mount" if both_ways else "a shared or slave mount"
        raise InvalidError(f"path {path!r} is mounted on {words[4]!r} but it is not {wanted}")


def kernel_version() -> tuple[int, int]:
    """Return the first two numbers of the kernel's version."""
    major, minor = platform.release().split(".")[:2]
    return int(major), int("".join(filter(str.isdigit, minor)))


def _text(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""
