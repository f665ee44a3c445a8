"""What the kernel's files say that processes use, and CRI's messages for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sampan.engine.cri.pb.container_pb2 import PsiData
from sampan.engine.cri.pb.stats_pb2 import (
    CpuUsage,
    IoUsage,
    MemoryUsage,
    NetworkInterfaceUsage,
    PsiStats,
    SwapUsage,
)

__all__ = [
    "Usage",
    "cpu_message",
    "interface_usages",
    "io_message",
    "memory_message",
    "swap_message",
    "table_of",
    "usage_v1",
    "usage_v2",
]


@dataclass(frozen=True, slots=True)
class Usage:
    """What a cgroup uses at a moment; a limit of 0 is none, pressure is the files' text."""

    time_ns: int
    cpu_ns: int = 0
    memory: int = 0
    working_set: int = 0
    rss: int = 0
    memory_limit: int = 0
    page_faults: int = 0
    major_page_faults: int = 0
    swap: int = 0
    swap_limit: int = 0
    processes: int = 0
    cpu_pressure: str = ""
    memory_pressure: str = ""
    io_pressure: str = ""


def table_of(text: str) -> dict[str, int]:
    """Return the lines "name number" of a cgroup file."""
    found = {}
    for line in text.splitlines():
        key, _, value = line.partition(" ")
        if value.strip().isdigit():
            found[key] = int(value)
    return found


def _number(text: str) -> int:
    return int(text) if text.strip().isdigit() else 0


def _limit(text: str, most: int) -> int:
    """Return a limit, 0 when it is none or beyond what the machine has."""
    found = _number(text)
    return found if found < most else 0


def usage_v1(files: Mapping[str, str], time_ns: int, machine_bytes: int) -> Usage:
    """Return the usage that files of version 1 tell, by their names."""
    stat = table_of(files.get("memory.stat", ""))
    memory = _number(files.get("memory.usage_in_bytes", ""))
    limit = _limit(files.get("memory.limit_in_bytes", ""), machine_bytes)
    both = _limit(files.get("memory.memsw.limit_in_bytes", ""), machine_bytes)
    return Usage(
        time_ns,
        cpu_ns=_number(files.get("cpuacct.usage", "")),
        memory=memory,
        working_set=max(0, memory - stat.get("total_inactive_file", 0)),
        rss=stat.get("total_rss", 0),
        memory_limit=limit,
        page_faults=stat.get("total_pgfault", 0),
        major_page_faults=stat.get("total_pgmajfault", 0),
        swap=stat.get("total_swap", 0),
        swap_limit=max(0, both - limit) if limit else 0,
        processes=_number(files.get("pids.current", "")),
    )


def usage_v2(files: Mapping[str, str], time_ns: int, machine_bytes: int) -> Usage:
    """Return the usage that files of version 2 tell, by their names."""
    stat = table_of(files.get("memory.stat", ""))
    memory = _number(files.get("memory.current", ""))
    return Usage(
        time_ns,
        cpu_ns=table_of(files.get("cpu.stat", "")).get("usage_usec", 0) * 1000,
        memory=memory,
        working_set=max(0, memory - stat.get("inactive_file", 0)),
        rss=stat.get("anon", 0),
        memory_limit=_limit(files.get("memory.max", ""), machine_bytes),
        page_faults=stat.get("pgfault", 0),
        major_page_faults=stat.get("pgmajfault", 0),
        swap=_number(files.get("memory.swap.current", "")),
        swap_limit=_limit(files.get("memory.swap.max", ""), machine_bytes),
        processes=_number(files.get("pids.current", "")),
        cpu_pressure=files.get("cpu.pressure", ""),
        memory_pressure=files.get("memory.pressure", ""),
        io_pressure=files.get("io.pressure", ""),
    )


def cpu_message(usage: Usage, nano_cores: int) -> CpuUsage:
    """Return the message of the processors; `nano_cores` is the rate since an earlier look."""
    message = CpuUsage(timestamp=usage.time_ns)
    message.usage_core_nano_seconds.value = usage.cpu_ns
    message.usage_nano_cores.value = nano_cores
    if usage.cpu_pressure:
        _press(message.psi, usage.cpu_pressure)
    return message


def memory_message(usage: Usage) -> MemoryUsage:
    """Return the message of the memory."""
    message = MemoryUsage(timestamp=usage.time_ns)
    message.working_set_bytes.value = usage.working_set
    message.usage_bytes.value = usage.memory
    message.rss_bytes.value = usage.rss
    message.page_faults.value = usage.page_faults
    message.major_page_faults.value = usage.major_page_faults
    if usage.memory_limit:
        message.available_bytes.value = max(0, usage.memory_limit - usage.working_set)
    if usage.memory_pressure:
        _press(message.psi, usage.memory_pressure)
    return message


def swap_message(usage: Usage) -> SwapUsage:
    """Return the message of the swap."""
    message = SwapUsage(timestamp=usage.time_ns)
    message.swap_usage_bytes.value = usage.swap
    message.swap_available_bytes.value = max(0, usage.swap_limit - usage.swap)
    return message


def io_message(usage: Usage) -> IoUsage | None:
    """Return the message of input and output; None where the kernel does not tell."""
    if not usage.io_pressure:
        return None
    message = IoUsage(timestamp=usage.time_ns)
    _press(message.psi, usage.io_pressure)
    return message


def _press(message: PsiStats, text: str) -> None:
    """Fill in the two lines of a pressure file."""
    for line in text.splitlines():
        kind, _, rest = line.partition(" ")
        fields = dict(word.partition("=")[::2] for word in rest.split())
        data: PsiData = message.Full if kind == "full" else message.Some
        data.Total = int(fields.get("total", 0))
        data.Avg10 = float(fields.get("avg10", 0))
        data.Avg60 = float(fields.get("avg60", 0))
        data.Avg300 = float(fields.get("avg300", 0))


def interface_usages(text: str) -> list[NetworkInterfaceUsage]:
    """Return the counters of `/proc/PID/net/dev`, without the loopback interface's."""
    found = []
    for line in text.splitlines()[2:]:
        name, _, rest = line.partition(":")
        words = [int(word) for word in rest.split()]
        if name.strip() == "lo" or len(words) < 11:
            continue
        message = NetworkInterfaceUsage(name=name.strip())
        message.rx_bytes.value, message.rx_errors.value = words[0], words[2]
        message.tx_bytes.value, message.tx_errors.value = words[8], words[10]
        found.append(message)
    return found
