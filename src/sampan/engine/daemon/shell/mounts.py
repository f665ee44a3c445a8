"""What a container has mounted: binds, volumes and tmpfs, from every way of asking for them."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sampan.base.errors import InvalidError
from sampan.engine.daemon.core.mount_request import (
    MountRequest,
    check_tmpfs,
    parse_bind,
    parse_mount,
)
from sampan.engine.daemon.shell.volumes import Volumes
from sampan.images.shell.copying import copy_merged
from sampan.images.shell.stack import Stack

__all__ = ["collect_mounts", "populate"]


def collect_mounts(
    config: Mapping[str, Any],
    host: Mapping[str, Any],
    inherited: Sequence[Mapping[str, Any]],
    volumes: Volumes,
) -> list[dict[str, Any]]:
    """Return the mounts of a container to be, volumes made where they are missing.

    `inherited` come from `--volumes-from`. Raises InvalidError with Docker's words, and then
    volumes that were made for this container are gone again.
    """
    check_tmpfs(host["Tmpfs"] or {})
    anonymous = list(config["Volumes"] or ())
    wanted: list[MountRequest] = []
    for text in host["Binds"] or ():
        request = parse_bind(text, host["VolumeDriver"])
        if request is None:
            anonymous.append(text)
        else:
            wanted.append(request)
    wanted += map(parse_mount, host["Mounts"] or ())
    _check_places(wanted, host["Tmpfs"] or {})
    made: list[str] = []
    try:
        return _resolved(wanted, anonymous, host, inherited, volumes, made)
    except BaseException:
        for name in made:
            volumes.remove(name, (), force=True)
        raise


def _check_places(wanted: Sequence[MountRequest], tmpfs: Mapping[str, str]) -> None:
    own = {posixpath.normpath(place) for place in tmpfs}
    for request in wanted:
        if request.destination in own:
            raise InvalidError(f"Duplicate mount point: {request.destination}")
        own.add(request.destination)


def _resolved(
    wanted: Sequence[MountRequest],
    anonymous: Sequence[str],
    host: Mapping[str, Any],
    inherited: Sequence[Mapping[str, Any]],
    volumes: Volumes,
    made: list[str],
) -> list[dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {one["Destination"]: dict(one) for one in inherited}
    for request in wanted:
        found[request.destination] = _mount(request, volumes, made)
    for destination in anonymous:
        path = posixpath.normpath(destination)
        if path not in found and path not in (host["Tmpfs"] or {}):
            request = MountRequest("volume", "", path, driver=host["VolumeDriver"])
            found[path] = _mount(request, volumes, made)
    return list(found.values())


def _mount(request: MountRequest, volumes: Volumes, made: list[str]) -> dict[str, Any]:
    if request.kind == "bind":
        return _bind(request)
    mount: dict[str, Any] = {
        "Type": request.kind,
        "Source": "",
        "Destination": request.destination,
        "Mode": request.mode,
        "RW": request.writable,
        "Propagation": "",
    }
    if request.kind == "tmpfs":
        return {**mount, "TmpfsOptions": list(request.tmpfs_options)}
    known = volumes.has(request.source)
    volume = volumes.create(request.source, request.driver, request.driver_options, request.labels)
    if not known:
        made.append(volume["Name"])
    mount |= {"Name": volume["Name"], "Source": volume["Mountpoint"], "Driver": "local"}
    mount["Mode"] = request.mode or "z"
    if request.subpath:
        mount["Subpath"] = posixpath.normpath(request.subpath)
    if not request.copy:
        mount["NoCopy"] = True
    return mount


def _bind(request: MountRequest) -> dict[str, Any]:
    """Return a bind; a missing directory of the host is made where the client's words allow it."""
    source = request.source
    if not os.path.lexists(source):
        if not (request.missing_source_allowed or request.create_source):
            raise InvalidError(
                f'invalid mount config for type "bind": bind source path does not exist: {source}'
            )
        try:
            Path(source).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InvalidError(
                f"error while creating mount source path '{source}': mkdir {source}: "
                f"{(error.strerror or '').lower()}"
            ) from None
    return {
        "Type": "bind",
        "Source": source,
        "Destination": request.destination,
        "Mode": request.mode,
        "RW": request.writable,
        "Propagation": request.propagation,
        "Recursive": request.recursive,
        "ReadOnlyRecursive": request.read_only_recursive and request.recursive,
    }


def populate(mounts: Sequence[Mapping[str, Any]], layers: Sequence[Path]) -> None:
    """Copy what the image has at a volume's place into the volume, if that is empty; blocks.

    `layers` are the image's, the uppermost first. Owner and mode of the directory come along.
    """
    for mount in mounts:
        target = Path(mount["Source"] or "/")
        if mount["Type"] != "volume" or mount.get("NoCopy") or any(target.iterdir()):
            continue
        found = Stack.of(layers).resolve(mount["Destination"])
        if found is not None:
            copy_merged(found, target)
