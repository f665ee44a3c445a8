"""Resources: CPU, memory, process limits; what `run`, `create` and `update` have in common."""

from __future__ import annotations

from typing import Any

from sampan.base.errors import InvalidError
from sampan.cli.containers.core.flags import Flag, Kind, Parsed
from sampan.cli.containers.core.kinds import BYTES, INTEGER, STRING, SWAP, UINT16, integer

__all__ = ["RESOURCE_FLAGS", "ULIMIT", "resources", "restart_policy"]

_ULIMITS = frozenset(
    (
        "as", "core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue", "nice", "nofile",
        "nproc", "rss", "rtprio", "rttime", "sigpending", "stack",
    )
)  # fmt: skip


def _nano_cpus(text: str) -> int:
    whole, dot, fraction = text.partition(".")
    sign = -1 if whole.startswith("-") else 1
    whole = whole.lstrip("+-")
    digits = whole + fraction
    if not (digits.isascii() and digits.isdigit()):
        raise InvalidError(f"failed to parse {text} as a rational number")
    if len(fraction.rstrip("0")) > 9:
        raise InvalidError("value is too precise")
    value = int(whole or "0") * 10**9 + (int(fraction[:9].ljust(9, "0")) if dot else 0)
    return sign * value


def _ulimit(text: str) -> dict[str, Any]:
    name, equals, value = text.partition("=")
    if not equals:
        raise InvalidError(f"invalid ulimit argument: {text}")
    if name not in _ULIMITS:
        raise InvalidError(f"invalid ulimit type: {name}")
    soft_text, colon, hard_text = value.partition(":")
    if ":" in hard_text:
        raise InvalidError(
            f"too many limit value arguments - {value}, can only have up to two, `soft[:hard]`"
        )
    soft = integer(soft_text)
    hard = integer(hard_text) if colon else soft
    if hard != -1 and (soft == -1 or soft > hard):
        raise InvalidError(
            f"ulimit soft limit must be less than or equal to hard limit: {soft} > {hard}"
        )
    return {"Name": name, "Hard": hard, "Soft": soft}


_CPUS = Kind("decimal", _nano_cpus)
ULIMIT = Kind("ulimit", _ulimit, repeated=True)

RESOURCE_FLAGS = (
    Flag("blkio-weight", UINT16, "Block IO (relative weight), 10 to 1000, or 0 to disable"),
    Flag("cpu-period", INTEGER, "Limit CPU CFS (Completely Fair Scheduler) period"),
    Flag("cpu-quota", INTEGER, "Limit CPU CFS (Completely Fair Scheduler) quota"),
    Flag("cpu-rt-period", INTEGER, "Limit the CPU real-time period in microseconds"),
    Flag("cpu-rt-runtime", INTEGER, "Limit the CPU real-time runtime in microseconds"),
    Flag("cpu-shares", INTEGER, "CPU shares (relative weight)", "c"),
    Flag("cpus", _CPUS, "Number of CPUs"),
    Flag("cpuset-cpus", STRING, "CPUs in which to allow execution (0-3, 0,1)"),
    Flag("cpuset-mems", STRING, "Memory nodes in which to allow execution (0-3, 0,1)"),
    Flag("kernel-memory", BYTES, "Kernel memory limit", hidden=True),
    Flag("memory", BYTES, "Memory limit", "m"),
    Flag("memory-reservation", BYTES, "Memory soft limit"),
    Flag("memory-swap", SWAP, "Swap limit equal to memory plus swap: -1 for unlimited swap"),
    Flag("pids-limit", INTEGER, "Limit of processes (-1 for unlimited)"),
    Flag("restart", STRING, "Restart policy to apply when a container exits"),
)

_FIELDS = {
    "blkio-weight": "BlkioWeight",
    "cpu-period": "CpuPeriod",
    "cpu-quota": "CpuQuota",
    "cpu-rt-period": "CpuRealtimePeriod",
    "cpu-rt-runtime": "CpuRealtimeRuntime",
    "cpu-shares": "CpuShares",
    "cpus": "NanoCpus",
    "cpuset-cpus": "CpusetCpus",
    "cpuset-mems": "CpusetMems",
    "memory": "Memory",
    "memory-reservation": "MemoryReservation",
    "memory-swap": "MemorySwap",
    "pids-limit": "PidsLimit",
}


def resources(parsed: Parsed) -> dict[str, Any]:
    """Return the fields of Resources that were given."""
    return {field: parsed.values[flag] for flag, field in _FIELDS.items() if parsed.values[flag]}


def restart_policy(text: str) -> dict[str, Any]:
    """Return RestartPolicy of `no`, `always`, `on-failure:3`."""
    name, colon, count = text.partition(":")
    if colon and not name:
        raise InvalidError("invalid restart policy format: policy name cannot be blank")
    policy: dict[str, Any] = {"Name": name}
    if colon and count:
        try:
            policy["MaximumRetryCount"] = integer(count)
        except ValueError:
            raise InvalidError(
                "invalid restart policy format: maximum retry count must be an integer"
            ) from None
    return policy
