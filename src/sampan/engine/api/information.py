"""What `docker version` and `docker info` show: the engine, its machine, its options."""

from __future__ import annotations

import json
import os
import platform
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from sampan import __version__
from sampan.engine.api.routing import API_VERSION, MINIMUM_VERSION
from sampan.engine.daemon.core.logdriver import LOG_DRIVERS
from sampan.engine.daemon.shell.engine import Engine
from sampan.engine.daemon.shell.lifecycle import now_text

__all__ = ["information", "version_document"]


def version_document(architecture: str) -> dict[str, Any]:
    """Return the document of `GET /version`."""
    details = {
        "GitCommit": "",
        "GoVersion": f"Python {platform.python_version()}",
        "Os": "linux",
        "Arch": architecture,
        "KernelVersion": platform.release(),
        "BuildTime": "",
        "ApiVersion": API_VERSION,
        "MinAPIVersion": MINIMUM_VERSION,
    }
    component = {
        "Name": "Engine",
        "Version": __version__,
        "Details": {**details, "Experimental": "false"},
    }
    return {
        "Platform": {"Name": "Sampan"},
        "Components": [component],
        "Version": __version__,
        **details,
    }


def information(engine: Engine, listeners: int) -> dict[str, Any]:
    """Return the document of `GET /info`; `listeners` is how many follow the events."""
    return {
        "ID": engine.id,
        **_counts(engine),
        **_options(engine),
        **_limits(engine),
        **_machine(),
        "Plugins": {
            "Volume": ["local"],
            "Network": ["bridge", "host", "null"],
            "Authorization": None,
            "Log": list(LOG_DRIVERS),
        },
        "NFd": len(os.listdir("/proc/self/fd")),
        "NGoroutines": 1,
        "SystemTime": now_text(),
        "NEventsListener": listeners,
        "IndexServerAddress": "https://index.docker.io/v1/",
        "ExperimentalBuild": False,
        "ServerVersion": __version__,
        "GenericResources": None,
        "Swarm": {
            "NodeID": "",
            "NodeAddr": "",
            "LocalNodeState": "inactive",
            "ControlAvailable": False,
            "Error": "",
            "RemoteManagers": None,
        },
        "Isolation": "",
        "CDISpecDirs": [],
        "Warnings": None,
    }


def _counts(engine: Engine) -> dict[str, Any]:
    states = [one.record.state for one in engine.registry]
    paused = sum(state.status == "paused" for state in states)
    running = sum(state.status == "running" for state in states)
    return {
        "Containers": len(states),
        "ContainersRunning": running,
        "ContainersPaused": paused,
        "ContainersStopped": len(states) - running - paused,
        "Images": len(engine.images.index.entries()),
    }


def _options(engine: Engine) -> dict[str, Any]:
    options = engine.options
    registry = options.registry
    commit = {"ID": __version__, "Expected": __version__}
    seccomp = options.containers.seccomp_profile
    profile = seccomp or "builtin"
    return {
        "Driver": engine.images.snapshots.driver.name,
        "DriverStatus": engine.images.snapshots.driver.status(),
        "DockerRootDir": str(options.data_root),
        "Debug": options.debug,
        "Labels": list(options.labels),
        "LiveRestoreEnabled": options.live_restore,
        "LoggingDriver": options.containers.log_driver,
        "CgroupDriver": "cgroupfs",
        "CgroupVersion": str(engine.machine.cgroup_version),
        "DefaultRuntime": "runc",
        "Runtimes": {name: {"path": sys.argv[0]} for name in ("io.containerd.runc.v2", "runc")},
        "ContainerdCommit": commit,
        "RuncCommit": commit,
        "InitCommit": commit,
        "InitBinary": "sampan",
        "SecurityOptions": [
            f"name=seccomp,profile={profile}",
            *(["name=userns"] if engine.machine.remapped else []),
            *(["name=cgroupns"] if engine.machine.cgroup_version == 2 else []),
            *(["name=no-new-privileges"] if options.containers.no_new_privileges else []),
        ],
        "RegistryConfig": _registry(registry.insecure, registry.mirrors),
        "HttpProxy": registry.http_proxy,
        "HttpsProxy": registry.https_proxy,
        "NoProxy": registry.no_proxy,
        "DefaultAddressPools": [
            {"Base": pool.base, "Size": pool.size} for pool in options.network.address_pools
        ],
    }


def _registry(insecure: Iterable[str], mirrors: Iterable[str]) -> dict[str, Any]:
    networks = sorted({"127.0.0.0/8", "::1/128", *(one for one in insecure if "/" in one)})
    indexes: dict[str, Any] = {
        one: {"Name": one, "Mirrors": [], "Secure": False, "Official": False}
        for one in insecure
        if "/" not in one
    }
    hub = {"Name": "docker.io", "Mirrors": list(mirrors), "Secure": True, "Official": True}
    return {
        "InsecureRegistryCIDRs": networks,
        "IndexConfigs": {**indexes, "docker.io": hub},
        "Mirrors": list(mirrors),
    }


def _limits(engine: Engine) -> dict[str, bool]:
    files = engine.machine.files
    names = {
        "MemoryLimit": "memory.limit_in_bytes memory.max",
        "SwapLimit": "memory.memsw.limit_in_bytes memory.swap.max",
        "CpuCfsPeriod": "cpu.cfs_quota_us cpu.max",
        "CpuCfsQuota": "cpu.cfs_quota_us cpu.max",
        "CPUShares": "cpu.shares cpu.weight",
        "CPUSet": "cpuset.cpus",
        "PidsLimit": "pids.max",
        "OomKillDisable": "memory.oom_control",
    }
    return {name: bool(files & set(words.split())) for name, words in names.items()} | {
        "IPv4Forwarding": _first_line("/proc/sys/net/ipv4/ip_forward") == "1"
    }


def _machine() -> dict[str, Any]:
    uname = os.uname()
    release = _os_release()
    return {
        "KernelVersion": uname.release,
        "OperatingSystem": release.get("PRETTY_NAME", "Linux"),
        "OSVersion": release.get("VERSION_ID", ""),
        "OSType": "linux",
        "Architecture": uname.machine,
        "NCPU": os.cpu_count() or 1,
        "MemTotal": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
        "Name": uname.nodename,
    }


def _first_line(path: str) -> str:
    try:
        return Path(path).read_text().split("\n", 1)[0]
    except OSError:
        return ""


def _os_release() -> dict[str, str]:
    try:
        text = Path("/etc/os-release").read_text()
    except OSError:
        return {}
    found = dict(re.findall(r"^([A-Z_]+)=(.*)$", text, re.M))
    return {key: _unquoted(value) for key, value in found.items()}


def _unquoted(text: str) -> str:
    if text.startswith('"'):
        try:
            return str(json.loads(text))
        except ValueError:
            return text.strip('"')
    return text.strip("'")
