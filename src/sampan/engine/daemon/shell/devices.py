"""Devices of the host: those a container gets, and those that a limit is for."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from sampan.base.errors import InvalidError

__all__ = ["block_numbers", "devices_of"]

_LEFT_OUT: Final = frozenset({"pts", "shm", "fd", "mqueue", ".lxc", ".lxd-mounts", ".udev"})
"""Below /dev, these are a container's own."""

_THROTTLES: Final = (
    "BlkioWeightDevice",
    "BlkioDeviceReadBps",
    "BlkioDeviceWriteBps",
    "BlkioDeviceReadIOps",
    "BlkioDeviceWriteIOps",
)


def devices_of(host: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the devices that a container gets: all of the host's when it is privileged.

    Raises InvalidError with Docker's words.
    """
    found: list[dict[str, Any]] = []
    if host["Privileged"]:
        for path in _below("/dev"):
            found += _described(path, path, "rwm")
    for one in host["Devices"] or ():
        path = one.get("PathOnHost") or ""
        inside = one.get("PathInContainer") or path
        access = one.get("CgroupPermissions") or "rwm"
        if not set(access) <= set("rwm"):
            raise InvalidError(f"invalid device mode: {access}")
        found += _asked_for(path, inside, access)
    return found


def _asked_for(path: str, inside: str, access: str) -> list[dict[str, Any]]:
    """Return one device, or all that are below a directory."""
    try:
        real = os.path.realpath(path, strict=True)
    except OSError:
        raise InvalidError(
            f'error gathering device information while adding custom device "{path}": '
            "no such file or directory"
        ) from None
    if not os.path.isdir(real):
        found = _described(real, inside, access)
    else:
        found = []
        for one in _below(real):
            found += _described(one, inside.rstrip("/") + one.removeprefix(real), access)
    if not found:
        raise InvalidError(
            f'error gathering device information while adding custom device "{path}": '
            "not a device node"
        )
    return found


def _below(folder: str) -> Iterator[str]:
    """Yield the files below a directory, without following a link."""
    try:
        entries = sorted(os.scandir(folder), key=lambda one: one.name)
    except OSError:
        return
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            if entry.name not in _LEFT_OUT:
                yield from _below(entry.path)
        elif entry.name != "console":
            yield entry.path


def _described(path: str, inside: str, access: str) -> list[dict[str, Any]]:
    try:
        status = os.lstat(path)
    except OSError:
        return []
    if not (stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode)):
        return []
    return [
        {
            "path": inside,
            "type": "c" if stat.S_ISCHR(status.st_mode) else "b",
            "major": os.major(status.st_rdev),
            "minor": os.minor(status.st_rdev),
            "fileMode": stat.S_IMODE(status.st_mode),
            "uid": status.st_uid,
            "gid": status.st_gid,
            "access": access,
            "x-source": path,
        }
    ]


def block_numbers(host: Mapping[str, Any]) -> dict[str, tuple[int, int]]:
    """Return major and minor of every block device that a limit names; InvalidError without it."""
    listed: list[Sequence[Mapping[str, Any]]] = [host[key] or () for key in _THROTTLES]
    found = {}
    for one in (one for each in listed for one in each):
        path = one.get("Path", "")
        try:
            status = os.stat(path)
        except OSError as error:
            reason = (error.strerror or "").lower()
            raise InvalidError(f'failed to stat "{path}": {reason}') from None
        if not stat.S_ISBLK(status.st_mode):
            raise InvalidError(f'"{path}" is not a block device')
        found[path] = (os.major(status.st_rdev), os.minor(status.st_rdev))
    return found
