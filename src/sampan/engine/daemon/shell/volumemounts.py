"""Volumes on their way into containers: what their driver's options say is mounted while one runs.

A volume with options is a mount of the host at the volume's place, made for the first container
that starts with it and taken away after the last has ended. Parts of volumes (subpaths) are opened
with all links resolved inside the volume, and are mounted at a place of ours for the launch.
"""

from __future__ import annotations

import contextlib
import os
import socket
import stat
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from sampan.base.errors import SampanError
from sampan.engine.daemon.core.propagation import PROPAGATING, check_propagation
from sampan.engine.daemon.core.volume_options import VolumeMount, volume_mount
from sampan.engine.daemon.shell.container import Container
from sampan.engine.daemon.shell.registry import Registry
from sampan.engine.daemon.shell.volumes import Volumes
from sampan.engine.runtime.shell import syscalls

__all__ = ["VolumeMounts"]

_MNT_DETACH: Final = 2
_MS_BIND, _MS_REC = 0x1000, 0x4000
_RESOLVE_IN_ROOT: Final = 0x10

Publish = Callable[[str, str, str, Mapping[str, str]], None]


class VolumeMounts:
    """Looks after the mounts of volumes."""

    def __init__(self, volumes: Volumes, registry: Registry, publish: Publish) -> None:
        self._volumes = volumes
        self._registry = registry
        self._publish = publish

    @contextlib.contextmanager
    def ready(self, container: Container) -> Iterator[Mapping[str, str]]:
        """Mount what the container's volumes need, and yield sources of subpaths by destination.

        The sources are good within the context. Raises SampanError with Docker's words.
        """
        parts: dict[str, str] = {}
        _check_binds(container)
        try:
            for mount in _volumes_of(container):
                self._mount(mount)
                if "Subpath" in mount:
                    place = str(container.run_directory / "parts" / str(len(parts)))
                    _bind_part(mount["Source"], mount["Subpath"], place)
                    parts[mount["Destination"]] = place
                told = {
                    "container": container.id,
                    "destination": mount["Destination"],
                    "driver": "local",
                    "propagation": mount["Propagation"],
                    "read/write": str(mount["RW"]).lower(),
                }
                self._publish("volume", "mount", mount["Name"], told)
            yield parts
        finally:
            for place in parts.values():
                syscalls.umount2(place, _MNT_DETACH)

    def settle(self) -> None:
        """Take away what an earlier engine has left: parts, and volumes that nobody uses."""
        for container in self._registry:
            for place in container.run_directory.glob("parts/*"):
                if os.path.ismount(place):
                    syscalls.umount2(str(place), _MNT_DETACH)
            if not container.record.state.running:
                self._unmount(container)

    def release(self, container: Container) -> None:
        """Take away what no running container needs any more."""
        for mount in _volumes_of(container):
            told = {"container": container.id, "driver": "local"}
            self._publish("volume", "unmount", mount["Name"], told)
        self._unmount(container)

    def _unmount(self, container: Container) -> None:
        mounted = [one for one in _volumes_of(container) if self._wanted(one["Name"]) is not None]
        if not mounted:
            return
        running = [one for one in self._registry if one.record.state.running]
        needed = {
            mount["Name"] for one in running if one is not container for mount in _volumes_of(one)
        }
        for mount in mounted:
            if mount["Name"] not in needed:
                with contextlib.suppress(OSError):
                    syscalls.umount2(mount["Source"], _MNT_DETACH)

    def _wanted(self, name: str) -> VolumeMount | None:
        return volume_mount(self._volumes.get(name)["Options"]) if self._volumes.has(name) else None

    def _mount(self, mount: Mapping[str, Any]) -> None:
        wanted, place = self._wanted(mount["Name"]), mount["Source"]
        if wanted is None or os.path.ismount(place):
            return
        data = _with_address(wanted.data)
        try:
            syscalls.mount(wanted.device, place, wanted.kind, wanted.flags, data)
        except OSError as error:
            reason = os.strerror(error.errno or 0).lower()
            raise SampanError(
                f"error while mounting volume '{place}': failed to mount local volume: mount "
                f"{wanted.device}:{place}, flags: {wanted.flags:#x}"
                f"{f', data: {data}' if data else ''}: {reason}"
            ) from None


def _check_binds(container: Container) -> None:
    binds = [one for one in container.record.mounts if one["Type"] == "bind"]
    wanted = [one for one in binds if one.get("Propagation") in PROPAGATING]
    if wanted:
        mountinfo = Path("/proc/self/mountinfo").read_text()
        for one in wanted:
            path = os.path.realpath(one["Source"])
            check_propagation(one["Source"], path, one["Propagation"], mountinfo)


def _volumes_of(container: Container) -> list[Mapping[str, Any]]:
    return [one for one in container.record.mounts if one["Type"] == "volume"]


def _with_address(data: str) -> str:
    """Replace a host's name in NFS options by its address: the kernel knows no names."""
    words = []
    for word in data.split(",") if data else ():
        key, _, name = word.partition("=")
        if key == "addr" and name:
            with contextlib.suppress(OSError):
                word = f"addr={socket.getaddrinfo(name, None)[0][4][0]}"
        words.append(word)
    return ",".join(words)


def _bind_part(volume: str, subpath: str, place: str) -> None:
    """Mount a part of a volume at a place of ours, links resolved inside the volume."""
    fd = _open_part(volume, subpath)
    try:
        Path(place).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if stat.S_ISDIR(os.fstat(fd).st_mode):
            Path(place).mkdir(exist_ok=True)
        else:
            Path(place).touch()
        syscalls.mount(f"/proc/self/fd/{fd}", place, None, _MS_BIND | _MS_REC)
    finally:
        os.close(fd)


def _open_part(volume: str, subpath: str) -> int:
    root = os.open(volume, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        flags = os.O_PATH | os.O_CLOEXEC
        return syscalls.openat2(root, subpath, flags, resolve=_RESOLVE_IN_ROOT)
    except OSError as error:
        raise SampanError(
            f"cannot access path {volume}/{subpath}: lstat {volume}/{subpath}: "
            f"{os.strerror(error.errno or 0).lower()}"
        ) from None
    finally:
        os.close(root)
