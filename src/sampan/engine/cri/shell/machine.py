"""What this machine offers to pods."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Final

from sampan.engine.cri.core.security import Machine
from sampan.engine.runtime.core.capability import ALL
from sampan.engine.runtime.shell.cgroups import layout

__all__ = ["kernel_version", "look_around"]

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


def kernel_version() -> tuple[int, int]:
    """Return the first two numbers of the kernel's version."""
    major, minor = platform.release().split(".")[:2]
    return int(major), int("".join(filter(str.isdigit, minor)))


def _text(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""
