"""Docker's container configuration: what stands where nothing was said, what the image adds.

What goes in has been checked against the types of Engine API 1.50 (`bodies.py`).
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from sampan.base.errors import InvalidError
from sampan.engine.daemon.core.admission import check_host_config
from sampan.engine.daemon.core.logdriver import filled_log_config
from sampan.engine.daemon.core.options import ContainerDefaults

__all__ = ["check_name", "fill_config", "fill_host_config", "host_config_defaults", "merge_image"]

_CONFIG: Final[Mapping[str, Any]] = {
    "Hostname": "",
    "Domainname": "",
    "User": "",
    "AttachStdin": False,
    "AttachStdout": False,
    "AttachStderr": False,
    "ExposedPorts": {},
    "Tty": False,
    "OpenStdin": False,
    "StdinOnce": False,
    "Env": [],
    "Cmd": None,
    "Healthcheck": None,
    "ArgsEscaped": False,
    "Image": "",
    "Volumes": {},
    "WorkingDir": "",
    "Entrypoint": None,
    "NetworkDisabled": False,
    "OnBuild": None,
    "Labels": {},
    "StopSignal": "",
    "StopTimeout": None,
    "Shell": None,
}
_HOST_CONFIG: Final[Mapping[str, Any]] = {
    "Binds": None,
    "ContainerIDFile": "",
    "LogConfig": {"Type": "json-file", "Config": {}},
    "NetworkMode": "default",
    "PortBindings": {},
    "RestartPolicy": {"Name": "no", "MaximumRetryCount": 0},
    "AutoRemove": False,
    "VolumeDriver": "",
    "VolumesFrom": None,
    "ConsoleSize": [0, 0],
    "Annotations": {},
    "CapAdd": None,
    "CapDrop": None,
    "CgroupnsMode": "",
    "Dns": [],
    "DnsOptions": [],
    "DnsSearch": [],
    "ExtraHosts": None,
    "GroupAdd": None,
    "IpcMode": "",
    "Cgroup": "",
    "Links": None,
    "OomScoreAdj": 0,
    "PidMode": "",
    "Privileged": False,
    "PublishAllPorts": False,
    "ReadonlyRootfs": False,
    "SecurityOpt": None,
    "StorageOpt": {},
    "Tmpfs": {},
    "UTSMode": "",
    "UsernsMode": "",
    "ShmSize": 0,
    "Sysctls": {},
    "Runtime": "",
    "Isolation": "",
    "CpuShares": 0,
    "Memory": 0,
    "NanoCpus": 0,
    "CgroupParent": "",
    "BlkioWeight": 0,
    "BlkioWeightDevice": [],
    "BlkioDeviceReadBps": [],
    "BlkioDeviceWriteBps": [],
    "BlkioDeviceReadIOps": [],
    "BlkioDeviceWriteIOps": [],
    "CpuPeriod": 0,
    "CpuQuota": 0,
    "CpuRealtimePeriod": 0,
    "CpuRealtimeRuntime": 0,
    "CpusetCpus": "",
    "CpusetMems": "",
    "Devices": [],
    "DeviceCgroupRules": None,
    "DeviceRequests": None,
    "MemoryReservation": 0,
    "MemorySwap": 0,
    "MemorySwappiness": None,
    "OomKillDisable": None,
    "PidsLimit": None,
    "Ulimits": [],
    "CpuCount": 0,
    "CpuPercent": 0,
    "IOMaximumIOps": 0,
    "IOMaximumBandwidth": 0,
    "Mounts": None,
    "MaskedPaths": [],
    "ReadonlyPaths": [],
    "Init": None,
}
_NAME: Final = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+")
MASKED_PATHS: Final = (
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
)
READONLY_PATHS: Final = (
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
)


def check_name(name: str) -> str:
    """Return a container's name without its slash; InvalidError in Docker's words."""
    bare = name.removeprefix("/")
    if not _NAME.fullmatch(bare):
        raise InvalidError(
            f"Invalid container name ({name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed"
        )
    return bare


def _filled(given: Mapping[str, Any] | None, defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Return every field: as given, else the default, which is never shared."""
    found = {}
    for name, default in defaults.items():
        value = None if given is None else given.get(name)
        if value is None:
            value = list(default) if isinstance(default, list) else default
            value = dict(value) if isinstance(value, dict) else value
        found[name] = value
    return found


def fill_config(given: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return `Config` with every field; the hardware address of older clients where it is given."""
    mac = (given or {}).get("MacAddress")
    return {**_filled(given, _CONFIG), **({"MacAddress": mac} if mac else {})}


def host_config_defaults() -> dict[str, Any]:
    """Return `HostConfig` of a container that asks for nothing."""
    return _filled({}, _HOST_CONFIG)


def fill_host_config(
    given: Mapping[str, Any] | None, cpus: int, defaults: ContainerDefaults | None = None
) -> dict[str, Any]:
    """Return `HostConfig` with every field; InvalidError with Docker's words for what cannot be.

    `cpus` is how many this machine has; `defaults` are the daemon's.
    """
    defaults = defaults or ContainerDefaults()
    host = _filled(given, _HOST_CONFIG)
    if host["MemorySwappiness"] == -1:  # what clients send that mean nothing by it
        host["MemorySwappiness"] = None
    host["LogConfig"] = filled_log_config(
        (given or {}).get("LogConfig"), defaults.log_driver, defaults.log_options
    )
    if not host["RestartPolicy"].get("Name"):
        host["RestartPolicy"] = {"Name": "no", "MaximumRetryCount": 0}
    host["RestartPolicy"].setdefault("MaximumRetryCount", 0)
    host["ShmSize"] = host["ShmSize"] or defaults.shm_size_bytes
    host["IpcMode"] = host["IpcMode"] or defaults.ipc_mode
    host["NetworkMode"] = host["NetworkMode"] or "default"
    host["CgroupnsMode"] = host["CgroupnsMode"] or defaults.cgroupns_mode or "host"
    host["CgroupParent"] = host["CgroupParent"] or defaults.cgroup_parent
    host["Runtime"] = host["Runtime"] or "runc"
    if host["Memory"] > 0 and not host["MemorySwap"]:
        host["MemorySwap"] = host["Memory"] * 2
    if host["OomKillDisable"] is None:
        host["OomKillDisable"] = False
    if host["Privileged"]:
        host["MaskedPaths"], host["ReadonlyPaths"] = [], []
    elif given is None or given.get("MaskedPaths") is None:
        host["MaskedPaths"], host["ReadonlyPaths"] = list(MASKED_PATHS), list(READONLY_PATHS)
    _check_resources(host, cpus)
    check_host_config(host)
    return host


def _check_resources(host: Mapping[str, Any], cpus: int) -> None:
    memory, swap = host["Memory"], host["MemorySwap"]
    if memory and memory < 6 << 20:
        raise InvalidError("Minimum memory limit allowed is 6MB")
    if memory > 0 and 0 < swap < memory:
        raise InvalidError("Minimum memoryswap limit should be larger than memory limit, see usage")
    if memory == 0 and swap > 0:
        raise InvalidError(
            "You should always set the Memory limit when using Memoryswap limit, see usage"
        )
    if 0 < memory < host["MemoryReservation"]:
        raise InvalidError(
            "Minimum memory limit can not be less than memory reservation limit, see usage"
        )
    nano = host["NanoCpus"]
    if nano and (host["CpuPeriod"] or host["CpuQuota"]):
        other = "Period" if host["CpuPeriod"] else "Quota"
        raise InvalidError(f"Conflicting options: Nano CPUs and CPU {other} cannot both be set")
    if nano < 0 or nano > cpus * 1_000_000_000:
        raise InvalidError(
            f"Range of CPUs is from 0.01 to {cpus}.00, as there are only {cpus} CPUs available"
        )
    if host["CpuShares"] < 0:
        raise InvalidError(
            f"invalid CPU shares ({host['CpuShares']}): value must be a positive integer"
        )
    if host["CpuQuota"] and 0 < host["CpuQuota"] < 1000:
        raise InvalidError("CPU cfs quota can not be less than 1ms (i.e. 1000)")
    if host["CpuPeriod"] and not 1000 <= host["CpuPeriod"] <= 1_000_000:
        raise InvalidError(
            "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)"
        )
    if host["BlkioWeight"] and not 10 <= host["BlkioWeight"] <= 1000:
        raise InvalidError("Range of blkio weight is from 10 to 1000")


def merge_image(
    config: dict[str, Any], image: Mapping[str, Any]
) -> tuple[dict[str, Any], Sequence[str]]:
    """Return the configuration with what the image gives, and the command line that results.

    Raises InvalidError when neither names a command.
    """
    merged = dict(config)
    merged["User"] = config["User"] or image.get("User") or ""
    merged["ExposedPorts"] = {**(image.get("ExposedPorts") or {}), **config["ExposedPorts"]}
    merged["Volumes"] = {**(image.get("Volumes") or {}), **config["Volumes"]}
    merged["Labels"] = {**(image.get("Labels") or {}), **config["Labels"]}
    own = {entry.partition("=")[0] for entry in config["Env"]}
    inherited = [one for one in image.get("Env") or () if one.partition("=")[0] not in own]
    merged["Env"] = [*config["Env"], *inherited]
    if not config["Entrypoint"]:
        if config["Entrypoint"] is None:
            merged["Entrypoint"] = image.get("Entrypoint")
        if not config["Cmd"]:
            merged["Cmd"] = image.get("Cmd")
    elif config["Entrypoint"] == [""]:
        merged["Entrypoint"] = None
    merged["WorkingDir"] = posixpath.normpath(
        config["WorkingDir"] or image.get("WorkingDir") or "/"
    )
    if not config["WorkingDir"] and not image.get("WorkingDir"):
        merged["WorkingDir"] = ""
    merged["StopSignal"] = config["StopSignal"] or image.get("StopSignal") or ""
    # What is not said of a check is the image's, field by field.
    own_check = {key: value for key, value in (config["Healthcheck"] or {}).items() if value}
    merged["Healthcheck"] = {**(image.get("Healthcheck") or {}), **own_check} or None
    line = [*(merged["Entrypoint"] or ()), *(merged["Cmd"] or ())]
    if not line:
        raise InvalidError("no command specified")
    return merged, line
