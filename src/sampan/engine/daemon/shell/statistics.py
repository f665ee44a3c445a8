"""What a container has used: processor, memory, devices, network, as `docker stats` shows it."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

from sampan.engine.daemon.shell.container import Container
from sampan.engine.daemon.shell.lifecycle import cgroup_path
from sampan.engine.runtime.shell.cgroups import Cgroups

__all__ = ["statistics"]

_TICKS: Final = os.sysconf("SC_CLK_TCK")
_BLOCK_FILES: Final = {
    "io_service_bytes_recursive": "blkio.throttle.io_service_bytes_recursive",
    "io_serviced_recursive": "blkio.throttle.io_serviced_recursive",
}
_BLOCK_EMPTY: Final = (
    "io_queue_recursive io_service_time_recursive io_wait_time_recursive io_merged_recursive "
    "io_time_recursive sectors_recursive"
).split()
_NEVER: Final = "0001-01-01T00:00:00Z"


async def statistics(
    container: Container, *, stream: bool, one_shot: bool
) -> AsyncIterator[dict[str, Any]]:
    """Yield statistics, one a second, until the container is gone.

    Without `stream` once, compared with a second ago unless `one_shot` says that it need not be.
    """
    before: dict[str, Any] | None = None
    if not stream and not one_shot and container.record.state.running:
        before = _sample(container)
        await asyncio.sleep(1.0)
    while True:
        sample = _sample(container)
        previous = before or {"read": _NEVER, "cpu_stats": _no_cpu()}
        yield {**sample, "preread": previous["read"], "precpu_stats": previous["cpu_stats"]}
        before = sample
        if not stream or container.removed.is_set():
            return
        await asyncio.sleep(1.0)


def _no_cpu() -> dict[str, Any]:
    usage = {"total_usage": 0, "usage_in_kernelmode": 0, "usage_in_usermode": 0}
    throttling = {"periods": 0, "throttled_periods": 0, "throttled_time": 0}
    return {"cpu_usage": usage, "throttling_data": throttling}


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
        "blkio_stats": dict.fromkeys((*_BLOCK_FILES, *_BLOCK_EMPTY)),
        "cpu_stats": _no_cpu(),
        "memory_stats": {},
    }
    if not record.state.running:
        return sample
    cgroups = Cgroups(cgroup_path(container))
    sample["pids_stats"] = _processes(cgroups)
    sample["cpu_stats"] = _cpu(cgroups)
    sample["memory_stats"] = _memory(cgroups)
    sample["blkio_stats"] = _block(cgroups)
    if networks := _interfaces(record.state.pid):
        sample["networks"] = networks
    return sample


def _processes(cgroups: Cgroups) -> dict[str, int]:
    found = {"current": _number(cgroups.file("pids", "pids.current"))}
    limit = cgroups.file("pids", "pids.max").strip()
    # Docker's word for "no limit" is the largest number that fits.
    found["limit"] = int(limit) if limit.isdigit() else (1 << 64) - 1
    return found


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
    each = [int(word) for word in cgroups.file("cpuacct", "cpuacct.usage_percpu").split()]
    return {
        "cpu_usage": {
            "total_usage": total,
            **({"percpu_usage": each} if each else {}),
            "usage_in_kernelmode": system,
            "usage_in_usermode": user,
        },
        "system_cpu_usage": _system_cpu_ns(),
        "online_cpus": os.cpu_count() or 1,
        "throttling_data": {
            "periods": throttled.get("nr_periods", 0),
            "throttled_periods": throttled.get("nr_throttled", 0),
            "throttled_time": throttled.get(
                "throttled_time", throttled.get("throttled_usec", 0) * 1000
            ),
        },
    }


def _system_cpu_ns() -> int:
    with open("/proc/stat") as file:
        numbers = [int(word) for word in file.readline().split()[1:8]]
    return sum(numbers) * 1_000_000_000 // _TICKS


def _memory(cgroups: Cgroups) -> dict[str, Any]:
    table = _table(cgroups.file("memory", "memory.stat"))
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    old = cgroups.file("memory", "memory.usage_in_bytes")
    usage = old or cgroups.file("memory", "memory.current")
    limit = cgroups.file("memory", "memory.limit_in_bytes") or cgroups.file("memory", "memory.max")
    found = {
        "usage": _number(usage),
        "stats": table,
        "limit": min(_number(limit) or pages, pages),
    }
    if old:
        found["max_usage"] = _number(cgroups.file("memory", "memory.max_usage_in_bytes"))
        failures = _number(cgroups.file("memory", "memory.failcnt"))
        found |= {"failcnt": failures} if failures else {}
    return found


def _block(cgroups: Cgroups) -> dict[str, Any]:
    found: dict[str, Any] = dict.fromkeys((*_BLOCK_FILES, *_BLOCK_EMPTY))
    unified = cgroups.file("io", "io.stat")
    if unified:
        return found | {"io_service_bytes_recursive": _io_stat(unified)}
    for name, file in _BLOCK_FILES.items():
        found[name] = _block_lines(cgroups.file("blkio", file))
    return found | {name: [] for name in _BLOCK_EMPTY}


def _block_lines(text: str) -> list[dict[str, Any]]:
    found = []
    for line in text.splitlines():
        words = line.split()
        if len(words) == 3:
            major, _, minor = words[0].partition(":")
            numbers = {"major": int(major), "minor": int(minor)}
            found.append({**numbers, "op": words[1], "value": int(words[2])})
    return found


def _io_stat(text: str) -> list[dict[str, Any]]:
    """Read lines as `8:0 rbytes=1 wbytes=2 ...`."""
    found = []
    for line in text.splitlines():
        device, *pairs = line.split()
        major, _, minor = device.partition(":")
        values = dict(pair.partition("=")[::2] for pair in pairs)
        for op, key in (("read", "rbytes"), ("write", "wbytes")):
            if key in values and major.isdigit():
                numbers = {"major": int(major), "minor": int(minor)}
                found.append({**numbers, "op": op, "value": int(values[key])})
    return found


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
