"""What a container has mounted: binds, volumes and tmpfs, from every way of asking for them."""

from __future__ import annotations

import os
import posixpath
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from sampan.base.errors import InvalidError, UnsupportedError
from sampan.engine.daemon.shell.volumes import Volumes

__all__ = ["collect_mounts", "populate"]

_PROPAGATIONS: Final = ("private", "rprivate", "shared", "rshared", "slave", "rslave")


def collect_mounts(
    config: Mapping[str, Any],
    host: Mapping[str, Any],
    inherited: Sequence[Mapping[str, Any]],
    volumes: Volumes,
) -> list[dict[str, Any]]:
    """Return the mounts of a container to be, volumes made where they are missing.

    `inherited` come from `--volumes-from`. Raises InvalidError with Docker's words.
    """
    found: dict[str, dict[str, Any]] = {one["Destination"]: dict(one) for one in inherited}
    own: set[str] = set()
    for text in host["Binds"] or ():
        mount = _of_bind(text, volumes)
        _claim(own, mount["Destination"])
        found[mount["Destination"]] = mount
    for one in host["Mounts"] or ():
        mount = _of_mount(one, volumes)
        _claim(own, mount["Destination"])
        found[mount["Destination"]] = mount
    for destination in config["Volumes"] or ():
        path = posixpath.normpath(destination)
        if path not in found and path not in (host["Tmpfs"] or {}):
            found[path] = _volume(volumes.create(""), path, True)
    return list(found.values())


def _claim(own: set[str], destination: str) -> None:
    if destination in own:
        raise InvalidError(f"Duplicate mount point: {destination}")
    own.add(destination)


def _volume(volume: Mapping[str, Any], destination: str, writable: bool) -> dict[str, Any]:
    return {
        "Type": "volume",
        "Name": volume["Name"],
        "Source": volume["Mountpoint"],
        "Destination": destination,
        "Driver": "local",
        "Mode": "z",
        "RW": writable,
        "Propagation": "",
    }


def _bind(source: str, destination: str, mode: str, writable: bool) -> dict[str, Any]:
    words = mode.split(",")
    propagation = next((word for word in words if word in _PROPAGATIONS), "rprivate")
    return {
        "Type": "bind",
        "Source": source,
        "Destination": destination,
        "Mode": mode,
        "RW": writable,
        "Propagation": propagation,
    }


def _of_bind(text: str, volumes: Volumes) -> dict[str, Any]:
    """Read `source:destination[:mode]`; a missing directory of the host is made, as Docker does."""
    parts = text.split(":")
    if len(parts) not in (2, 3) or not all(parts[:2]):
        raise InvalidError(f"invalid volume specification: '{text}'")
    source, destination, mode = parts[0], parts[1], parts[2] if len(parts) == 3 else ""
    _check_destination(destination, text)
    for word in mode.split(",") if mode else ():
        if word not in (*_PROPAGATIONS, "ro", "rw", "z", "Z", "nocopy", "consistent", "cached"):
            raise InvalidError(f"invalid mode: {mode}")
    writable = "ro" not in mode.split(",")
    if source.startswith("/"):
        if not os.path.lexists(source):
            Path(source).mkdir(parents=True)
        return _bind(posixpath.normpath(source), posixpath.normpath(destination), mode, writable)
    return _volume(volumes.create(source), posixpath.normpath(destination), writable)


def _check_destination(destination: str, text: str) -> None:
    if not destination.startswith("/"):
        raise InvalidError(
            f"invalid volume specification: '{text}': invalid mount config for type \"bind\": "
            f"invalid mount path: '{destination}' mount path must be absolute"
        )
    if posixpath.normpath(destination) == "/":
        raise InvalidError(
            f"invalid volume specification: '{text}': invalid mount config: "
            "destination can't be '/'"
        )


def _of_mount(one: Mapping[str, Any], volumes: Volumes) -> dict[str, Any]:
    kind, target = one.get("Type", "volume"), one.get("Target", "")
    if not target.startswith("/") or posixpath.normpath(target) == "/":
        raise InvalidError(
            f'invalid mount config for type "{kind}": invalid mount path: {target!r}'
        )
    target, writable = posixpath.normpath(target), not one.get("ReadOnly")
    source = one.get("Source", "")
    if kind == "bind":
        options = one.get("BindOptions") or {}
        if options.get("CreateMountpoint"):
            Path(source).mkdir(parents=True, exist_ok=True)
        if not os.path.exists(source):
            raise InvalidError(
                f'invalid mount config for type "bind": bind source path does not exist: {source}'
            )
        mount = _bind(source, target, options.get("Propagation") or "", writable)
        return {**mount, "Recursive": not options.get("NonRecursive")}
    if kind == "volume":
        options = one.get("VolumeOptions") or {}
        return _volume(volumes.create(source, labels=options.get("Labels")), target, writable)
    if kind == "tmpfs":
        options = one.get("TmpfsOptions") or {}
        words = [f"size={options['SizeBytes']}"] if options.get("SizeBytes") else []
        words += [f"mode={options['Mode']:o}"] if options.get("Mode") else []
        return {
            "Type": "tmpfs",
            "Source": "",
            "Destination": target,
            "Mode": "",
            "RW": writable,
            "Propagation": "",
            "TmpfsOptions": words,
        }
    raise UnsupportedError(f"mounts of type {kind!r} are not supported yet")


def populate(mounts: Sequence[Mapping[str, Any]], layers: Sequence[Path]) -> None:
    """Copy what the image has at a volume's place into the volume, if that is empty; blocks.

    `layers` are the image's, the uppermost first. Owner and mode of the directory come along.
    """
    for mount in mounts:
        target = Path(mount["Source"] or "/")
        if mount["Type"] != "volume" or any(target.iterdir()):
            continue
        inside = mount["Destination"].lstrip("/")
        for layer in reversed(layers):
            source = _within(layer, inside)
            if source is not None and source.is_dir():
                command = ["cp", "-a", "--no-target-directory", str(source), str(target)]
                subprocess.run(command, check=False, stdin=subprocess.DEVNULL)
                _drop_whiteouts(target)


def _within(layer: Path, inside: str) -> Path | None:
    """Return a path of one layer, None when a link is on the way: it might lead out."""
    current = layer
    for part in inside.split("/"):
        current = current / part
        if current.is_symlink() or not current.exists():
            return None
    return current


def _drop_whiteouts(target: Path) -> None:
    for path in list(target.rglob("*")):
        if path.is_char_device() and path.lstat().st_rdev == 0:
            path.unlink()
