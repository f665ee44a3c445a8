"""From a specification to the ordered steps that make a container, as values.

`plan` decides everything that can be decided without touching the machine. The steps before the
pivot see the host's files and the container's root as a directory; those after it see the
container's files only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sampan.base.errors import InvalidError, UnsupportedError
from sampan.base.record import record
from sampan.engine.runtime.core.mount_options import MountOptions, parse_options
from sampan.engine.runtime.core.spec import Device, IdMap, Mount, Process, Spec

__all__ = [
    "CLONE_FLAGS",
    "AttachMount",
    "BindRoot",
    "Join",
    "MakeDevices",
    "Mask",
    "MountRoot",
    "Plan",
    "Propagate",
    "ReadOnlyPath",
    "ReadOnlyRoot",
    "RootMount",
    "SetNames",
    "Step",
    "Sysctl",
    "ViewCgroups",
    "plan",
]

CLONE_FLAGS: Final = {
    "time": 0x00000080,
    "mount": 0x00020000,
    "cgroup": 0x02000000,
    "uts": 0x04000000,
    "ipc": 0x08000000,
    "user": 0x10000000,
    "pid": 0x20000000,
    "network": 0x40000000,
}
"""CLONE_NEW* by the specification's word."""

DEFAULT_DEVICES: Final = (
    Device("/dev/null", "c", 1, 3),
    Device("/dev/zero", "c", 1, 5),
    Device("/dev/full", "c", 1, 7),
    Device("/dev/tty", "c", 5, 0),
    Device("/dev/random", "c", 1, 8),
    Device("/dev/urandom", "c", 1, 9),
)
DEVICE_LINKS: Final = (
    ("/dev/fd", "/proc/self/fd"),
    ("/dev/stdin", "/proc/self/fd/0"),
    ("/dev/stdout", "/proc/self/fd/1"),
    ("/dev/stderr", "/proc/self/fd/2"),
    ("/dev/ptmx", "pts/ptmx"),
)


@record
class RootMount:
    """A file system to mount as the container's root, inside its own mount namespace."""

    type: str
    source: str
    options: tuple[str, ...] = ()


@record
class Propagate:
    """Cut the new mount namespace off from the host's: MS_SLAVE, or as the specification says."""

    flags: int


@record
class MountRoot:
    """Mount a file system at the root's path."""

    mount: RootMount
    options: MountOptions


@record
class BindRoot:
    """Make the root's directory a mount of its own."""


@record
class AttachMount:
    """Attach one mount below the root; a missing destination is made."""

    destination: str
    type: str
    source: str
    options: MountOptions
    uid_maps: tuple[IdMap, ...] = ()
    gid_maps: tuple[IdMap, ...] = ()

    @property
    def is_bind(self) -> bool:
        """Tell whether it shows files that are mounted elsewhere already."""
        return (self.options.bind or self.type == "bind") and not self.options.remount


@record
class ViewCgroups:
    """Show the container's cgroups at a path, whatever versions the host has mounted."""

    destination: str
    options: MountOptions
    private: bool


@record
class MakeDevices:
    """Make device nodes, and the links that belong into /dev."""

    devices: tuple[Device, ...]
    links: tuple[tuple[str, str], ...]


@record
class SetNames:
    """Set host and domain name of the new UTS namespace."""

    hostname: str
    domainname: str


@record
class Sysctl:
    """Write kernel parameters, all of namespaces that the container has to itself."""

    settings: tuple[tuple[str, str], ...]


@record
class ReadOnlyPath:
    """Make a path read-only, if it is there."""

    path: str


@record
class Mask:
    """Hide files behind an empty device and directories behind an empty file system."""

    paths: tuple[str, ...]


@record
class ReadOnlyRoot:
    """Make the root itself read-only."""


Step = (
    Propagate
    | MountRoot
    | BindRoot
    | AttachMount
    | ViewCgroups
    | MakeDevices
    | SetNames
    | Sysctl
    | ReadOnlyPath
    | Mask
    | ReadOnlyRoot
)


@record
class Join:
    """A namespace of another process to enter."""

    type: str
    path: str


@record
class Plan:
    """All that the child does: which namespaces, the steps on both sides of the pivot, the process.

    `late_clone_flags` are unshared after the process is in its cgroup: a cgroup namespace is rooted
    where its maker stands.
    """

    clone_flags: int
    late_clone_flags: int
    joins: tuple[Join, ...]
    uid_maps: tuple[IdMap, ...]
    gid_maps: tuple[IdMap, ...]
    root_path: str
    before_pivot: tuple[Step, ...]
    after_pivot: tuple[Step, ...]
    process: Process | None

    @property
    def mapped(self) -> bool:
        """Tell whether it is in another user namespace than the host's, made or joined."""
        made = bool(self.clone_flags & CLONE_FLAGS["user"])
        return made or any(one.type == "user" for one in self.joins)


def plan(spec: Spec, root_mounts: Sequence[RootMount] = ()) -> Plan:
    """Return the plan of a specification.

    Raises InvalidError for contradictions: a host name without a UTS namespace, a kernel parameter
    of a namespace that is the host's; UnsupportedError for what this runtime does not do.
    """
    made = [one for one in spec.linux.namespaces if not one.path]
    kinds = {one.type for one in made}
    if "mount" not in kinds:
        raise UnsupportedError("a container without a mount namespace of its own")
    if "time" in kinds:
        raise UnsupportedError("time namespaces are not supported yet")
    _check(spec, {one.type for one in spec.linux.namespaces})
    flags = 0
    for kind in kinds - {"cgroup"}:
        flags |= CLONE_FLAGS[kind]
    before: list[Step] = [Propagate(_root_propagation(spec))]
    before += [MountRoot(one, parse_options(one.options)) for one in root_mounts]
    before += [] if root_mounts else [BindRoot()]
    before += [_attach(one, "cgroup" in kinds) for one in spec.mounts]
    if not _binds_dev(spec):
        before.append(MakeDevices(_devices(spec), DEVICE_LINKS))
    return Plan(
        clone_flags=flags,
        late_clone_flags=CLONE_FLAGS["cgroup"] if "cgroup" in kinds else 0,
        joins=tuple(Join(one.type, one.path) for one in spec.linux.namespaces if one.path),
        uid_maps=spec.linux.uid_maps,
        gid_maps=spec.linux.gid_maps,
        root_path=spec.root_path,
        before_pivot=tuple(before),
        after_pivot=_after_pivot(spec),
        process=spec.process,
    )


def _after_pivot(spec: Spec) -> tuple[Step, ...]:
    steps: list[Step] = []
    if spec.hostname or spec.domainname:
        steps.append(SetNames(spec.hostname, spec.domainname))
    if spec.linux.sysctl:
        steps.append(Sysctl(tuple(sorted(spec.linux.sysctl.items()))))
    steps += [ReadOnlyPath(path) for path in spec.linux.readonly_paths]
    if spec.linux.masked_paths:
        steps.append(Mask(spec.linux.masked_paths))
    if spec.root_readonly:
        steps.append(ReadOnlyRoot())
    return tuple(steps)


def _root_propagation(spec: Spec) -> int:
    word = spec.linux.rootfs_propagation or "rslave"
    options = parse_options([word])
    if not options.propagation:
        raise InvalidError(f"$.linux.rootfsPropagation: unknown propagation {word!r}")
    return options.propagation | 0x4000


def _attach(mount: Mount, private_cgroups: bool) -> AttachMount | ViewCgroups:
    if not mount.destination.startswith("/"):
        raise InvalidError(f"$.mounts: destination {mount.destination!r} is not absolute")
    options = parse_options(mount.options)
    if mount.type in ("cgroup", "cgroup2"):
        return ViewCgroups(mount.destination, options, private_cgroups)
    return AttachMount(
        mount.destination, mount.type, mount.source, options, mount.uid_maps, mount.gid_maps
    )


def _binds_dev(spec: Spec) -> bool:
    return any(
        mount.destination.rstrip("/") == "/dev" and parse_options(mount.options).bind
        for mount in spec.mounts
    )


def _devices(spec: Spec) -> tuple[Device, ...]:
    # The multiplexer of terminals is always the one of the container's own devpts.
    own = {one.path: one for one in spec.linux.devices if one.path != "/dev/ptmx"}
    defaults = [device for device in DEFAULT_DEVICES if device.path not in own]
    return (*defaults, *own.values())


_IPC_SYSCTLS: Final = frozenset(
    {
        "kernel.msgmax",
        "kernel.msgmnb",
        "kernel.msgmni",
        "kernel.sem",
        "kernel.shmall",
        "kernel.shmmax",
        "kernel.shmmni",
        "kernel.shm_rmid_forced",
    }
)


def _check(spec: Spec, kinds: set[str]) -> None:
    if (spec.hostname or spec.domainname) and "uts" not in kinds:
        raise InvalidError("unable to set hostname without a private UTS namespace")
    for key in spec.linux.sysctl:
        name = key.replace("/", ".")
        if name in _IPC_SYSCTLS or name.startswith("fs.mqueue."):
            needed = "ipc"
        elif name.startswith("net."):
            needed = "network"
        elif name in ("kernel.domainname", "kernel.hostname"):
            needed = "uts"
        elif name.startswith("user."):
            needed = "user"
        else:
            raise InvalidError(f'sysctl "{key}" is not in a separate kernel namespace')
        if needed not in kinds:
            raise InvalidError(f'sysctl "{key}" is not allowed in the hosts {needed} namespace')
    if (spec.linux.uid_maps or spec.linux.gid_maps) and "user" not in kinds:
        raise InvalidError("user namespaces mappings specified, but user namespace isn't enabled")
    if spec.linux.mount_label:
        raise UnsupportedError("SELinux mount labels are not supported")
