"""From a container record to the OCI specification that the runtime carries out.

The defaults are Docker's: its mounts, its 14 capabilities, its device rules, its paths.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from sampan.base.errors import InvalidError
from sampan.engine.daemon.core.options import ContainerDefaults
from sampan.engine.daemon.core.record import ContainerRecord
from sampan.engine.daemon.core.security import filter_section, parse_security
from sampan.engine.daemon.core.subordinate import IdMaps
from sampan.engine.runtime.core.capability import tweak

__all__ = ["Surroundings", "is_mapped", "overlaid", "specification", "volume_mounts"]

_PATH: Final = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_DEFAULT_DEVICES: Final = (
    ("c", 1, 5, "rwm"),
    ("c", 1, 3, "rwm"),
    ("c", 1, 9, "rwm"),
    ("c", 1, 8, "rwm"),
    ("c", 5, 0, "rwm"),
    ("c", 5, 1, "rwm"),
    ("c", 1, 7, "rwm"),
    ("c", 5, 2, "rwm"),
    ("c", 136, None, "rwm"),
)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the record does not say: paths and numbers of this machine, other containers' parts."""

    root_path: str
    cgroup_path: str
    architecture: str
    netns_path: str | None = None
    files: Mapping[str, str] = field(default_factory=dict)
    """Files to put at /etc/hosts and so on: destination to source."""

    shared: Mapping[str, str] = field(default_factory=dict)
    """Namespaces of other containers: type to path."""

    sources: Mapping[str, str] = field(default_factory=dict)
    """Where parts of volumes are: destination to path."""

    host_devices: Sequence[Mapping[str, Any]] = ()
    """The host's devices that the container gets."""

    block_devices: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    """Major and minor number by path, of devices that limits name."""

    rootless: bool = False
    """The daemon itself is in a user namespace."""

    id_maps: IdMaps | None = None
    """The user namespace of containers that do not ask for the host's."""

    kernel: tuple[int, int] = (5, 10)
    defaults: ContainerDefaults = field(default_factory=ContainerDefaults)
    seccomp_profile: Mapping[str, Any] | str = ""
    """The daemon's own, decoded, or `unconfined`."""


def specification(record: ContainerRecord, around: Surroundings) -> dict[str, Any]:
    """Return the decoded `config.json`; raises InvalidError or UnsupportedError."""
    host = record.host_config
    privileged = bool(host["Privileged"])
    capabilities = tweak(host["CapAdd"] or (), host["CapDrop"] or (), privileged=privileged)
    security = parse_security(host["SecurityOpt"] or ())
    mapped = is_mapped(host, around.id_maps)
    quiet, defaults = security.no_new_privileges, around.defaults
    linux: dict[str, Any] = {
        **_namespaces(host, around),
        "cgroupsPath": around.cgroup_path,
        "resources": _resources(record, around),
        "maskedPaths": host["MaskedPaths"],
        "readonlyPaths": host["ReadonlyPaths"],
        "sysctl": _sysctls(host, around, mapped=mapped or around.rootless),
        "devices": _devices(host, around),
    }
    seccomp = filter_section(
        security,
        capabilities,
        around.architecture,
        around.kernel,
        privileged=privileged,
        daemon_profile=around.seccomp_profile,
    )
    if seccomp is not None:
        linux["seccomp"] = seccomp
    uts = not host["UTSMode"]
    made = {
        "ociVersion": "1.2.0",
        "root": {"path": around.root_path, "readonly": host["ReadonlyRootfs"]},
        "hostname": record.config["Hostname"] if uts else "",
        "domainname": record.config["Domainname"] if uts else "",
        "process": {
            **process_of(record, capabilities, defaults),
            "noNewPrivileges": defaults.no_new_privileges if quiet is None else quiet,
        },
        "mounts": [
            *_base_mounts(host, around, writable_cgroups=bool(security.writable_cgroups)),
            *_file_mounts(host, around),
            *_own_mounts(record, around.sources, mapped=mapped),
        ],
        "linux": linux,
        "annotations": dict(host["Annotations"] or {}),
    }
    return overlaid(made, record.spec_changes)


def overlaid(made: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return a document with another laid over it: objects merge, all else is replaced."""
    merged = dict(made)
    for key, value in changes.items():
        below = merged.get(key)
        both = isinstance(value, Mapping) and isinstance(below, Mapping)
        merged[key] = overlaid(below, value) if both else value  # type: ignore[arg-type]
    return merged


def process_of(
    record: ContainerRecord, capabilities: Sequence[str], defaults: ContainerDefaults
) -> dict[str, Any]:
    """Return the container's first process."""
    config, host = record.config, record.host_config
    size = host["ConsoleSize"] or [0, 0]
    process: dict[str, Any] = {
        "args": [record.path, *record.args],
        "env": environment(record, config["Tty"]),
        "cwd": config["WorkingDir"] or "/",
        "terminal": config["Tty"],
        "user": {"username": config["User"] or "0", "x-groups": list(host["GroupAdd"] or ())},
        "capabilities": {
            "bounding": list(capabilities),
            "effective": list(capabilities),
            "permitted": list(capabilities),
        },
        "rlimits": [
            {"type": f"RLIMIT_{name.upper()}", "soft": soft, "hard": hard}
            for name, (soft, hard) in _ulimits(host, defaults).items()
        ],
        "oomScoreAdj": host["OomScoreAdj"],
        "x-init": defaults.init if host["Init"] is None else host["Init"],
    }
    if config["Tty"] and size[0] and size[1]:
        process["consoleSize"] = {"height": size[0], "width": size[1]}
    return process


def _ulimits(host: Mapping[str, Any], defaults: ContainerDefaults) -> Mapping[str, tuple[int, int]]:
    """Return soft and hard limits by name: the daemon's, and the container's own over them."""
    found = {one.name: (one.soft, one.hard) for one in defaults.ulimits}
    return found | {one["Name"]: (one["Soft"], one["Hard"]) for one in host["Ulimits"] or ()}


def environment(record: ContainerRecord, tty: bool) -> list[str]:
    """Return the environment: PATH, HOSTNAME and TERM unless given, then the container's own."""
    given = [entry for entry in record.config["Env"] if "=" in entry]
    base = [_PATH, f"HOSTNAME={record.config['Hostname']}", *(["TERM=xterm"] if tty else [])]
    found = {entry.partition("=")[0]: entry for entry in base}
    # A name keeps the place where it came first.
    found |= {entry.partition("=")[0]: entry for entry in given}
    return list(found.values())


def _namespaces(host: Mapping[str, Any], around: Surroundings) -> dict[str, Any]:
    """Return `namespaces`, and the id maps of a user namespace."""
    found: list[dict[str, str]] = [{"type": "mount"}]
    modes = {"pid": host["PidMode"], "ipc": host["IpcMode"], "uts": host["UTSMode"]}
    for kind, mode in modes.items():
        if kind in around.shared:
            found.append({"type": kind, "path": around.shared[kind]})
        elif mode != "host":
            found.append({"type": kind})
    if around.netns_path is not None:
        found.append({"type": "network", "path": around.netns_path})
    elif host["NetworkMode"] != "host":
        found.append({"type": "network"})
    if host["CgroupnsMode"] == "private":
        found.append({"type": "cgroup"})
    if around.id_maps is None or not is_mapped(host, around.id_maps):
        return {"namespaces": found}
    own = {"type": "user"}
    if "user" in around.shared:
        own["path"] = around.shared["user"]
    return {"namespaces": [*found, own], **around.id_maps.sections()}


_UNPRIVILEGED_NETWORK: Final = {
    "net.ipv4.ip_unprivileged_port_start": "0",
    "net.ipv4.ping_group_range": "0 2147483647",
}
"""A network of the container's own has no ports and no pings that only root may use."""


def _sysctls(host: Mapping[str, Any], around: Surroundings, *, mapped: bool) -> dict[str, str]:
    mode = host["NetworkMode"]
    own = mode != "host" and not mode.startswith("container:")
    found = dict(_UNPRIVILEGED_NETWORK) if own else {}
    if mapped and around.netns_path is None:
        # Inside, it would name groups that are not there; a network that is joined is the host's.
        found.pop("net.ipv4.ping_group_range", None)
    return {**found, **(host["Sysctls"] or {})}


def is_mapped(host: Mapping[str, Any], id_maps: IdMaps | None) -> bool:
    """Tell whether a container has a user namespace of its own."""
    return id_maps is not None and host["UsernsMode"] != "host"


def _base_mounts(
    host: Mapping[str, Any], around: Surroundings, *, writable_cgroups: bool
) -> list[dict[str, Any]]:
    safe = ["nosuid", "noexec", "nodev"]
    read_only = [] if host["Privileged"] else ["ro"]
    pts = ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]
    dev = ["nosuid", "strictatime", "mode=755", "size=65536k"]
    mounts = [
        _mount("/proc", "proc", "proc", safe),
        _mount("/dev", "tmpfs", "tmpfs", dev),
        _mount("/dev/pts", "devpts", "devpts", pts),
        _mount("/sys", "sysfs", "sysfs", [*safe, *read_only]),
        _mount(
            "/sys/fs/cgroup", "cgroup", "cgroup", safe if writable_cgroups else [*safe, *read_only]
        ),
        _mount("/dev/mqueue", "mqueue", "mqueue", safe),
    ]
    size = f"size={host['ShmSize']}"
    if host["IpcMode"] == "host":
        mounts.append(_mount("/dev/shm", "bind", "/dev/shm", ["rbind"]))
    elif "ipc" in around.shared:
        namespace = around.shared["ipc"].rpartition("/")[0] + "/mnt"
        words = ["bind", "rprivate", f"x-namespace={namespace}"]
        mounts.append(_mount("/dev/shm", "bind", "/dev/shm", words))
    elif host["IpcMode"] != "none":
        mounts.append(_mount("/dev/shm", "tmpfs", "shm", [*safe, "mode=1777", size]))
    return mounts


def _mount(destination: str, kind: str, source: str, options: Sequence[str]) -> dict[str, Any]:
    return {
        "destination": destination,
        "type": kind,
        "source": source,
        "options": list(options),
    }


def _file_mounts(host: Mapping[str, Any], around: Surroundings) -> list[dict[str, Any]]:
    words = ["bind", "rprivate", *(["ro"] if host["ReadonlyRootfs"] else [])]
    words += ["idmap"] if is_mapped(host, around.id_maps) else []
    return [
        _mount(destination, "bind", source, words) for destination, source in around.files.items()
    ]


def _own_mounts(
    record: ContainerRecord, sources: Mapping[str, str], *, mapped: bool
) -> list[dict[str, Any]]:
    """Volumes, binds and tmpfs, those nearest to the root first."""
    mounts = volume_mounts(record, sources, mapped=mapped)
    for one in record.mounts:
        if one["Type"] == "tmpfs":
            words = ["noexec", "nosuid", "nodev", *one.get("TmpfsOptions", ())]
            mounts.append(_mount(one["Destination"], "tmpfs", "tmpfs", words))
    for destination, options in (record.host_config["Tmpfs"] or {}).items():
        own = [word for word in options.split(",") if word]
        defaults = [word for word in ("noexec", "nosuid", "nodev") if word[2:] not in own]
        mounts.append(_mount(destination, "tmpfs", "tmpfs", [*defaults, *own]))
    return _by_depth(mounts)


def volume_mounts(
    record: ContainerRecord, sources: Mapping[str, str] | None = None, *, mapped: bool = False
) -> list[dict[str, Any]]:
    """Return the mounts that bring files of the host: volumes and binds, outer ones first.

    `sources` are paths of parts of volumes by their destination; parts without one are left out.
    With `mapped`, volumes show their owners through the container's id maps; a directory of the
    user's keeps its owners, as in Docker.
    """
    mounts = []
    for one in record.mounts:
        if one["Type"] == "tmpfs":
            continue
        source = (sources or {}).get(one["Destination"], one["Source"])
        if "Subpath" in one and source == one["Source"]:
            continue  # only who has opened the part may mount it
        if "Options" in one:
            kind = one.get("FileSystem", "bind")
            mounts.append(_mount(one["Destination"], kind, one["Source"], one["Options"]))
            continue
        recursive = one.get("Recursive", True)
        words = ["rbind" if recursive else "bind", one.get("Propagation") or "rprivate"]
        if not one["RW"]:
            words += ["rro", "ro"] if one.get("ReadOnlyRecursive", recursive) else ["ro"]
        if mapped and one["Type"] == "volume":
            words = ["bind" if word == "rbind" else word for word in words] + ["idmap"]
        mounts.append(_mount(one["Destination"], "bind", source, words))
    return _by_depth(mounts)


def _by_depth(mounts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(mounts, key=lambda one: len(one["destination"].rstrip("/").split("/")))


def _devices(host: Mapping[str, Any], around: Surroundings) -> list[dict[str, Any]]:
    return [dict(one) for one in around.host_devices]


def _resources(record: ContainerRecord, around: Surroundings) -> dict[str, Any]:
    host = record.host_config
    resources = limits(host, around.block_devices)
    resources["devices"] = _device_rules(host, around)
    return resources


def _device_rules(host: Mapping[str, Any], around: Surroundings) -> list[dict[str, Any]]:
    if host["Privileged"]:
        return [{"allow": True, "access": "rwm"}]
    rules: list[dict[str, Any]] = [{"allow": False, "access": "rwm"}]
    rules += [
        {"allow": True, "type": "c", "access": "m"},
        {"allow": True, "type": "b", "access": "m"},
    ]
    for kind, major, minor, access in _DEFAULT_DEVICES:
        rule = {"allow": True, "type": kind, "major": major, "access": access}
        rules.append({**rule, "minor": -1 if minor is None else minor})
    for one in around.host_devices:
        numbers = {"major": one["major"], "minor": one["minor"]}
        access = one.get("access", "rwm")
        rules.append({"allow": True, "type": one["type"], **numbers, "access": access})
    for text in host["DeviceCgroupRules"] or ():
        rules.append(_parsed_rule(text))
    return rules


def _parsed_rule(text: str) -> dict[str, Any]:
    try:
        kind, numbers, access = text.split()
        major, minor = numbers.split(":")
    except ValueError:
        raise InvalidError(f"invalid device cgroup rule format: '{text}'") from None
    return {
        "allow": True,
        "type": kind,
        "major": -1 if major == "*" else int(major),
        "minor": -1 if minor == "*" else int(minor),
        "access": access,
    }


def limits(
    host: Mapping[str, Any], block_devices: Mapping[str, tuple[int, int]] | None = None
) -> dict[str, Any]:
    """Return the resource limits of a `HostConfig`, as `docker update` may change them.

    Limits of devices are left out without `block_devices`, their numbers by path.
    """
    blocks = block_devices or {}
    cpu: dict[str, Any] = {
        "shares": host["CpuShares"] or None,
        "period": host["CpuPeriod"] or None,
        "quota": host["CpuQuota"] or None,
        "realtimePeriod": host["CpuRealtimePeriod"] or None,
        "realtimeRuntime": host["CpuRealtimeRuntime"] or None,
        "cpus": host["CpusetCpus"],
        "mems": host["CpusetMems"],
    }
    if host["NanoCpus"]:
        cpu |= {"period": 100_000, "quota": host["NanoCpus"] // 10_000}
    memory = host["Memory"]
    swap = host["MemorySwap"] or (memory * 2 if memory > 0 else None)
    block = {
        "weight": host["BlkioWeight"] or None,
        "weightDevice": _of_devices(host["BlkioWeightDevice"], blocks, "Weight", "weight"),
        "throttleReadBpsDevice": _of_devices(host["BlkioDeviceReadBps"], blocks, "Rate", "rate"),
        "throttleWriteBpsDevice": _of_devices(host["BlkioDeviceWriteBps"], blocks, "Rate", "rate"),
        "throttleReadIOPSDevice": _of_devices(host["BlkioDeviceReadIOps"], blocks, "Rate", "rate"),
        "throttleWriteIOPSDevice": _of_devices(
            host["BlkioDeviceWriteIOps"], blocks, "Rate", "rate"
        ),
    }
    return {
        "memory": {
            "limit": memory or None,
            "swap": swap,
            "reservation": host["MemoryReservation"] or None,
            "swappiness": host["MemorySwappiness"],
            "disableOOMKiller": bool(host["OomKillDisable"]),
        },
        "cpu": cpu,
        "pids": {"limit": host["PidsLimit"]},
        "blockIO": block,
    }


def _of_devices(
    devices: Sequence[Mapping[str, Any]] | None,
    numbers: Mapping[str, tuple[int, int]],
    theirs: str,
    ours: str,
) -> list[dict[str, Any]]:
    """Return limits of block devices with the devices' numbers."""
    found = []
    for one in devices or ():
        if one["Path"] in numbers:
            major, minor = numbers[one["Path"]]
            found.append({"major": major, "minor": minor, ours: one[theirs]})
    return found
