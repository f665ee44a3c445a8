"""Mounts that the parent makes for a child in a user namespace, which may not make them itself.

The child is no longer root on the host: it cannot reach the engine's directories nor mount layers
whose owners it does not have. So the parent makes those mounts, detached, shows the layers' owners
through the child's id maps (mount_setattr with MOUNT_ATTR_IDMAP: nothing on disk is changed), and
hands the descriptors over. Source: mount_setattr(2), overlayfs "ID mapped layers" (Linux 5.19).
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Sequence
from typing import Final

from sampan.base.errors import InvalidError, SampanError, UnsupportedError
from sampan.base.record import changed
from sampan.engine.runtime.core.mount_options import MountOptions
from sampan.engine.runtime.core.plan import CLONE_FLAGS, AttachMount, MountRoot, Plan
from sampan.engine.runtime.core.spec import IdMap
from sampan.engine.runtime.shell import identity, idmap, mounts, syscalls

__all__ = ["mounts_for_child", "needs_handover"]

_IDMAP: Final = 0x00100000
_AT_FDCWD: Final = -100
_REC_PRIVATE: Final = 0x4000 | 1 << 18


def needs_handover(plan: Plan) -> bool:
    """Tell whether a child without a user namespace is to be given mounts."""
    return any(isinstance(one, AttachMount) and one.options.idmap for one in plan.before_pivot)


def mounts_for_child(plan: Plan, pid: int) -> dict[int, int]:
    """Return descriptors of detached mounts by the number of the step that they belong to.

    `pid` is the child, whose id maps are written. Raises SampanError with the reason.
    """
    user = plan.mapped
    found: dict[int, int] = {}
    own = os.open(f"/proc/{pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC) if user else -1
    try:
        for number, step in enumerate(plan.before_pivot):
            fd = _mount_of(plan, step, own, user=user)
            if fd is not None:
                found[number] = fd
    except BaseException:
        for fd in found.values():
            os.close(fd)
        raise
    finally:
        if own >= 0:
            os.close(own)
    return found


def _mount_of(plan: Plan, step: object, own: int, *, user: bool) -> int | None:
    match step:
        case MountRoot(mount, options) if user:
            if not options.bind:
                return _mapped_overlay(mount.type, options, own, plan)
            fd = mounts.tree(mount.source, options)
            return _settled(fd, options, own)
        case AttachMount() if step.is_bind and (user or step.options.idmap):
            return _bind(step, own)
        case AttachMount() if user and step.type == "sysfs" and _joins_network(plan):
            return mounts.filesystem("sysfs", "sysfs", (), ())
    return None


def _joins_network(plan: Plan) -> bool:
    return any(one.type == "network" for one in plan.joins)


def _bind(step: AttachMount, own: int) -> int:
    fd = mounts.tree(step.source, step.options)
    if not step.options.idmap:
        return _settled(fd, step.options, -1)
    if not (step.uid_maps or step.gid_maps):
        if own < 0:
            os.close(fd)
            raise UnsupportedError(
                f'mount "{step.source}": idmap without mappings, and no user namespace to take '
                "them from"
            )
        return _settled(fd, step.options, own)
    namespace = idmap.namespace(step.uid_maps, step.gid_maps)
    try:
        return _settled(fd, step.options, namespace)
    finally:
        os.close(namespace)


def _settled(fd: int, options: MountOptions, namespace: int) -> int:
    """Give the mount its id maps and attributes; returns it."""
    try:
        if namespace >= 0:
            _map(fd, namespace, recursive=options.recursive and options.idmap == "ridmap")
        mounts.settle(fd, options, bind=options.bind)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _map(fd: int, namespace: int, *, recursive: bool = False) -> None:
    try:
        syscalls.mount_setattr(fd, set_=_IDMAP, userns_fd=namespace, recursive=recursive)
    except OSError as error:
        raise SampanError(
            f"this file system or kernel cannot show files with mapped owners: {error}"
        ) from error


def _mapped_overlay(kind: str, options: MountOptions, namespace: int, plan: Plan) -> int:
    """Return an overlay of layers whose owners are mapped.

    Layers are given by path, so a process in a mount namespace of its own attaches them below
    the root's place for the moment; the overlay keeps them when they are gone.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    pid = os.fork()
    if pid == 0:
        try:
            fd = _overlay_in_own_namespace(kind, options, namespace, plan)
            socket.send_fds(theirs, [b"M"], [fd])
        except BaseException as error:
            theirs.send(str(error).encode()[:1000])
        finally:
            os._exit(0)
    theirs.close()
    with ours:
        message, fds, _, _ = socket.recv_fds(ours, 1024, 1)
    os.waitpid(pid, 0)
    if not fds:
        raise SampanError(f"mount the root ({kind}) with mapped owners: {message.decode()}")
    return fds[0]


def _overlay_in_own_namespace(kind: str, options: MountOptions, namespace: int, plan: Plan) -> int:
    place = plan.root_path
    syscalls.unshare(CLONE_FLAGS["mount"])
    syscalls.mount(None, "/", None, _REC_PRIVATE)
    syscalls.mount("tmpfs", place, "tmpfs", 0, "mode=700,size=1m")
    shown: dict[str, str] = {}

    def mapped(path: str) -> str:
        """Show a directory with mapped owners; the same one is shown once."""
        if path not in shown:
            shown[path] = f"{place}/{len(shown)}"
            os.mkdir(shown[path])
            fd = syscalls.open_tree(path, recursive=False)
            _map(fd, namespace)
            syscalls.move_mount(fd, _AT_FDCWD, shown[path])
            os.close(fd)
        return shown[path]

    data = [_with_mapped_layers(one, mapped) for one in options.data]
    # The overlay does its own work in its writable layer as whoever has mounted it, and for the
    # host's root there is no owner in a mapped layer.
    identity.act_as(_host_id(plan.uid_maps), _host_id(plan.gid_maps))
    fd = mounts.filesystem(kind, kind, data, options.superblock)
    mounts.settle(fd, changed(options, data=tuple(data)), bind=False)
    return fd


def _host_id(maps: Sequence[IdMap]) -> int:
    """Return the host's id that is 0 inside."""
    found = next((one.host for one in maps if one.container == 0), None)
    if found is None:
        raise InvalidError("$.linux.uidMappings: the user 0 is not mapped")
    return found


def _with_mapped_layers(option: str, mapped: Callable[[str], str]) -> str:
    key, equals, value = option.partition("=")
    if not equals:
        return option
    if key == "lowerdir":
        return f"lowerdir={':'.join(map(mapped, value.split(':')))}"
    if key in ("upperdir", "workdir"):
        # Both are below one directory, for they must be on one mount.
        parent, name = os.path.split(value)
        return f"{key}={mapped(parent)}/{name}"
    return option
