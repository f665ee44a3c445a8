"""Looking at the kernel: which limits, cpus and security modules there are."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sampan.base.errors import InvalidError
from sampan.engine.daemon.core.constraints import Machine, parse_set
from sampan.engine.daemon.core.security import Modules
from sampan.engine.runtime.core.seccomp_profile import parse_profile
from sampan.engine.runtime.shell.cgroups import layout

__all__ = ["kernel_version", "look_at_machine", "read_profile"]


def look_at_machine(*, remapped: bool = False) -> Machine:
    """Read what this kernel offers. Control files are looked for below the root of each mount."""
    found = layout()
    places = {*found.v1.values()} if found.v1 else {found.unified or "/sys/fs/cgroup"}
    files: set[str] = set()
    for place in places:
        files |= _control_files(Path(place))
    if "pids" in found.v1:
        files.add("pids.max")  # a root has none
    return Machine(
        files=frozenset(files),
        cgroup_version=found.version,
        cpus=_numbers("/sys/devices/system/cpu/online", os.cpu_count() or 1),
        memory_nodes=_numbers("/sys/devices/system/node/online", 1),
        modules=_modules(),
        thermal_paths=tuple(
            sorted(map(str, Path("/sys/devices/system/cpu").glob("cpu[0-9]*/thermal_throttle")))
        ),
        remapped=remapped,
    )


def _control_files(place: Path) -> set[str]:
    """Return the names in a hierarchy's root and in one group below it: some are only there."""
    found: set[str] = set()
    try:
        found.update(one.name for one in place.iterdir() if one.is_file())
        below = next((one for one in place.iterdir() if one.is_dir()), None)
        if below is not None:
            found.update(one.name for one in below.iterdir() if one.is_file())
        controllers = (place / "cgroup.controllers").read_text().split()
    except OSError:
        return found
    return found | {file for name in controllers for file in _OF_CONTROLLER.get(name, ())}


_OF_CONTROLLER = {
    "memory": ("memory.max", "memory.low", "memory.swap.max"),
    "cpu": ("cpu.weight", "cpu.max"),
    "cpuset": ("cpuset.cpus", "cpuset.mems"),
    "pids": ("pids.max",),
    "io": ("io.weight", "io.max"),
}
"""What a group of the unified hierarchy has once the controller is switched on for it."""


def _numbers(path: str, count: int) -> frozenset[int]:
    try:
        found = parse_set(Path(path).read_text().strip())
    except OSError:
        found = None
    return found or frozenset(range(count))


def _modules() -> Modules:
    try:
        loaded = Path("/sys/kernel/security/lsm").read_text().split(",")
    except OSError:
        loaded = []
    apparmor = Path("/sys/module/apparmor/parameters/enabled")
    try:
        armed = apparmor.read_text().startswith("Y")
    except OSError:
        armed = False
    return Modules(apparmor=armed or "apparmor" in loaded, selinux="selinux" in loaded)


def read_profile(text: str) -> Mapping[str, Any] | str:
    """Return the daemon's own seccomp profile; `unconfined` and nothing stay as they are."""
    if text in ("", "unconfined", "builtin"):
        return "" if text == "builtin" else text
    try:
        return parse_profile(Path(text).read_text())
    except OSError as error:
        reason = (error.strerror or "").lower()
        raise InvalidError(f"opening seccomp profile ({text}) failed: {reason}") from None


def kernel_version() -> tuple[int, int]:
    """Return the first two numbers of the running kernel's version."""
    major, minor, *_ = (platform.release() + ".0").split(".")
    digits = "".join(letter for letter in minor if letter.isdigit())
    return int(major), int(digits or "0")
