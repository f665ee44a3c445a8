"""What a running container uses: processes, statistics; and changing its limits."""

from __future__ import annotations

import asyncio
import os
import pwd
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any, Final

from sampan.base.errors import ConflictError, InvalidError
from sampan.engine.daemon.core.config import fill_host_config
from sampan.engine.daemon.core.constraints import Machine, without_what_is_missing
from sampan.engine.daemon.core.translate import limits
from sampan.engine.daemon.shell.container import Container
from sampan.engine.daemon.shell.lifecycle import cgroup_path
from sampan.engine.runtime.shell.cgroups import Cgroups

__all__ = ["Resources"]

_UNLIMITED: Final = (1 << 64) - 1
_TICKS: Final = os.sysconf("SC_CLK_TCK")
_UPDATABLE: Final = (
    "CpuShares Memory NanoCpus CpuPeriod CpuQuota CpusetCpus CpusetMems MemoryReservation "
    "MemorySwap PidsLimit BlkioWeight RestartPolicy CpuRealtimePeriod CpuRealtimeRuntime"
).split()


class Resources:
    """Reads the cgroups and /proc; knows what the kernel offers, and keeps nothing else."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine

    async def update(self, container: Container, body: Mapping[str, Any]) -> list[str]:
        """Change limits and restart policy; returns warnings. A refusal changes nothing."""
        record = container.record
        given = {key: value for key, value in body.items() if key in _UPDATABLE and value}
        if given.get("RestartPolicy", {}).get("Name") == "":
            del given["RestartPolicy"]
        if "RestartPolicy" in given and record.host_config["AutoRemove"]:
            raise InvalidError("Restart policy cannot be updated because AutoRemove is enabled")
        async with container.lock:
            _check_swap(record.host_config, given)
            wanted = fill_host_config({**record.host_config, **given}, os.cpu_count() or 1)
            host, warnings = without_what_is_missing(wanted, self._machine)
            if record.state.running:
                cgroups = Cgroups(cgroup_path(container))
                await asyncio.to_thread(cgroups.apply, limits(host))
            record.host_config = host
            container.save()
        return warnings

    async def top(self, container: Container, words: str) -> dict[str, Any]:
        """Return the processes as `ps -ef` or `ps aux` shows them; ConflictError without any."""
        if not container.record.state.running:
            raise ConflictError(f"container {container.id} is not running")
        pids = Cgroups(cgroup_path(container)).pids()
        options = words.replace("-", "").strip()
        if options not in ("", "ef", "aux", "e", "A", "f"):
            raise InvalidError(f"unsupported ps arguments {words!r}; -ef and aux are supported")
        rows = [row for pid in pids if (row := _process(pid, options == "aux"))]
        titles = "UID PID PPID C STIME TTY TIME CMD"
        if options == "aux":
            titles = "USER PID %CPU %MEM VSZ RSS TTY STAT START TIME COMMAND"
        return {"Titles": titles.split(), "Processes": rows}

    async def stats(
        self, container: Container, *, stream: bool, one_shot: bool
    ) -> AsyncIterator[dict[str, Any]]:
        """Yield statistics, one a second, until the container is gone."""
        before: dict[str, Any] | None = None
        if not stream and not one_shot and container.record.state.running:
            before = _sample(container)
            await asyncio.sleep(1.0)
        while True:
            sample = _sample(container)
            previous = before or {"read": "0001-01-01T00:00:00Z", "cpu_stats": {}}
            empty = {"cpu_usage": {"total_usage": 0}, "throttling_data": {}}
            yield {
                **sample,
                "preread": previous["read"],
                "precpu_stats": previous["cpu_stats"] or empty,
            }
            before = sample
            if not stream or container.removed.is_set():
                return
            await asyncio.sleep(1.0)


def _check_swap(now: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    """Refuse more memory than memory and swap together may be."""
    if 0 < now["MemorySwap"] < given.get("Memory", 0) and "MemorySwap" not in given:
        raise InvalidError(
            "Memory limit should be smaller than already set memoryswap limit, "
            "update the memoryswap at the same time"
        )


def _process(pid: int, wide: bool) -> list[str] | None:
    """Return one line of `ps`; None when the process has gone in between."""
    place = Path(f"/proc/{pid}")
    try:
        fields = (place / "stat").read_text().rpartition(")")[2].split()
        command = (place / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        uid = place.stat().st_uid
        name = (place / "comm").read_text().strip()
    except OSError:
        return None
    try:
        user = pwd.getpwuid(uid).pw_name
    except KeyError:
        user = str(uid)
    used_s = (int(fields[11]) + int(fields[12])) // _TICKS
    clock = f"{used_s // 3600:02}:{used_s // 60 % 60:02}:{used_s % 60:02}"
    shown = command.strip() or f"[{name}]"
    began = time.strftime("%H:%M", time.localtime(_boot_time() + int(fields[19]) / _TICKS))
    if wide:
        size_kib, resident_kib = int(fields[20]) // 1024, int(fields[21]) * 4
        memory = [str(size_kib), str(resident_kib)]
        return [user, str(pid), "0.0", "0.0", *memory, "?", fields[0], began, clock, shown]
    return [user, str(pid), fields[1], "0", began, "?", clock, shown]


def _boot_time() -> float:
    return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)


def _table(text: str) -> dict[str, int]:
    found = {}
    for line in text.splitlines():
        key, _, value = line.partition(" ")
        if value.strip().isdigit():
            found[key] = int(value)
    return found


def _number(text: str) -> int:
    return int(text) if text.strip().isdigit() else 0


def _sample(container: Container) -> dict[str, Any]:
    record = container.record
    now_ns = time.time_ns()
    moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now_ns // 1_000_000_000))
    sample: dict[str, Any] = {
        "name": f"/{record.name}",
        "id": record.id,
        "read": f"{moment}.{now_ns % 1_000_000_000:09d}Z",
        "num_procs": 0,
        "storage_stats": {},
        "pids_stats": {},
        "blkio_stats": {},
        "cpu_stats": {},
        "memory_stats": {},
        "networks": {},
    }
    if not record.state.running:
        return sample
    cgroups = Cgroups(cgroup_path(container))
    sample["pids_stats"] = {"current": _number(cgroups.file("pids", "pids.current"))}
    most = cgroups.file("pids", "pids.max").strip()
    sample["pids_stats"]["limit"] = int(most) if most.isdigit() else _UNLIMITED
    sample["cpu_stats"] = _cpu(cgroups)
    sample["memory_stats"] = _memory(cgroups)
    sample["blkio_stats"] = {"io_service_bytes_recursive": _block(cgroups)}
    sample["networks"] = _interfaces(record.state.pid)
    return sample


def _cpu(cgroups: Cgroups) -> dict[str, Any]:
    usage = cgroups.file("cpuacct", "cpuacct.usage")
    if usage:
        ticks = _table(cgroups.file("cpuacct", "cpuacct.stat"))
        total = _number(usage)
        user, system = (ticks.get(name, 0) * 1_000_000_000 // _TICKS for name in ("user", "system"))
    else:
        table = _table(cgroups.file("cpu", "cpu.stat"))
        total, user, system = (
            table.get(f"{name}_usec", 0) * 1000 for name in ("usage", "user", "system")
        )
    throttled = _table(cgroups.file("cpu", "cpu.stat"))
    return {
        "cpu_usage": {
            "total_usage": total,
            "usage_in_kernelmode": system,
            "usage_in_usermode": user,
        },
        "system_cpu_usage": _system_cpu_ns(),
        "online_cpus": os.cpu_count() or 1,
        "throttling_data": {
            "periods": throttled.get("nr_periods", 0),
            "throttled_periods": throttled.get("nr_throttled", 0),
            "throttled_time": throttled.get("throttled_time", 0),
        },
    }


def _system_cpu_ns() -> int:
    with open("/proc/stat") as file:
        numbers = [int(word) for word in file.readline().split()[1:8]]
    return sum(numbers) * 1_000_000_000 // _TICKS


def _memory(cgroups: Cgroups) -> dict[str, Any]:
    table = _table(cgroups.file("memory", "memory.stat"))
    usage = cgroups.file("memory", "memory.usage_in_bytes") or cgroups.file(
        "memory", "memory.current"
    )
    limit = cgroups.file("memory", "memory.limit_in_bytes") or cgroups.file("memory", "memory.max")
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "usage": _number(usage),
        "max_usage": _number(cgroups.file("memory", "memory.max_usage_in_bytes")),
        "stats": table,
        "limit": min(_number(limit) or pages, pages),
    }


def _block(cgroups: Cgroups) -> list[dict[str, Any]]:
    found = []
    for line in cgroups.file("io", "io.stat").splitlines():
        device, *figures = line.split()
        for figure in figures:
            key, _, value = figure.partition("=")
            if key in _OPERATIONS:
                found.append(_transfer(device, _OPERATIONS[key], value))
    for line in cgroups.file("blkio", "blkio.throttle.io_service_bytes_recursive").splitlines():
        words = line.split()
        if len(words) == 3:
            found.append(_transfer(words[0], words[1].lower(), words[2]))
    return found


_OPERATIONS: Final = {"rbytes": "read", "wbytes": "write"}


def _transfer(device: str, operation: str, count: str) -> dict[str, Any]:
    major, _, minor = device.partition(":")
    return {"major": int(major), "minor": int(minor), "op": operation, "value": int(count)}


def _interfaces(pid: int) -> dict[str, Any]:
    """Read the counters of the interfaces in the namespace of a process."""
    try:
        lines = Path(f"/proc/{pid}/net/dev").read_text().splitlines()[2:]
    except OSError:
        return {}
    found = {}
    for line in lines:
        name, _, rest = line.partition(":")
        words = [int(word) for word in rest.split()]
        if name.strip() != "lo":
            found[name.strip()] = {
                "rx_bytes": words[0],
                "rx_packets": words[1],
                "rx_errors": words[2],
                "rx_dropped": words[3],
                "tx_bytes": words[8],
                "tx_packets": words[9],
                "tx_errors": words[10],
                "tx_dropped": words[11],
            }
    return found
