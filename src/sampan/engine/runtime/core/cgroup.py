"""Resource limits of the OCI specification as writes to cgroup files, for both versions.

Source: OCI runtime specification 1.2, "control groups"; the kernel's cgroup-v1 and cgroup-v2
documents. A write is (controller, file, text); the order of the result is the order to write in.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from sampan.base.record import record
from sampan.engine.runtime.core.fields import Fields

__all__ = ["Write", "shares_to_weight", "writes_v1", "writes_v2"]

_UNLIMITED: Final = -1


@record
class Write:
    """One write into a cgroup's directory."""

    controller: str
    file: str
    text: str


def shares_to_weight(shares: int) -> int:
    """Return the version 2 weight (1 to 10000) of version 1 shares (2 to 262144)."""
    bounded = min(max(shares, 2), 262144)
    return 1 + (bounded - 2) * 9999 // 262142


def writes_v1(resources: Mapping[str, Any]) -> list[Write]:
    """Return the writes for version 1 controllers."""
    fields = Fields(resources, "$.linux.resources")
    out = [*_devices_v1(fields)]
    memory = fields.object("memory")
    limit, swap = memory.optional_integer("limit"), memory.optional_integer("swap")
    out += _given("memory", "memory.limit_in_bytes", limit)
    out += _given("memory", "memory.memsw.limit_in_bytes", swap)
    reservation = memory.optional_integer("reservation")
    out += _given("memory", "memory.soft_limit_in_bytes", reservation)
    tcp = memory.optional_integer("kernelTCP")
    out += _given("memory", "memory.kmem.tcp.limit_in_bytes", tcp)
    swappiness = memory.optional_integer("swappiness")
    if swappiness is not None and swappiness >= 0:
        out.append(Write("memory", "memory.swappiness", str(swappiness)))
    if memory.flag("disableOOMKiller"):
        out.append(Write("memory", "memory.oom_control", "1"))
    cpu = fields.object("cpu")
    out += _positive("cpu", "cpu.shares", cpu.optional_integer("shares"))
    out += _positive("cpu", "cpu.cfs_period_us", cpu.optional_integer("period"))
    out += _given("cpu", "cpu.cfs_quota_us", cpu.optional_integer("quota") or None)
    out += _positive("cpu", "cpu.cfs_burst_us", cpu.optional_integer("burst"))
    out += _positive("cpu", "cpu.idle", cpu.optional_integer("idle"))
    out += _positive("cpu", "cpu.rt_period_us", cpu.optional_integer("realtimePeriod"))
    out += _positive("cpu", "cpu.rt_runtime_us", cpu.optional_integer("realtimeRuntime"))
    out += _texts("cpuset", (("cpuset.cpus", cpu.text("cpus")), ("cpuset.mems", cpu.text("mems"))))
    out += _pids(fields)
    block = fields.object("blockIO")
    out += _positive("blkio", "blkio.weight", block.optional_integer("weight"))
    for text in _of_devices(block, "weightDevice", "weight"):
        out.append(Write("blkio", "blkio.weight_device", text))
    for name, file in _THROTTLES.items():
        for text in _of_devices(block, name, "rate"):
            out.append(Write("blkio", f"blkio.throttle.{file}", text))
    return out + _huge_pages(fields, "limit_in_bytes") + _network(fields) + _remote_memory(fields)


def writes_v2(resources: Mapping[str, Any]) -> list[Write]:
    """Return the writes for the unified hierarchy; devices need a program, not a write."""
    fields = Fields(resources, "$.linux.resources")
    out: list[Write] = []
    memory = fields.object("memory")
    limit, swap = memory.optional_integer("limit"), memory.optional_integer("swap")
    out += _maximum("memory", "memory.max", limit)
    out += _maximum("memory", "memory.low", memory.optional_integer("reservation"))
    if swap is not None and swap != 0:
        only_swap = swap - limit if swap > 0 and limit and limit > 0 else swap
        out += _maximum("memory", "memory.swap.max", only_swap)
    cpu = fields.object("cpu")
    shares = cpu.optional_integer("shares")
    if shares:
        out.append(Write("cpu", "cpu.weight", str(shares_to_weight(shares))))
    quota, period = cpu.optional_integer("quota"), cpu.optional_integer("period")
    if quota or period:
        text = str(quota) if quota and quota > 0 else "max"
        out.append(Write("cpu", "cpu.max", f"{text} {period or 100000}"))
    out += _positive("cpu", "cpu.max.burst", cpu.optional_integer("burst"))
    out += _positive("cpu", "cpu.idle", cpu.optional_integer("idle"))
    out += _texts("cpuset", (("cpuset.cpus", cpu.text("cpus")), ("cpuset.mems", cpu.text("mems"))))
    out += _pids(fields)
    block = fields.object("blockIO")
    weight = block.optional_integer("weight")
    if weight:
        out.append(Write("io", "io.weight", f"default {_io_weight(weight)}"))
    for text in _of_devices(block, "weightDevice", "weight"):
        device, _, own_weight = text.partition(" ")
        out.append(Write("io", "io.weight", f"{device} {_io_weight(int(own_weight))}"))
    for name, key in _IO_MAX.items():
        for text in _of_devices(block, name, "rate"):
            device, _, rate = text.partition(" ")
            out.append(Write("io", "io.max", f"{device} {key}={rate}"))
    # Packets have no controller in the unified hierarchy: whoever asks for one is to be told.
    out += _huge_pages(fields, "max") + _network(fields) + _remote_memory(fields)
    unified = fields.table("unified")
    return out + [Write(name.partition(".")[0], name, text) for name, text in unified.items()]


_THROTTLES: Final = {
    "throttleReadBpsDevice": "read_bps_device",
    "throttleWriteBpsDevice": "write_bps_device",
    "throttleReadIOPSDevice": "read_iops_device",
    "throttleWriteIOPSDevice": "write_iops_device",
}
_IO_MAX: Final = {
    "throttleReadBpsDevice": "rbps",
    "throttleWriteBpsDevice": "wbps",
    "throttleReadIOPSDevice": "riops",
    "throttleWriteIOPSDevice": "wiops",
}


def _given(controller: str, file: str, value: int | None) -> list[Write]:
    return [] if value is None or value == 0 else [Write(controller, file, str(value))]


def _positive(controller: str, file: str, value: int | None) -> list[Write]:
    return [Write(controller, file, str(value))] if value and value > 0 else []


def _maximum(controller: str, file: str, value: int | None) -> list[Write]:
    if value is None or value == 0:
        return []
    return [Write(controller, file, "max" if value < 0 else str(value))]


def _texts(controller: str, pairs: tuple[tuple[str, str], ...]) -> list[Write]:
    return [Write(controller, file, text) for file, text in pairs if text]


def _pids(fields: Fields) -> list[Write]:
    limit = fields.object("pids").optional_integer("limit")
    if limit is None or limit == 0:
        return []
    return [Write("pids", "pids.max", "max" if limit < 0 else str(limit))]


def _io_weight(weight: int) -> int:
    """Return the version 2 weight (1 to 10000) of a version 1 weight (10 to 1000)."""
    return 1 + (weight - 10) * 9999 // 990


def _of_devices(block: Fields, name: str, key: str) -> list[str]:
    """Return a line for each device of a list: its numbers and one value."""
    return [
        f"{major}:{minor} {value}"
        for major, minor, value in block.each(
            name, lambda one: (one.integer("major"), one.integer("minor"), one.integer(key))
        )
    ]


def _network(fields: Fields) -> list[Write]:
    network = fields.object("network")
    class_id = network.integer("classID")
    out = [Write("net_cls", "net_cls.classid", str(class_id))] if class_id else []
    return out + [
        Write("net_prio", "net_prio.ifpriomap", f"{name} {priority}")
        for name, priority in network.each(
            "priorities", lambda one: (one.required("name"), one.integer("priority"))
        )
    ]


def _remote_memory(fields: Fields) -> list[Write]:
    devices = fields.object("rdma")
    out = []
    for name in fields.raw("rdma") or ():
        one = devices.object(name)
        words = [
            f"{key}={one.integer(field)}"
            for key, field in (("hca_handle", "hcaHandles"), ("hca_object", "hcaObjects"))
            if one.has(field)
        ]
        out.append(Write("rdma", "rdma.max", " ".join([name, *words])))
    return out


def _huge_pages(fields: Fields, suffix: str) -> list[Write]:
    return [
        Write("hugetlb", f"hugetlb.{size}.{suffix}", str(limit))
        for size, limit in fields.each(
            "hugepageLimits", lambda one: (one.required("pageSize"), one.integer("limit"))
        )
    ]


def _devices_v1(fields: Fields) -> list[Write]:
    out = []
    for allow, rule in fields.each("devices", lambda one: (one.flag("allow"), _device_rule(one))):
        out.append(Write("devices", "devices.allow" if allow else "devices.deny", rule))
    return out


def _device_rule(fields: Fields) -> str:
    kind = fields.text("type", "a") or "a"
    major, minor = fields.optional_integer("major"), fields.optional_integer("minor")
    access = fields.text("access", "rwm") or "rwm"
    numbers = [
        "*" if number is None or number == _UNLIMITED else str(number) for number in (major, minor)
    ]
    return f"{kind} {numbers[0]}:{numbers[1]} {access}"
