"""Statistics of `events`, out of the text of cgroup files."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ["interval_s", "statistics"]

Reader = Callable[[str, str], str]
"""Returns a file of a controller, empty when there is none."""


def statistics(read: Reader, version: int) -> dict[str, Any]:
    """Return the `data` of a stats event."""
    own = _version_1(read) if version == 1 else _version_2(read)
    return {
        **own,
        "pids": _pids(read),
        "hugetlb": {},
        "intel_rdt": {},
        "network_interfaces": None,
    }


def _version_1(read: Reader) -> dict[str, Any]:
    percpu = [int(word) for word in read("cpuacct", "cpuacct.usage_percpu").split()]
    times = _table(read("cpuacct", "cpuacct.stat"))
    throttled = _table(read("cpu", "cpu.stat"))
    # cpuacct.stat counts in ticks of 1/100 s, all else in nanoseconds.
    usage = {
        "total": _number(read("cpuacct", "cpuacct.usage")),
        "percpu": percpu,
        "kernel": times.get("system", 0) * 10_000_000,
        "user": times.get("user", 0) * 10_000_000,
    }
    memory = {
        "usage": _memory(read, "memory"),
        "swap": _memory(read, "memory.memsw"),
        "kernel": _memory(read, "memory.kmem"),
        "kernelTCP": _memory(read, "memory.kmem.tcp"),
        "raw": _table(read("memory", "memory.stat")),
    }
    cache = memory["raw"].get("cache", 0)
    return {
        "cpu": {"usage": usage, "throttling": _throttling(throttled, 1, "throttled_time")},
        "memory": {"cache": cache, **memory},
        "blkio": {
            "ioServiceBytesRecursive": _blocks(
                read("blkio", "blkio.throttle.io_service_bytes_recursive")
            ),
            "ioServicedRecursive": _blocks(read("blkio", "blkio.throttle.io_serviced_recursive")),
        },
    }


def _version_2(read: Reader) -> dict[str, Any]:
    times = _table(read("cpu", "cpu.stat"))
    raw = _table(read("memory", "memory.stat"))
    usage = {
        "total": times.get("usage_usec", 0) * 1000,
        "kernel": times.get("system_usec", 0) * 1000,
        "user": times.get("user_usec", 0) * 1000,
    }
    swap = _number(read("memory", "memory.swap.current"))
    current = _number(read("memory", "memory.current"))
    limit = _number(read("memory", "memory.max"))
    swap_limit = _number(read("memory", "memory.swap.max"))
    return {
        "cpu": {"usage": usage, "throttling": _throttling(times, 1000, "throttled_usec")},
        "memory": {
            "cache": raw.get("file", 0),
            "usage": {
                "limit": limit,
                "usage": current,
                "max": _number(read("memory", "memory.peak")),
                "failcnt": _table(read("memory", "memory.events")).get("max", 0),
            },
            "swap": {"limit": limit + swap_limit, "usage": current + swap, "failcnt": 0},
            "raw": raw,
        },
        "blkio": {"ioServiceBytesRecursive": _io(read("io", "io.stat"))},
    }


def _throttling(table: dict[str, int], scale: int, time_key: str) -> dict[str, int]:
    return {
        "periods": table.get("nr_periods", 0),
        "throttledPeriods": table.get("nr_throttled", 0),
        "throttledTime": table.get(time_key, 0) * scale,
    }


def _memory(read: Reader, prefix: str) -> dict[str, int]:
    return {
        "limit": _number(read("memory", f"{prefix}.limit_in_bytes")),
        "usage": _number(read("memory", f"{prefix}.usage_in_bytes")),
        "max": _number(read("memory", f"{prefix}.max_usage_in_bytes")),
        "failcnt": _number(read("memory", f"{prefix}.failcnt")),
    }


def _pids(read: Reader) -> dict[str, int]:
    found = {"current": _number(read("pids", "pids.current"))}
    limit = read("pids", "pids.max").strip()
    return {**found, "limit": int(limit)} if limit.isdigit() else found


def _table(text: str) -> dict[str, int]:
    pairs = (line.split() for line in text.splitlines())
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].isdigit()}


def _blocks(text: str) -> list[dict[str, Any]]:
    found = []
    for line in text.splitlines():
        device, _, rest = line.partition(" ")
        major, colon, minor = device.partition(":")
        operation, _, value = rest.partition(" ")
        if colon and value.isdigit():
            numbers = {"major": int(major), "minor": int(minor)}
            found.append({**numbers, "op": operation, "value": int(value)})
    return found


def _io(text: str) -> list[dict[str, Any]]:
    found = []
    for line in text.splitlines():
        device, _, rest = line.partition(" ")
        major, _, minor = device.partition(":")
        for pair in rest.split():
            key, _, value = pair.partition("=")
            operation = {"rbytes": "Read", "wbytes": "Write"}.get(key)
            if operation:
                numbers = {"major": int(major), "minor": int(minor)}
                found.append({**numbers, "op": operation, "value": int(value)})
    return found


def _number(text: str) -> int:
    word = text.strip()
    if word == "max":
        return (1 << 64) - 1
    return int(word) if word.lstrip("-").isdigit() else 0


_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


def interval_s(text: str) -> float:
    """Return the seconds of a duration such as 500ms, 5s or 1m; 0 for what is none."""
    for unit in ("ms", "s", "m", "h"):
        number = text.removesuffix(unit)
        if number != text and number.replace(".", "", 1).isdigit():
            return float(number) * _UNITS[unit]
    return 0.0
