"""What a container may not ask for, and what this machine's kernel cannot give it.

The first is refused, the second is left out with a warning; both in Docker's words.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from sampan.base.errors import InvalidError
from sampan.engine.daemon.core.config import MASKED_PATHS, READONLY_PATHS
from sampan.engine.daemon.core.options import ContainerDefaults
from sampan.engine.daemon.core.security import Modules, check_modules, parse_security

__all__ = ["Machine", "check_modes", "with_defaults", "without_what_is_missing"]

_MINIMUM_MEMORY: Final = 6 << 20


@dataclass(frozen=True, slots=True)
class Machine:
    """What the kernel offers. `files` are the control files of cgroups, by their plain names."""

    files: frozenset[str]
    cgroup_version: int
    cpus: frozenset[int]
    memory_nodes: frozenset[int]
    modules: Modules = field(default_factory=Modules)
    thermal_paths: tuple[str, ...] = ()
    """What tells how warm the processors are, and so what others do."""

    remapped: bool = False
    """Containers have user namespaces of their own unless they ask for the host's."""


def with_defaults(given: Any, defaults: ContainerDefaults, machine: Machine) -> Any:
    """Return a request's `HostConfig` with what the daemon's options say where it is silent."""
    if given is not None and not isinstance(given, Mapping):
        return given  # refused when its fields are read
    host = dict(given or {})
    cgroupns = defaults.cgroupns_mode or ("private" if machine.cgroup_version == 2 else "host")
    if host.get("Privileged"):
        cgroupns = defaults.cgroupns_mode or "host"
    silent = {
        "IpcMode": defaults.ipc_mode,
        "CgroupnsMode": cgroupns,
        "ShmSize": defaults.shm_size_bytes,
        "CgroupParent": defaults.cgroup_parent,
    }
    host |= {key: value for key, value in silent.items() if not host.get(key)}
    if host.get("MaskedPaths") is None and not host.get("Privileged"):
        host["MaskedPaths"] = [*MASKED_PATHS, *machine.thermal_paths]
        host["ReadonlyPaths"] = list(READONLY_PATHS)
    return host


def check_modes(config: Mapping[str, Any], host: Mapping[str, Any], machine: Machine) -> None:
    """Refuse modes that are none, and those that contradict each other."""
    check_modules(parse_security(host["SecurityOpt"] or ()), machine.modules)
    _mode(host, "IpcMode", "IPC", ("", "host", "private", "shareable", "none"), container=True)
    _mode(host, "PidMode", "PID", ("", "host"), container=True)
    _mode(host, "UTSMode", "UTS", ("", "host"))
    _mode(host, "UsernsMode", "user namespace", ("", "host"))
    _mode(host, "CgroupnsMode", "cgroup namespace", ("", "host", "private"))
    if host["UTSMode"] == "host" and config["Hostname"]:
        raise InvalidError("conflicting options: hostname and the UTS mode")
    if not -1000 <= host["OomScoreAdj"] <= 1000:
        raise InvalidError(
            f"Invalid value {host['OomScoreAdj']}, range for oom score adj is [-1000, 1000]"
        )
    if host["ShmSize"] < 0:
        raise InvalidError("SHM size can not be less than 0")
    if host["StorageOpt"]:
        raise InvalidError(
            "--storage-opt is supported only for overlay over xfs with 'pquota' mount option"
        )
    if machine.remapped and host["UsernsMode"] != "host":
        _check_remapped(host)


def _mode(
    host: Mapping[str, Any],
    key: str,
    words: str,
    allowed: tuple[str, ...],
    *,
    container: bool = False,
) -> None:
    mode = host[key]
    if mode in allowed or (container and mode.startswith("container:") and mode[10:]):
        return
    raise InvalidError(f"invalid {words} mode: {mode}")


def _check_remapped(host: Mapping[str, Any]) -> None:
    if host["Privileged"]:
        raise InvalidError(
            "privileged mode is incompatible with user namespaces.  You must run the container in "
            "the host namespace when running privileged mode"
        )
    if host["NetworkMode"] == "host":
        raise InvalidError(
            "cannot share the host's network namespace when user namespaces are enabled"
        )
    if host["PidMode"] == "host":
        raise InvalidError("cannot share the host PID namespace when user namespaces are enabled")


def without_what_is_missing(
    host: Mapping[str, Any], machine: Machine
) -> tuple[dict[str, Any], list[str]]:
    """Return the host configuration without limits that this kernel has not, and warnings.

    Raises InvalidError for values that no kernel would take.
    """
    changed = dict(host)
    warnings: list[str] = []
    if changed["Memory"] > 0 and changed["MemorySwap"] == 0:
        changed["MemorySwap"] = changed["Memory"] * 2  # by default as much swap as memory
    _check_memory(changed)
    for rule in _RULES:
        if not rule.offered(machine) and rule.asked(changed):
            changed.update(rule.instead)
            warnings.append(rule.warning)
    if changed["OomKillDisable"] and not changed["Memory"]:
        warnings.append(
            "OOM killer is disabled for the container, but no memory limit is set, this can "
            "result in the system running out of resources."
        )
    _check_processor(changed, machine)
    return changed, warnings


def _check_memory(host: Mapping[str, Any]) -> None:
    swappiness = host["MemorySwappiness"]
    if swappiness is not None and not -1 <= swappiness <= 100:
        raise InvalidError(f"Invalid value: {swappiness}, valid memory swappiness range is 0-100")
    if 0 < host["MemoryReservation"] < _MINIMUM_MEMORY:
        raise InvalidError("Minimum memory reservation allowed is 6MB")


def _check_processor(host: Mapping[str, Any], machine: Machine) -> None:
    period, runtime = host["CpuRealtimePeriod"], host["CpuRealtimeRuntime"]
    if (period or runtime) and not machine.files & {"cpu.rt_runtime_us"}:
        raise InvalidError("kernel does not support CPU real-time scheduler")
    if period and runtime > period:
        raise InvalidError("cpu real-time runtime cannot be higher than cpu real-time period")
    wanted = (
        ("CpusetCpus", "CPUs", "cpus", machine.cpus),
        ("CpusetMems", "memory nodes", "mems", machine.memory_nodes),
    )
    for key, words, short, available in wanted:
        text = host[key]
        found = parse_set(text)
        if found is None:
            raise InvalidError(f"Invalid value {text} for cpuset {short}")
        if not found <= available:
            raise InvalidError(
                f"Requested {words} are not available - requested {text}, "
                f"available: {show_set(available)}"
            )


def parse_set(text: str) -> frozenset[int] | None:
    """Return the numbers of `0-2,7`, None for what is no such list."""
    found: set[int] = set()
    for part in text.split(",") if text else ():
        first, dash, last = part.partition("-")
        if not first.isdigit() or (dash and not last.isdigit()):
            return None
        low, high = int(first), int(last or first)
        if high < low or high > 8191:
            return None
        found.update(range(low, high + 1))
    return frozenset(found)


def show_set(numbers: frozenset[int]) -> str:
    """Return the shortest list of ranges that means these numbers."""
    parts: list[list[int]] = []
    for number in sorted(numbers):
        if parts and parts[-1][1] == number - 1:
            parts[-1][1] = number
        else:
            parts.append([number, number])
    return ",".join(f"{low}-{high}" if high > low else str(low) for low, high in parts)


@dataclass(frozen=True, slots=True)
class _Rule:
    """A limit: which control files carry it, how it is asked for, what stands without it."""

    files: frozenset[str]
    asked: Callable[[Mapping[str, Any]], bool]
    instead: Mapping[str, Any]
    warning: str

    def offered(self, machine: Machine) -> bool:
        """Tell whether one of the files is there."""
        return bool(self.files & machine.files)


def _rule(
    files: str, asked: Callable[[Mapping[str, Any]], bool], instead: Mapping[str, Any], warning: str
) -> _Rule:
    return _Rule(frozenset(files.split()), asked, instead, warning)


def _given(*keys: str) -> Callable[[Mapping[str, Any]], bool]:
    return lambda host: any(host[key] for key in keys)


_GONE: Final = "or the cgroup is not mounted."
_NO: Final = "Your kernel does not support"
_RULES: Final = (
    _rule(
        "memory.limit_in_bytes memory.max",
        lambda host: host["Memory"] > 0,
        {"Memory": 0, "MemorySwap": -1},
        f"{_NO} memory limit capabilities {_GONE} Limitation discarded.",
    ),
    _rule(
        "memory.memsw.limit_in_bytes memory.swap.max",
        lambda host: host["Memory"] > 0 and host["MemorySwap"] not in (0, -1),
        {"MemorySwap": -1},
        f"{_NO} swap limit capabilities {_GONE} Memory limited without swap.",
    ),
    _rule(
        "memory.swappiness",
        lambda host: host["MemorySwappiness"] not in (None, -1),
        {"MemorySwappiness": None},
        f"{_NO} memory swappiness capabilities {_GONE} Memory swappiness discarded.",
    ),
    _rule(
        "memory.soft_limit_in_bytes memory.low",
        lambda host: host["MemoryReservation"] > 0,
        {"MemoryReservation": 0},
        f"{_NO} memory soft limit capabilities {_GONE} Limitation discarded.",
    ),
    _rule(
        "memory.oom_control",
        lambda host: bool(host["OomKillDisable"]),
        {"OomKillDisable": None},
        f"{_NO} OomKillDisable. OomKillDisable discarded.",
    ),
    _rule(
        "pids.max",
        lambda host: (host["PidsLimit"] or 0) > 0,
        {"PidsLimit": None},
        f"{_NO} PIDs limit capabilities {_GONE} PIDs limit discarded.",
    ),
    _rule(
        "cpu.shares cpu.weight",
        _given("CpuShares"),
        {"CpuShares": 0},
        f"{_NO} CPU shares {_GONE} Shares discarded.",
    ),
    _rule(
        "cpu.cfs_quota_us cpu.max",
        _given("CpuPeriod", "CpuQuota"),
        {"CpuPeriod": 0, "CpuQuota": 0},
        f"{_NO} CPU CFS scheduler. CPU period/quota discarded.",
    ),
    _rule(
        "cpuset.cpus",
        _given("CpusetCpus", "CpusetMems"),
        {"CpusetCpus": "", "CpusetMems": ""},
        f"{_NO} cpuset {_GONE} Cpuset discarded.",
    ),
    _rule(
        "blkio.weight io.weight",
        _given("BlkioWeight"),
        {"BlkioWeight": 0},
        f"{_NO} Block I/O weight {_GONE} Weight discarded.",
    ),
    _rule(
        "blkio.weight_device io.weight",
        _given("BlkioWeightDevice"),
        {"BlkioWeightDevice": []},
        f"{_NO} Block I/O weight_device {_GONE} Weight-device discarded.",
    ),
    *(
        _rule(
            f"blkio.throttle.{way}_{kind}_device io.max",
            _given(key),
            {key: []},
            warning.replace("GONE", _GONE),
        )
        for key, way, kind, warning in (
            (
                "BlkioDeviceReadBps",
                "read",
                "bps",
                f"{_NO} BPS Block I/O read limit GONE Block I/O BPS read limit discarded.",
            ),
            (
                "BlkioDeviceWriteBps",
                "write",
                "bps",
                f"{_NO} BPS Block I/O write limit GONE Block I/O BPS write limit discarded.",
            ),
            (
                "BlkioDeviceReadIOps",
                "read",
                "iops",
                f"{_NO} IOPS Block read limit GONE Block I/O IOPS read limit discarded.",
            ),
            (
                "BlkioDeviceWriteIOps",
                "write",
                "iops",
                f"{_NO} IOPS Block write limit GONE Block I/O IOPS write limit discarded.",
            ),
        )
    ),
)
