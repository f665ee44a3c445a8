"""Resource limits of CRI as sections of an OCI specification."""

from __future__ import annotations

from typing import Any

from sampan.base.errors import InvalidError
from sampan.engine.cri.pb.resources_pb2 import LinuxContainerResources

__all__ = ["merged_resources", "oci_resources"]

_SIZES = {"KB": 10, "MB": 20, "GB": 30}


def oci_resources(given: LinuxContainerResources) -> dict[str, Any]:
    """Return the sections that these limits mean; zero is "not set". Raises InvalidError."""
    for name in ("cpu_period", "cpu_shares"):
        if getattr(given, name) < 0:
            raise InvalidError(f"linux.resources.{name}: must not be negative")
    memory, swap = given.memory_limit_in_bytes, given.memory_swap_limit_in_bytes
    if memory > 0 and 0 < swap < memory:
        raise InvalidError("linux.resources: the swap limit includes memory and cannot be smaller")
    sections: dict[str, Any] = {
        "cpu": {
            "shares": given.cpu_shares or None,
            "period": given.cpu_period or None,
            "quota": given.cpu_quota or None,
            "cpus": given.cpuset_cpus,
            "mems": given.cpuset_mems,
        },
        "memory": {"limit": memory or None, "swap": swap or None},
        "hugepageLimits": [
            {"pageSize": _page_size(one.page_size), "limit": one.limit}
            for one in given.hugepage_limits
        ],
    }
    if given.unified:
        sections["unified"] = dict(given.unified)
    return sections


def _page_size(text: str) -> str:
    """Check a size as the kernel's files are named by: "2MB", "1GB"."""
    if text[-2:] not in _SIZES or not text[:-2].isdigit():
        raise InvalidError(f"hugepage_limits: {text!r} is no page size; 2MB and 1GB are")
    return text


def merged_resources(
    old: LinuxContainerResources, new: LinuxContainerResources
) -> LinuxContainerResources:
    """Return the limits after an update: what it does not set stays."""
    merged = LinuxContainerResources()
    merged.CopyFrom(old)
    if new.hugepage_limits:
        del merged.hugepage_limits[:]
    merged.MergeFrom(new)
    return merged
