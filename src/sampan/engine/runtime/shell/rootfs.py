"""The steps that make a container's root, carried out by the child in its own mount namespace."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Mapping, Sequence
from typing import Final

from sampan.base.errors import InvalidError, invariant
from sampan.engine.runtime.core.mount_options import RDONLY, SHARED, parse_options
from sampan.engine.runtime.core.plan import (
    AttachMount,
    BindRoot,
    MakeDevices,
    Mask,
    MountRoot,
    Plan,
    Propagate,
    ReadOnlyPath,
    ReadOnlyRoot,
    SetNames,
    Step,
    Sysctl,
    ViewCgroups,
)
from sampan.engine.runtime.core.spec import Device
from sampan.engine.runtime.shell import inside, mounts, syscalls

__all__ = ["RootBuilder"]

_AT_FDCWD: Final = -100
_DEVICE_KINDS: Final = {"c": stat.S_IFCHR, "b": stat.S_IFBLK, "p": stat.S_IFIFO}
_ABSENT: Final = (errno.ENOENT, errno.ENOTDIR)


class RootBuilder:
    """Carries out a plan's steps. `step` names the one that is under way, for errors."""

    def __init__(
        self,
        plan: Plan,
        host_mount_namespace: int,
        given: Mapping[int, int],
        *,
        in_user_namespace: bool,
    ) -> None:
        """`given` are mounts that the parent has made, by the number of the step before pivot."""
        self._plan = plan
        self._given = dict(given)
        self._host_mount_namespace = host_mount_namespace
        self._in_user_namespace = in_user_namespace
        self._root_fd = -1
        self._null_fd = -1
        self._proc_is_real = False
        self.step = ""

    def build(self, cgroup_paths: dict[str, str]) -> None:
        """Make the root and enter it; `cgroup_paths` are the container's, by mount point."""
        own = os.stat("/proc/self/ns/mnt").st_ino
        invariant(own != self._host_mount_namespace, "the child is in the host's mount namespace")
        self._cgroup_paths = cgroup_paths
        self._open_shared()
        for number, step in enumerate(self._plan.before_pivot):
            self._carry_out(step, self._given.get(number, -1))
        # Only for a root without a null device of its own; read-only, so that its mode stays.
        self._null_fd = syscalls.open_tree("/dev/null", recursive=False)
        syscalls.mount_setattr(self._null_fd, set_=RDONLY)

    def _open_shared(self) -> None:
        """Copy what is to be mounted as shared while it still is one with the host's mount."""
        for number, step in enumerate(self._plan.before_pivot):
            if number in self._given or not isinstance(step, AttachMount) or not step.is_bind:
                continue
            if step.options.propagation == SHARED and not step.options.namespace:
                self.step = _words(step)
                self._given[number] = mounts.tree(step.source, step.options)

    def enter(self) -> None:
        """Pivot into the root, then carry out the steps that see the container's files only."""
        self.step = "pivot_root"
        old_fd = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        os.fchdir(self._root_fd)
        syscalls.pivot_root(".", ".")
        # The old root lies on top of the new one: a mount event there must not reach the host.
        os.fchdir(old_fd)
        syscalls.mount(None, ".", None, 0x4000 | 1 << 19)
        syscalls.umount2(".", 2)
        os.chdir("/")
        os.close(old_fd)
        os.close(self._root_fd)
        self._root_fd = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        for step in self._plan.after_pivot:
            self._carry_out(step)
        os.close(self._root_fd)
        os.close(self._null_fd)

    @property
    def root_fd(self) -> int:
        """The root, a descriptor for paths below it."""
        return self._root_fd

    def _carry_out(self, step: Step, given: int = -1) -> None:
        self.step = _words(step)
        match step:
            case Propagate(flags):
                syscalls.mount(None, "/", None, flags)
            case MountRoot() if given >= 0:
                # Its place on the host cannot be reached from here; the root itself always can.
                syscalls.move_mount(given, _AT_FDCWD, "/")
                self._root_fd = given
            case MountRoot(mount, options):
                mounts.mount_root(mount, options, self._plan.root_path)
                self._open_root()
            case BindRoot():
                self._bind_root()
            case AttachMount():
                mounts.attach(step, self._root_fd, given)
            case ViewCgroups():
                self._view_cgroups(step)
            case MakeDevices(devices, links):
                self._make_devices(devices, links)
            case SetNames(hostname, domainname):
                if hostname:
                    syscalls.sethostname(hostname)
                if domainname:
                    syscalls.setdomainname(domainname)
            case Sysctl(settings):
                joined = any(one.type == "network" for one in self._plan.joins)
                for key, value in settings:
                    if self._in_user_namespace and joined and key.startswith("net."):
                        continue  # the parent has the right to, and has done so
                    self._write("/proc/sys/" + key.replace(".", "/"), value)
            case ReadOnlyPath(path):
                self._make_read_only(path)
            case Mask(paths):
                self._mask(paths)
            case ReadOnlyRoot():
                fd = os.open("/", os.O_PATH | os.O_DIRECTORY)
                syscalls.mount_setattr(fd, set_=RDONLY)
                os.close(fd)

    def _open_root(self) -> None:
        flags = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
        self._root_fd = os.open(self._plan.root_path, flags)

    def _bind_root(self) -> None:
        fd = syscalls.open_tree(self._plan.root_path, recursive=True)
        syscalls.move_mount(fd, _AT_FDCWD, self._plan.root_path)
        os.close(fd)
        self._open_root()

    def _view_cgroups(self, step: ViewCgroups) -> None:
        """Show each hierarchy that the host has; version 1 ones as directories of one tmpfs."""
        unified = [path for path in self._cgroup_paths if path == "/sys/fs/cgroup"]
        if unified:
            self._bind_cgroup(step, unified[0], step.destination)
            return
        options = parse_options(["nosuid", "nodev", "noexec", "mode=755"])
        target = AttachMount(step.destination, "tmpfs", "tmpfs", options)
        mounts.attach(target, self._root_fd)
        view = inside.open_path(self._root_fd, step.destination)
        for mounted in sorted(self._cgroup_paths):
            name = mounted.rpartition("/")[2]
            os.mkdir(name, 0o755, dir_fd=view)
            self._bind_cgroup(step, mounted, f"{step.destination}/{name}")
        if step.options.read_only:
            syscalls.mount_setattr(view, set_=RDONLY)
        os.close(view)

    def _bind_cgroup(self, step: ViewCgroups, mounted: str, destination: str) -> None:
        source = mounted + self._cgroup_paths[mounted]
        words = ["bind", "nosuid", "nodev", "noexec", *(["ro"] if step.options.read_only else [])]
        attach = AttachMount(destination, "bind", source, parse_options(words))
        mounts.attach(attach, self._root_fd)

    def _make_devices(
        self, devices: tuple[Device, ...], links: tuple[tuple[str, str], ...]
    ) -> None:
        mask = os.umask(0)
        for device in devices:
            parent, _, name = device.path.rpartition("/")
            fd = inside.make_directory(self._root_fd, parent or "/")
            try:
                if self._in_user_namespace:
                    self._bind_device(device)
                else:
                    self._make_node(device, name, fd)
            finally:
                os.close(fd)
        for path, target in links:
            parent, _, name = path.rpartition("/")
            fd = inside.make_directory(self._root_fd, parent)
            try:
                os.symlink(target, name, dir_fd=fd)
            except FileExistsError:
                pass
            finally:
                os.close(fd)
        os.umask(mask)

    def _make_node(self, device: Device, name: str, fd: int) -> None:
        kind = _DEVICE_KINDS[device.type] | device.mode
        number = os.makedev(device.major, device.minor)
        try:
            os.mknod(name, kind, number, dir_fd=fd)
        except FileExistsError:
            found = os.stat(name, dir_fd=fd, follow_symlinks=False)
            if stat.S_IFMT(found.st_mode) != _DEVICE_KINDS[device.type] or found.st_rdev != number:
                raise InvalidError(f"{device.path}: another file is in the way") from None
        except PermissionError:
            self._bind_device(device)
            return
        os.chown(name, device.uid, device.gid, dir_fd=fd, follow_symlinks=False)

    def _bind_device(self, device: Device) -> None:
        options = parse_options(["bind"])
        source = device.source or device.path
        mounts.attach(AttachMount(device.path, "bind", source, options), self._root_fd)

    def _write(self, path: str, value: str) -> None:
        fd = inside.open_path(self._root_fd, path, os.O_WRONLY)
        try:
            if syscalls.filesystem_type(fd) != mounts.PROC:
                raise InvalidError(f"{path}: not a file of procfs")
            os.write(fd, value.encode())
        finally:
            os.close(fd)

    def _check_proc(self, paths: Sequence[str]) -> None:
        """Make certain that what is to be hidden below /proc is below the real one."""
        if self._proc_is_real:
            return
        steps = self._plan.before_pivot
        given = any(isinstance(one, AttachMount) and one.type == "proc" for one in steps)
        if not given or not any(path.startswith("/proc/") for path in paths):
            return
        fd = inside.open_path(self._root_fd, "/proc")
        try:
            if syscalls.filesystem_type(fd) != mounts.PROC:
                raise InvalidError("/proc: paths in it are to be protected, but it is not procfs")
            self._proc_is_real = True
        finally:
            os.close(fd)

    def _make_read_only(self, path: str) -> None:
        self._check_proc((path,))
        try:
            at = inside.open_path(self._root_fd, path)
        except OSError as error:
            if error.errno in _ABSENT:
                return
            raise
        fd = syscalls.open_tree("", recursive=True, dir_fd=at)
        syscalls.mount_setattr(fd, set_=RDONLY, recursive=True)
        syscalls.move_mount(fd, at, "")
        os.close(fd)
        os.close(at)

    def _own_null(self) -> int:
        """Return a descriptor of the container's null device, made certain to be one."""
        try:
            fd = inside.open_path(self._root_fd, "/dev/null")
        except OSError:
            return os.dup(self._null_fd)
        found = os.fstat(fd)
        if stat.S_ISCHR(found.st_mode) and found.st_rdev == os.makedev(1, 3):
            return fd
        os.close(fd)
        return os.dup(self._null_fd)

    def _mask(self, paths: tuple[str, ...]) -> None:
        self._check_proc(paths)
        empty, null = -1, self._own_null()
        for path in paths:
            try:
                at = inside.open_path(self._root_fd, path)
            except OSError as error:
                if error.errno in _ABSENT:
                    continue
                raise
            if stat.S_ISDIR(os.fstat(at).st_mode):
                if empty < 0:
                    limits = ("nr_blocks=1", "nr_inodes=1")
                    empty = mounts.filesystem("tmpfs", "tmpfs", limits, ("ro",))
                    syscalls.mount_setattr(empty, set_=RDONLY)
                cover = syscalls.open_tree("", recursive=False, dir_fd=empty)
            else:
                cover = syscalls.open_tree("", recursive=False, dir_fd=null)
            syscalls.move_mount(cover, at, "")
            os.close(cover)
            os.close(at)
        os.close(null)
        if empty >= 0:
            os.close(empty)


def _words(step: Step) -> str:
    """Name a step for an error: what, and where."""
    match step:
        case AttachMount(destination, type_, source, _):
            return f'mount "{source or type_}" to rootfs at "{destination}"'
        case ViewCgroups(destination):
            return f'mount cgroups to rootfs at "{destination}"'
        case MountRoot(mount, _):
            return f"mount the root ({mount.type})"
        case ReadOnlyPath(path):
            return f"make {path} read-only"
        case _:
            return type(step).__name__
