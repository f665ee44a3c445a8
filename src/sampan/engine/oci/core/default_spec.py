"""The configuration that `spec` writes: a shell in a root of its own, with few capabilities."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from sampan.engine.oci.core.record import OCI_VERSION

__all__ = ["default_spec", "rootless_spec"]

_CAPABILITIES: Final = ("CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE")
_MASKED: Final = (
    "/proc/acpi",
    "/proc/asound",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/sys/firmware",
    "/proc/scsi",
)
_READ_ONLY: Final = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")


def default_spec(*, cgroup_namespace: bool) -> dict[str, Any]:
    """Return the configuration for root; with `cgroup_namespace` where cgroups are version 2."""
    kinds = ["pid", "network", "ipc", "uts", "mount", *(["cgroup"] if cgroup_namespace else [])]
    return {
        "ociVersion": OCI_VERSION,
        "process": {
            "terminal": True,
            "user": {"uid": 0, "gid": 0},
            "args": ["sh"],
            "env": [
                "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                "TERM=xterm",
            ],
            "cwd": "/",
            "capabilities": {
                name: list(_CAPABILITIES) for name in ("bounding", "effective", "permitted")
            },
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
            "noNewPrivileges": True,
        },
        "root": {"path": "rootfs", "readonly": True},
        "hostname": "sampan",
        "mounts": _mounts(),
        "linux": {
            "resources": {"devices": [{"allow": False, "access": "rwm"}]},
            "namespaces": [{"type": kind} for kind in kinds],
            "maskedPaths": list(_MASKED),
            "readonlyPaths": list(_READ_ONLY),
        },
    }


def rootless_spec(uid: int, gid: int, *, cgroup_namespace: bool) -> dict[str, Any]:
    """Return the configuration for that user: root inside is the user outside, no network of its
    own, the host's /sys to look at."""
    spec = default_spec(cgroup_namespace=cgroup_namespace)
    linux = spec["linux"]
    kinds = [one["type"] for one in linux["namespaces"] if one["type"] != "network"]
    linux["namespaces"] = [{"type": kind} for kind in (*kinds, "user")]
    linux["uidMappings"] = [{"containerID": 0, "hostID": uid, "size": 1}]
    linux["gidMappings"] = [{"containerID": 0, "hostID": gid, "size": 1}]
    del linux["resources"]
    mounts = []
    for mount in spec["mounts"]:
        if mount["destination"] == "/sys":
            mounts.append(_mount("/sys", "none", "/sys", "rbind nosuid noexec nodev ro".split()))
        else:
            options = [one for one in mount.get("options", ()) if one != "gid=5"]
            mounts.append({**mount, **({"options": options} if options else {})})
    spec["mounts"] = mounts
    return spec


def _mount(destination: str, kind: str, source: str, options: Sequence[str] = ()) -> dict[str, Any]:
    mount: dict[str, Any] = {"destination": destination, "type": kind, "source": source}
    return {**mount, "options": list(options)} if options else mount


def _mounts() -> list[dict[str, Any]]:
    safe = ["nosuid", "noexec", "nodev"]
    shared = [*safe, "mode=1777", "size=65536k"]
    own = ["newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]
    return [
        _mount("/proc", "proc", "proc"),
        _mount("/dev", "tmpfs", "tmpfs", ["nosuid", "strictatime", "mode=755", "size=65536k"]),
        _mount("/dev/pts", "devpts", "devpts", ["nosuid", "noexec", *own]),
        _mount("/dev/shm", "tmpfs", "shm", shared),
        _mount("/dev/mqueue", "mqueue", "mqueue", safe),
        _mount("/sys", "sysfs", "sysfs", [*safe, "ro"]),
        _mount("/sys/fs/cgroup", "cgroup", "cgroup", [*safe, "relatime", "ro"]),
    ]
