"""What `stats` shows of a container: shares of CPU and memory, traffic."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sampan.cli.containers.core.units import binary_size, decimal_size, short_id

__all__ = ["NO_STATS", "stat_row"]

NO_STATS = "--"


def stat_row(asked: str, stats: Mapping[str, Any] | None, shorten: bool) -> dict[str, str]:
    """Return the row of one sample; dashes while there is none."""
    if stats is None:
        fields = ("BlockIO", "CPUPerc", "MemPerc", "MemUsage", "NetIO", "PIDs", "ID", "Name")
        return {**dict.fromkeys(fields, NO_STATS), "Container": asked, "ID": asked}
    memory = stats.get("memory_stats") or {}
    used, limit = _memory(memory), memory.get("limit") or 0
    share = used / limit * 100 if limit else 0.0
    received, sent = _traffic(stats.get("networks") or {})
    read, written = _blocks(stats.get("blkio_stats") or {})
    identity = str(stats.get("id", ""))
    return {
        "BlockIO": f"{decimal_size(read)} / {decimal_size(written)}",
        "CPUPerc": f"{_cpu(stats):.2f}%",
        "Container": asked,
        "ID": short_id(identity) if shorten else identity,
        "MemPerc": f"{share:.2f}%",
        "MemUsage": f"{binary_size(used)} / {binary_size(limit)}",
        "Name": str(stats.get("name", "")).removeprefix("/"),
        "NetIO": f"{decimal_size(received)} / {decimal_size(sent)}",
        "PIDs": str((stats.get("pids_stats") or {}).get("current", 0)),
    }


def _cpu(stats: Mapping[str, Any]) -> float:
    now, before = stats.get("cpu_stats") or {}, stats.get("precpu_stats") or {}
    usage = now.get("cpu_usage") or {}
    spent = usage.get("total_usage", 0) - (before.get("cpu_usage") or {}).get("total_usage", 0)
    passed = now.get("system_cpu_usage", 0) - before.get("system_cpu_usage", 0)
    cpus = now.get("online_cpus") or len(usage.get("percpu_usage") or ())
    return spent / passed * cpus * 100 if spent > 0 and passed > 0 else 0.0


def _memory(memory: Mapping[str, Any]) -> int:
    """Return the usage without what the kernel would give up at once."""
    used, details = memory.get("usage") or 0, memory.get("stats") or {}
    for name in ("total_inactive_file", "inactive_file"):
        if name in details:
            return int(used - details[name] if details[name] < used else used)
    return int(used)


def _traffic(networks: Mapping[str, Mapping[str, int]]) -> tuple[int, int]:
    return (
        sum(one.get("rx_bytes", 0) for one in networks.values()),
        sum(one.get("tx_bytes", 0) for one in networks.values()),
    )


def _blocks(blocks: Mapping[str, Any]) -> tuple[int, int]:
    totals = {"r": 0, "w": 0}
    for one in blocks.get("io_service_bytes_recursive") or ():
        letter = str(one.get("op", " "))[:1].lower()
        if letter in totals:
            totals[letter] += one.get("value", 0)
    return totals["r"], totals["w"]
