"""Mounts of pods' containers: directories of the node, files of the pod, images."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping, Sequence
from typing import Any, Final

from sampan.base.errors import InvalidError, UnsupportedError
from sampan.engine.cri.pb.container_pb2 import ContainerConfig, Mount, MountPropagation
from sampan.engine.cri.pb.security_pb2 import UserNamespace

__all__ = ["check_mount", "image_volume", "mount_records"]

_PROPAGATIONS: Final = {
    MountPropagation.PROPAGATION_PRIVATE: "rprivate",
    MountPropagation.PROPAGATION_HOST_TO_CONTAINER: "rslave",
    MountPropagation.PROPAGATION_BIDIRECTIONAL: "rshared",
}


def check_mount(mount: Mount, pods: UserNamespace) -> None:
    """Refuse a mount that cannot be; `pods` is the pod's user namespace."""
    if mount.image.image:
        if mount.image_sub_path.startswith("/") or ".." in mount.image_sub_path.split("/"):
            raise InvalidError("image_sub_path: a relative path without .. is needed")
        if mount.host_path or not mount.container_path:
            raise InvalidError("a mount of an image needs a container_path and no host_path")
        return
    for given, own in ((mount.uidMappings, pods.uids), (mount.gidMappings, pods.gids)):
        if given and list(given) != list(own):
            raise UnsupportedError(
                "mounts with other mappings than the pod's are not supported yet"
            )
    if not mount.container_path or not mount.host_path:
        raise InvalidError("a mount needs container_path and host_path")
    if not mount.host_path.startswith("/"):
        raise InvalidError(f"mount {mount.host_path!r}: host_path must be absolute")
    if mount.recursive_read_only:
        if not mount.readonly:
            raise InvalidError(
                f"mount {mount.container_path}: recursive_read_only needs readonly to be set"
            )
        if mount.propagation != MountPropagation.PROPAGATION_PRIVATE:
            raise InvalidError(
                f"mount {mount.container_path}: recursive_read_only needs private propagation"
            )


def mount_records(
    config: ContainerConfig, files: Mapping[str, str], *, mapped: bool
) -> list[dict[str, Any]]:
    """Return the binds: the pod's own files (destination to source), then those asked for.

    `mapped` is a pod with a user namespace: its files have owners of that.
    """
    asked = [
        {
            "Type": "bind",
            "Source": posixpath.normpath(one.host_path),
            "Destination": posixpath.normpath("/" + one.container_path),
            "Mode": "",
            "RW": not one.readonly,
            "Propagation": _PROPAGATIONS[one.propagation],
            "Options": _mount_options(one),
        }
        for one in config.mounts
        if not one.image.image
    ]
    taken = {one["Destination"] for one in asked}
    own = [
        {
            "Type": "bind",
            "Source": source,
            "Destination": destination,
            "Mode": "",
            "RW": True,
            "Propagation": "rprivate",
            "Options": ["bind", "rprivate", *(["idmap"] if mapped else [])],
        }
        for destination, source in files.items()
        if destination not in taken
    ]
    return [*own, *asked]


def _mount_options(mount: Mount) -> list[str]:
    words = ["rbind", _PROPAGATIONS[mount.propagation]]
    words += ["idmap"] if mount.uidMappings or mount.gidMappings else []
    if mount.recursive_read_only:
        return [*words, "rro", "ro"]
    return [*words, "ro" if mount.readonly else "rw"]


def image_volume(
    destination: str, layers: Sequence[str], subpath: str = "", *, mapped: bool
) -> dict[str, Any]:
    """Return the mount of an image's files, or of a part: nobody writes to them or executes them.

    `layers` are directories, the uppermost first. Raises UnsupportedError for what cannot be.
    """
    safe = ["ro", "nosuid", "nodev", "noexec"]
    safe += [f"x-subpath={subpath}"] if subpath else []
    mount = {
        "Type": "image",
        "Source": layers[0] if layers else "tmpfs",
        "Destination": posixpath.normpath("/" + destination),
        "Mode": "",
        "RW": False,
        "Propagation": "",
        "Options": ["bind", "rprivate", *safe, *(["idmap"] if mapped else [])],
    }
    if len(layers) == 1:
        return mount
    if mapped and layers:
        raise UnsupportedError(
            "volumes of images with several layers are not supported yet in a user namespace"
        )
    if not layers:
        return {**mount, "FileSystem": "tmpfs", "Options": safe}
    options = [f"lowerdir={':'.join(layers)}", *safe]
    return {**mount, "Source": "overlay", "FileSystem": "overlay", "Options": options}
