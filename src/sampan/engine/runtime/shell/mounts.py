"""Mounting by descriptors: a detached mount is made, given its attributes, and only then attached.

Nothing is ever mounted by a path of the container, so there is no moment at which an image or
another process could exchange a directory for a link.
"""

from __future__ import annotations

import errno
import functools
import itertools
import os
import stat
from collections.abc import Sequence
from typing import Final

from sampan.base.errors import InvalidError
from sampan.engine.runtime.core.mount_options import RDONLY, MountOptions
from sampan.engine.runtime.core.plan import CLONE_FLAGS, AttachMount, RootMount
from sampan.engine.runtime.shell import inside, syscalls
from sampan.engine.runtime.shell.idmap import in_user_namespace

__all__ = ["PROC", "attach", "filesystem", "mount_root", "overlay_in_one", "tree"]

PROC: Final = 0x9FA0
"""The magic number of procfs."""

_OVER_PROC: Final = frozenset(
    "/proc/" + name
    for name in (
        "cpuinfo diskstats meminfo stat swaps uptime loadavg slabinfo net/dev "
        "sys/kernel/ns_last_pid sys/crypto/fips_enabled"
    ).split()
)
"""What may be mounted over: files that only tell figures."""

_AT_FDCWD: Final = -100
_OPTION_BYTES: Final = 256
_MNT_DETACH: Final = 2
_COPY_BYTES: Final = 1 << 20


def filesystem(kind: str, source: str, data: Sequence[str], superblock: Sequence[str] = ()) -> int:
    """Return a detached mount of a new file system."""
    if kind == "overlay" and not _takes_layers_singly(data):
        return overlay_in_one(data, superblock)
    context = syscalls.fsopen(kind)
    try:
        syscalls.fsconfig_string(context, "source", source or kind)
        for word in superblock:
            syscalls.fsconfig_flag(context, word)
        for one in data:
            key, equals, value = one.partition("=")
            if equals:
                _configure(context, kind, key, value)
            else:
                syscalls.fsconfig_flag(context, key)
        syscalls.fsconfig_create(context)
        return syscalls.fsmount(context, 0)
    except OSError as error:
        raise OSError(error.errno, f"mount {kind}: {_reason(context) or error.strerror}") from error
    finally:
        os.close(context)


def _configure(context: int, kind: str, key: str, value: str) -> None:
    """Set an option; the layers of an overlay one by one, for together they exceed a page."""
    if kind == "overlay" and key == "lowerdir" and len(value) > 200:
        for layer in value.split(":"):
            syscalls.fsconfig_string(context, "lowerdir+", layer)
    else:
        syscalls.fsconfig_string(context, key, value)


@functools.cache
def _knows_single_layers() -> bool:
    """Tell whether overlayfs takes its layers one by one: since Linux 6.5."""
    release = os.uname().release.split(".")
    numbers = [int("".join(itertools.takewhile(str.isdigit, one)) or 0) for one in release[:2]]
    return numbers >= [6, 5]


def _takes_layers_singly(data: Sequence[str]) -> bool:
    """Tell whether the options of an overlay fit: each into 255 bytes."""
    paths = [path for one in data for path in one.partition("=")[2].split(":")]
    fits = all(len(path) < _OPTION_BYTES for path in paths)
    return fits and (_knows_single_layers() or all(len(one) < 200 for one in data))


def overlay_in_one(data: Sequence[str], superblock: Sequence[str] = ()) -> int:
    """Return a detached overlay whose layers are given in one option, by their descriptors.

    For kernels that take it no other way, and for long paths. It is attached for a moment over one
    of its own layers, so only in a mount namespace that nobody else sees.
    """
    fds: list[int] = []
    words, target = [], ""
    try:
        for one in data:
            key, _, value = one.partition("=")
            if key in ("lowerdir", "upperdir", "workdir"):
                paths = value.split(":") if key == "lowerdir" else [value]
                opened = [os.open(path, os.O_PATH | os.O_DIRECTORY) for path in paths]
                fds += opened
                target = target or paths[0]
                one = f"{key}={':'.join(f'/proc/self/fd/{fd}' for fd in opened)}"
            words.append(one)
        flags = RDONLY if "ro" in superblock else 0
        syscalls.mount("overlay", target, "overlay", flags, ",".join(words))
        try:
            return syscalls.open_tree(target, recursive=False)
        finally:
            syscalls.umount2(target, 2)
    finally:
        for fd in fds:
            os.close(fd)


def _reason(context: int) -> str:
    """Return what the kernel says about a failure: one message a read."""
    try:
        return os.read(context, 1024).decode(errors="replace").removeprefix("e ").strip()
    except OSError:
        return ""


def tree(source: str, options: MountOptions) -> int:
    """Return a detached copy of the mount at `source`, for a bind."""
    if not options.namespace:
        return syscalls.open_tree(source, recursive=options.recursive)
    own = os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    theirs = os.open(options.namespace, os.O_RDONLY | os.O_CLOEXEC)
    try:
        syscalls.setns(theirs, CLONE_FLAGS["mount"])
        try:
            return syscalls.open_tree(source, recursive=options.recursive)
        finally:
            syscalls.setns(own, CLONE_FLAGS["mount"])
    finally:
        os.close(own)
        os.close(theirs)


def settle(fd: int, options: MountOptions, *, bind: bool) -> None:
    """Give a detached mount its attributes and propagation."""
    if options.set_ or options.clear:
        syscalls.mount_setattr(fd, set_=options.set_, clear=options.clear)
    if options.recursive_set or options.recursive_clear:
        syscalls.mount_setattr(
            fd, set_=options.recursive_set, clear=options.recursive_clear, recursive=True
        )
    if options.propagation:
        syscalls.mount_setattr(
            fd, propagation=options.propagation, recursive=options.propagation_recursive
        )
    elif bind:
        syscalls.mount_setattr(fd, propagation=1 << 18, recursive=True)


def mount_root(mount: RootMount, options: MountOptions, path: str) -> None:
    """Mount the container's root at a directory of the host, in this mount namespace."""
    if options.bind:
        fd = tree(mount.source, options)
    else:
        fd = filesystem(mount.type, mount.source, options.data, options.superblock)
    try:
        settle(fd, options, bind=False)
        syscalls.move_mount(fd, _AT_FDCWD, path)
    finally:
        os.close(fd)


def attach(step: AttachMount, root_fd: int, given: int = -1) -> None:
    """Attach one mount of the specification below the root; `given` is one made already."""
    options = step.options
    if options.remount:
        target = inside.open_path(root_fd, step.destination)
        try:
            settle(target, options, bind=False)
        finally:
            os.close(target)
        return
    if given >= 0:
        fd = given
        directory = stat.S_ISDIR(os.fstat(fd).st_mode)
    elif step.is_bind:
        fd = tree(step.source, options)
        directory = stat.S_ISDIR(os.fstat(fd).st_mode)
    else:
        fd = _filesystem_of(step)
        directory = True
    try:
        make = inside.make_directory if directory else inside.make_file
        target = make(root_fd, step.destination)
        try:
            if not directory and stat.S_ISDIR(os.fstat(target).st_mode):
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
            _keep_proc(step, target, fd)
            if options.copy_up and step.type == "tmpfs":
                _copy_up(root_fd, step.destination, fd)
            if given < 0 or not step.is_bind:
                settle(fd, options, bind=options.bind)
            syscalls.move_mount(fd, target, "")
            if options.subpath:
                _show_part(fd, options.subpath, target)
        finally:
            os.close(target)
    finally:
        os.close(fd)


def _show_part(whole: int, path: str, target: int) -> None:
    """Exchange a mount that has been attached at `target` for a part of itself.

    Before Linux 6.15 only what is attached may be copied.
    """
    part = inside.open_path(whole, path)
    try:
        fd = syscalls.open_tree("", recursive=False, dir_fd=part)
    finally:
        os.close(part)
    try:
        syscalls.umount2(f"/proc/self/fd/{whole}", _MNT_DETACH)
        syscalls.move_mount(fd, target, "")
    finally:
        os.close(fd)


def _keep_proc(step: AttachMount, target: int, fd: int) -> None:
    """Refuse to cover parts of procfs, to which later steps write and whose files they hide."""
    destination = step.destination.rstrip("/")
    if destination in _OVER_PROC or syscalls.filesystem_type(target) != PROC:
        return
    if destination == "/proc" and syscalls.filesystem_type(fd) == PROC:
        return
    raise InvalidError(f'"{step.destination}" cannot be mounted because it is inside /proc')


def _filesystem_of(step: AttachMount) -> int:
    """Make the file system of a step, as far as a user namespace may."""
    options = step.options
    # As mount(2) does: what is mounted read-only is so for every mount of this file system.
    words = ("ro",) if options.read_only and not options.copy_up else ()
    try:
        return filesystem(step.type, step.source, options.data, (*options.superblock, *words))
    except OSError as error:
        if step.type == "sysfs" and error.errno == errno.EPERM:
            # Without a network namespace of its own, a user namespace may not mount a new sysfs.
            fd = syscalls.open_tree("/sys", recursive=True)
            syscalls.mount_setattr(fd, set_=RDONLY, recursive=True)
            return fd
        if step.type == "devpts" and error.errno == errno.EINVAL and in_user_namespace():
            # A namespace with few ids has no group for terminals.
            data = [one for one in options.data if not one.startswith("gid=")]
            return filesystem(step.type, step.source, data, options.superblock)
        raise


def _copy_up(root_fd: int, path: str, fd: int) -> None:
    """Copy what the image has at a path into the file system that will cover it."""
    try:
        source = inside.open_path(root_fd, path, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            return
        raise
    try:
        status = os.fstat(source)
        _copy_tree(source, fd)
        os.chown(f"/proc/self/fd/{fd}", status.st_uid, status.st_gid)
        os.chmod(f"/proc/self/fd/{fd}", stat.S_IMODE(status.st_mode))
    finally:
        os.close(source)


def _copy_tree(source: int, target: int) -> None:
    for name in os.listdir(source):
        status = os.stat(name, dir_fd=source, follow_symlinks=False)
        mode = stat.S_IMODE(status.st_mode)
        if stat.S_ISDIR(status.st_mode):
            os.mkdir(name, mode, dir_fd=target)
            below = os.open(name, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=source)
            into = os.open(name, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=target)
            try:
                _copy_tree(below, into)
            finally:
                os.close(below)
                os.close(into)
        elif stat.S_ISLNK(status.st_mode):
            os.symlink(os.readlink(name, dir_fd=source), name, dir_fd=target)
        elif stat.S_ISREG(status.st_mode):
            _copy_file(source, target, name, mode)
        else:
            os.mknod(name, status.st_mode, status.st_rdev, dir_fd=target)
        os.chown(name, status.st_uid, status.st_gid, dir_fd=target, follow_symlinks=False)
        if not stat.S_ISLNK(status.st_mode):
            os.chmod(name, mode, dir_fd=target)
            times = (status.st_atime_ns, status.st_mtime_ns)
            os.utime(name, ns=times, dir_fd=target, follow_symlinks=False)


def _copy_file(source: int, target: int, name: str, mode: int) -> None:
    below = os.open(name, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=source)
    into = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode, dir_fd=target)
    try:
        while data := os.read(below, _COPY_BYTES):
            os.write(into, data)
    finally:
        os.close(below)
        os.close(into)
