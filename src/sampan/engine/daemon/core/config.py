"""Docker's container configuration: defaults, what the image adds, and what cannot be.

A request's `Config` and `HostConfig` are checked field by field against the types of Engine API
1.50; unknown fields are kept out, as Docker keeps them out.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from sampan.base.errors import InvalidError
from sampan.engine.runtime.core.capability import normalise

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
    "IpcMode": "private",
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
    "ShmSize": 67108864,
    "Sysctls": {},
    "Runtime": "runc",
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
_NULLABLE: Final = {
    "Cmd": list,
    "Entrypoint": list,
    "OnBuild": list,
    "Shell": list,
    "Healthcheck": dict,
    "StopTimeout": int,
    "Binds": list,
    "VolumesFrom": list,
    "CapAdd": list,
    "CapDrop": list,
    "ExtraHosts": list,
    "GroupAdd": list,
    "Links": list,
    "SecurityOpt": list,
    "DeviceCgroupRules": list,
    "DeviceRequests": list,
    "MemorySwappiness": int,
    "OomKillDisable": bool,
    "PidsLimit": int,
    "Mounts": list,
    "Init": bool,
}
_WORDS: Final = {str: "string", bool: "bool", int: "number", list: "array", dict: "object"}
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


def _fill(given: Any, defaults: Mapping[str, Any], where: str) -> dict[str, Any]:
    if given is None:
        given = {}
    if not isinstance(given, Mapping):
        raise InvalidError(f"invalid JSON: {where}: expected an object")
    filled = {}
    for name, default in defaults.items():
        value = given.get(name)
        kind = _NULLABLE.get(name) or type(default)
        if value is None:
            value = list(default) if isinstance(default, list) else default
            value = dict(value) if isinstance(value, dict) else value
        elif name in ("Cmd", "Entrypoint") and isinstance(value, str):
            value = [value]
        elif not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            got = _WORDS.get(type(value), type(value).__name__)
            raise InvalidError(
                f"invalid JSON: cannot unmarshal {got} into field {where}.{name} "
                f"of type {_WORDS[kind]}"
            )
        filled[name] = value
    return filled


def fill_config(given: Any) -> dict[str, Any]:
    """Return `Config` with every field; InvalidError for a wrong type."""
    return _fill(given, _CONFIG, "Config")


def host_config_defaults() -> dict[str, Any]:
    """Return `HostConfig` of a container that asks for nothing."""
    return _fill({}, _HOST_CONFIG, "HostConfig")


def fill_host_config(given: Any, cpus: int) -> dict[str, Any]:
    """Return `HostConfig` with every field; InvalidError with Docker's words for what cannot be.

    `cpus` is how many this machine has.
    """
    host = _fill(given, _HOST_CONFIG, "HostConfig")
    if not host["LogConfig"].get("Type"):
        host["LogConfig"] = {"Type": "json-file", "Config": host["LogConfig"].get("Config") or {}}
    if not host["RestartPolicy"].get("Name"):
        host["RestartPolicy"] = {"Name": "no", "MaximumRetryCount": 0}
    host["ShmSize"] = host["ShmSize"] or 67108864
    host["IpcMode"] = host["IpcMode"] or "private"
    host["NetworkMode"] = host["NetworkMode"] or "default"
    host["CgroupnsMode"] = host["CgroupnsMode"] or "host"
    if host["Privileged"]:
        host["MaskedPaths"], host["ReadonlyPaths"] = [], []
    elif given is None or "MaskedPaths" not in given or given["MaskedPaths"] is None:
        host["MaskedPaths"], host["ReadonlyPaths"] = list(MASKED_PATHS), list(READONLY_PATHS)
    _check_resources(host, cpus)
    _check_options(host)
    return host


def _check_resources(host: Mapping[str, Any], cpus: int) -> None:
    memory, swap = host["Memory"], host["MemorySwap"]
    if 0 < memory < 6 << 20:
        raise InvalidError("Minimum memory limit allowed is 6MB")
    if memory > 0 and 0 < swap < memory:
        raise InvalidError("Minimum memoryswap limit should be larger than memory limit, see usage")
    if memory == 0 and swap > 0:
        raise InvalidError("You should always set the Memory limit when using Memoryswap limit")
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


def _check_options(host: Mapping[str, Any]) -> None:
    for name in (*(host["CapAdd"] or ()), *(host["CapDrop"] or ())):
        normalise(name)
    policy = host["RestartPolicy"]
    name, retries = policy["Name"], policy.get("MaximumRetryCount") or 0
    if name not in ("no", "always", "unless-stopped", "on-failure"):
        raise InvalidError(
            f"invalid restart policy: unknown policy '{name}'; use one of 'no', 'always', "
            "'on-failure', or 'unless-stopped'"
        )
    if retries and name != "on-failure":
        raise InvalidError(
            "invalid restart policy: maximum retry count can only be used with 'on-failure'"
        )
    if host["AutoRemove"] and name != "no":
        raise InvalidError("can't create 'AutoRemove' container with restart policy")
    kind = host["LogConfig"]["Type"]
    if kind not in ("json-file", "local", "none", "cri"):
        raise InvalidError(f"logger: no log driver named '{kind}' is registered")
    for request in host["DeviceRequests"] or ():
        driver, wanted = request.get("Driver", ""), request.get("Capabilities") or []
        words = "[" + " ".join("[" + " ".join(one) + "]" for one in wanted) + "]"
        raise InvalidError(f'could not select device driver "{driver}" with capabilities: {words}')
    network = host["NetworkMode"]
    if host["PortBindings"] and network.startswith("container:"):
        raise InvalidError(
            "conflicting options: port publishing and the container type network mode"
        )
    if host["Runtime"] not in ("", "runc", "io.containerd.runc.v2"):
        raise InvalidError(f"unknown or invalid runtime name: {host['Runtime']}")


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
    if config["Entrypoint"] is None:
        merged["Entrypoint"] = image.get("Entrypoint")
        if config["Cmd"] is None or config["Cmd"] == []:
            merged["Cmd"] = image.get("Cmd")
    elif config["Entrypoint"] == [""]:
        merged["Entrypoint"] = None
    merged["WorkingDir"] = posixpath.normpath(
        config["WorkingDir"] or image.get("WorkingDir") or "/"
    )
    if not config["WorkingDir"] and not image.get("WorkingDir"):
        merged["WorkingDir"] = ""
    merged["StopSignal"] = config["StopSignal"] or image.get("StopSignal") or ""
    merged["Healthcheck"] = config["Healthcheck"] or image.get("Healthcheck")
    line = [*(merged["Entrypoint"] or ()), *(merged["Cmd"] or ())]
    if not line:
        raise InvalidError("no command specified")
    if not all(isinstance(word, str) for word in line):
        raise InvalidError("invalid JSON: a word of the command line is not a string")
    return merged, line
