"""Cgroups on a machine: version 1, version 2, and both at once as some machines mount them."""

from __future__ import annotations

import errno
import os
import select
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import Any, Final

from sampan.base.errors import SampanError
from sampan.base.record import record
from sampan.engine.runtime.core.cgroup import Write, writes_v1, writes_v2
from sampan.engine.runtime.core.device_program import device_program
from sampan.engine.runtime.shell import syscalls
from sampan.engine.runtime.shell.device_filter import attach_device_program
from sampan.engine.runtime.shell.idmap import in_user_namespace
from sampan.engine.runtime.shell.oom import OomWatch, kills, watch_v1, watch_v2

__all__ = ["Cgroups", "Entrance", "Layout", "layout", "own_views"]

_ROOT: Final = "/sys/fs/cgroup"
_FREEZING_S: Final = 10.0
_SUBTREE: Final = ("cpu", "cpuset", "memory", "pids", "io", "hugetlb", "rdma")


@record
class Layout:
    """Which hierarchies are mounted: version 1 controllers by name, and the unified one."""

    v1: Mapping[str, str]
    unified: str | None
    unified_controllers: frozenset[str] = frozenset()

    @property
    def version(self) -> int:
        """2 when the unified hierarchy is the only one."""
        return 1 if self.v1 else 2


@cache
def layout() -> Layout:
    """Read the mounts of this process. In a user namespace the hierarchies are somebody else's."""
    if in_user_namespace():
        return Layout({}, None)
    v1: dict[str, str] = {}
    unified = None
    with open("/proc/self/mountinfo") as lines:
        for line in lines:
            before, _, after = line.partition(" - ")
            path, (kind, _, options) = before.split()[4], after.split()[:3]
            if kind == "cgroup2":
                unified = unified or path
            elif kind == "cgroup":
                for word in options.split(","):
                    if word.startswith("name="):
                        v1.setdefault(word, path)
                    elif word not in ("rw", "ro", "xattr", "clone_children") and "=" not in word:
                        v1.setdefault(word, path)
    controllers = _read(f"{unified}/cgroup.controllers").split() if unified else ()
    return Layout(v1, unified, frozenset(controllers) - v1.keys())


@record
class Entrance:
    """The way into a container's cgroups for a process that is about to be cloned.

    Moving a process from outside waits for every fork on the machine (a grace period of several
    milliseconds). So a child is cloned into the version 2 cgroup, and moves its one thread into
    those of version 1 by itself, through files that the parent has opened with its own rights.
    """

    task_fds: tuple[int, ...]
    unified_fd: int

    def enter(self) -> None:
        """Move the calling thread, the only one of its process, into the version 1 cgroups."""
        for fd in self.task_fds:
            os.write(fd, b"0")

    def close(self) -> None:
        """Give the descriptors back."""
        for fd in (*self.task_fds, *([self.unified_fd] if self.unified_fd >= 0 else ())):
            os.close(fd)


class Cgroups:
    """One container's cgroups, all with the same path below their hierarchies."""

    def __init__(self, path: str) -> None:
        self.path = "/" + path.strip("/")
        found = layout()
        self._version = found.version
        self._places = {name: mounted + self.path for name, mounted in found.v1.items()}
        self._unified = found.unified + self.path if found.unified else None

    @classmethod
    def create(cls, path: str, resources: Mapping[str, Any], *, strict: bool = False) -> Cgroups:
        """Make the directories and set the limits; SampanError names the file that refused."""
        cgroups = cls(path)
        try:
            cgroups._make()
            cgroups.apply(resources, strict=strict)
            if "devices" not in cgroups._places:
                cgroups._attach_devices(resources)
        except BaseException:
            cgroups.remove()
            raise
        return cgroups

    def _make(self) -> None:
        for name, place in self._places.items():
            if name == "cpuset":
                self._make_cpuset(place)
            else:
                os.makedirs(place, exist_ok=True)
        if self._unified is not None:
            os.makedirs(self._unified, exist_ok=True)
            if self._version == 2:
                self._delegate()

    def _make_cpuset(self, place: str) -> None:
        """Make a cpuset with its parents; an empty one would take no process."""
        mounted = layout().v1["cpuset"]
        current = mounted
        for part in self.path.strip("/").split("/"):
            parent, current = current, f"{current}/{part}"
            try:
                os.mkdir(current)
            except FileExistsError:
                if current != place:
                    continue
            for file in ("cpuset.cpus", "cpuset.mems"):
                if not _read(f"{current}/{file}").strip():
                    syscalls.write_file(f"{current}/{file}", _read(f"{parent}/{file}").strip())

    def _attach_devices(self, resources: Mapping[str, Any]) -> None:
        """Let a program decide about devices, where no controller of version 1 does."""
        program = device_program(resources)
        if program is None or self._unified is None:
            return
        try:
            attach_device_program(self._unified, program)
        except OSError as error:
            if error.errno != errno.EPERM or (os.geteuid() == 0 and not in_user_namespace()):
                raise SampanError(f"failed to attach the device rules: {error}") from error

    def _delegate(self) -> None:
        """Switch the controllers on from the root down to the container's parent."""
        current = layout().unified or _ROOT
        available = _read(f"{current}/cgroup.controllers").split()
        words = " ".join("+" + name for name in available if name in _SUBTREE)
        for part in self.path.strip("/").split("/"):
            try:
                syscalls.write_file(f"{current}/cgroup.subtree_control", words)
            except OSError as error:
                if error.errno not in (errno.EBUSY, errno.ENOENT):
                    raise
            current = f"{current}/{part}"

    def apply(self, resources: Mapping[str, Any], *, strict: bool = False) -> None:
        """Set limits; SampanError with the file and the kernel's answer when one is refused.

        With `strict`, a limit that this kernel does not have is an error too.
        """
        for place, write in self._writes(resources):
            path = f"{place}/{write.file}"
            if place is None or not os.path.exists(path):
                if not strict and write.controller in ("memory", "cpu", "cpuset", "pids"):
                    continue  # the daemon has warned: this kernel has no such limit
                raise SampanError(f"{write.controller}: this machine has no {write.file}")
            try:
                syscalls.write_file(path, write.text)
            except OSError as error:
                raise SampanError(
                    f"failed to write {write.text!r} to {path}: {error.strerror}"
                ) from error

    def _writes(self, resources: Mapping[str, Any]) -> list[tuple[str | None, Write]]:
        """Return each write with its directory; with both versions, each controller has one."""
        if self._version == 2:
            return [(self._unified, write) for write in writes_v2(resources)]
        elsewhere = layout().unified_controllers
        old = [write for write in writes_v1(resources) if write.controller not in elsewhere]
        if self._raises_swap_first(old):
            old.sort(key=lambda one: one.file != "memory.memsw.limit_in_bytes")
        new = [write for write in writes_v2(resources) if write.controller in elsewhere]
        if new:
            self._delegate()
        found = [(self._places.get(write.controller), write) for write in old]
        return [*found, *((self._unified, write) for write in new)]

    def _raises_swap_first(self, writes: list[Write]) -> bool:
        """Tell whether memory and swap grow: the sum must never be the smaller one."""
        wanted = {write.file: int(write.text) for write in writes if write.controller == "memory"}
        limit, swap = wanted.get("memory.limit_in_bytes"), wanted.get("memory.memsw.limit_in_bytes")
        place = self._places.get("memory")
        if limit is None or swap is None or place is None:
            return False
        try:
            return int(_read(f"{place}/memory.memsw.limit_in_bytes")) < limit
        except (OSError, ValueError):
            return False

    @contextmanager
    def entrance(self) -> Iterator[Entrance]:
        """Open the way in for a child; to be closed when it has been cloned."""
        tasks: list[int] = []
        unified = -1
        try:
            for place in dict.fromkeys(self._places.values()):
                fd = os.open(f"{place}/tasks", os.O_WRONLY | os.O_CLOEXEC)
                tasks.append(fd)
            if self._unified is not None:
                unified = os.open(self._unified, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            yield Entrance(tuple(tasks), unified)
        finally:
            Entrance(tuple(tasks), unified).close()

    def _directories(self) -> list[str]:
        places = dict.fromkeys(self._places.values())
        return [*places, *([self._unified] if self._unified else [])]

    def views(self) -> dict[str, str]:
        """Return the container's path by mount point, for showing cgroups inside."""
        found = layout()
        if found.version == 2:
            return {found.unified: self.path} if found.unified else {}
        mounted = dict.fromkeys(found.v1.values(), self.path)
        return mounted

    def pids(self) -> list[int]:
        """Return the processes, those of cgroups below included."""
        place = self._places.get("pids") or self._places.get("devices") or self._unified
        found: list[int] = []
        for folder, _, _ in os.walk(place or "/nonexistent"):
            try:
                found += map(int, _read(f"{folder}/cgroup.procs").split())
            except OSError:
                continue
        return sorted(found)

    def freeze(self, frozen: bool) -> None:
        """Stop all processes, or let them go on; returns when they have stopped.

        Raises SampanError when they cannot be stopped within a bound; then they go on.
        """
        deadline = time.monotonic() + _FREEZING_S
        while not self._frozen(frozen):
            if time.monotonic() > deadline:
                self._frozen(False)
                raise SampanError("the container's processes cannot be frozen now")
            select.poll().poll(1)

    def _frozen(self, wanted: bool) -> bool:
        """Ask for it, and tell whether it is so. Version 1 wants to be asked again."""
        if "freezer" in self._places:
            word = "FROZEN" if wanted else "THAWED"
            path = self._places["freezer"] + "/freezer.state"
            syscalls.write_file(path, word)
            return _read(path).strip() == word
        if self._unified is None:
            raise SampanError("this machine cannot freeze processes")
        syscalls.write_file(self._unified + "/cgroup.freeze", str(int(wanted)))
        return f"frozen {int(wanted)}" in _read(self._unified + "/cgroup.events")

    def frozen(self) -> bool:
        """Tell whether the processes are stopped."""
        if "freezer" in self._places:
            return self.file("freezer", "freezer.state").strip() == "FROZEN"
        return self.file("", "cgroup.freeze").strip() == "1"

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Send a signal to every process."""
        for pid in self.pids():
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                continue

    def end(self) -> None:
        """End all processes, frozen ones too, and remove the groups; blocks, for a second at most.

        For containers whose shim has died. No harm when nothing is there.
        """
        if not self.exists():
            return
        try:
            self._frozen(False)
        except (OSError, SampanError):
            pass  # nothing can be frozen here
        for _ in range(100):
            self.kill()
            if not self.pids():
                break
            select.poll().poll(10)
        self.remove()

    def oom_kills(self) -> int:
        """Return how many processes the kernel has killed for want of memory."""
        if "memory" in self._places:
            return kills(self._places["memory"] + "/memory.oom_control")
        return kills(f"{self._unified}/memory.events")

    def oom_watch(self) -> OomWatch | None:
        """Watch for want of memory; None where the kernel cannot tell."""
        if "memory" in self._places:
            return watch_v1(self._places["memory"])
        return watch_v2(self._unified) if self._unified else None

    def file(self, controller: str, name: str) -> str:
        """Return a file's text, empty when it is not there."""
        place = self._places.get(controller) or self._unified
        try:
            return _read(f"{place}/{name}")
        except OSError:
            return ""

    def remove(self) -> None:
        """Remove the directories, those below first; what is still busy is left and said so."""
        for place in self._directories():
            for folder, _, _ in os.walk(place, topdown=False):
                _ignoring(lambda one=folder: os.rmdir(one))  # type: ignore[misc]

    def exists(self) -> bool:
        """Tell whether any of the directories is still there."""
        return any(os.path.isdir(place) for place in self._directories())


def own_views() -> dict[str, str]:
    """Return the path of this process by mount point, for who gets no cgroups of its own."""
    found = layout()
    views: dict[str, str] = {}
    with open("/proc/self/cgroup") as lines:
        for line in lines:
            _, names, path = line.rstrip("\n").split(":", 2)
            mounted = found.v1.get(names.split(",")[0]) if names else found.unified
            if mounted is not None:
                views[mounted] = path
    return views


def _ignoring(call: Callable[[], None]) -> None:
    try:
        call()
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.EBUSY):
            raise


def _read(path: str) -> str:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(fd, 1 << 20).decode()
    finally:
        os.close(fd)
