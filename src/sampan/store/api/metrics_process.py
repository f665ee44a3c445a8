"""What the operating system knows about this process, as metrics."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator

from sampan.wire.exposition import Family, counter, gauge

__all__ = ["process_families"]


def process_families() -> Iterator[Family]:
    """Yield `process_*` and `os_fd_*` for this process; nothing where there is no /proc."""
    try:
        with open("/proc/self/stat", "rb") as file:
            # The name in parentheses may hold spaces; what follows it may not.
            stat = file.read().rpartition(b")")[2].split()
        with open("/proc/stat", "rb") as file:
            boot_s = next(int(line.split()[1]) for line in file if line.startswith(b"btime "))
        open_fds = len(os.listdir("/proc/self/fd"))
    except (OSError, StopIteration):
        return
    ticks_per_s = os.sysconf("SC_CLK_TCK")
    cpu_s = (int(stat[11]) + int(stat[12])) / ticks_per_s
    start_s = boot_s + int(stat[19]) / ticks_per_s
    max_fds = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    yield counter("process_cpu_seconds_total", "CPU time used, in seconds.", cpu_s)
    yield gauge("process_start_time_seconds", "Start of the process, Unix time.", start_s)
    yield gauge("process_virtual_memory_bytes", "Virtual memory.", int(stat[20]))
    yield gauge(
        "process_resident_memory_bytes",
        "Resident memory.",
        int(stat[21]) * os.sysconf("SC_PAGE_SIZE"),
    )
    yield gauge("process_open_fds", "Open file descriptors.", open_fds)
    yield gauge("process_max_fds", "Most file descriptors allowed.", max_fds)
    yield gauge("os_fd_used", "Open file descriptors.", open_fds)
    yield gauge("os_fd_limit", "Most file descriptors allowed.", max_fds)
