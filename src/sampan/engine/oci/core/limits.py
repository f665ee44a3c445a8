"""Changes of limits: the flags of `update` as resources, and a change laid over what was."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

__all__ = ["merged", "resources_of"]

_PLACES: Final = {
    "blkio-weight": ("blockIO", "weight"),
    "cpu-period": ("cpu", "period"),
    "cpu-quota": ("cpu", "quota"),
    "cpu-share": ("cpu", "shares"),
    "cpu-rt-period": ("cpu", "realtimePeriod"),
    "cpu-rt-runtime": ("cpu", "realtimeRuntime"),
    "cpuset-cpus": ("cpu", "cpus"),
    "cpuset-mems": ("cpu", "mems"),
    "memory": ("memory", "limit"),
    "memory-reservation": ("memory", "reservation"),
    "memory-swap": ("memory", "swap"),
    "pids-limit": ("pids", "limit"),
    "l3-cache-schema": ("intelRdt", "l3CacheSchema"),
    "mem-bw-schema": ("intelRdt", "memBwSchema"),
}


def resources_of(flags: Mapping[str, Any]) -> dict[str, Any]:
    """Return the resources that the flags name; flags not given change nothing."""
    resources: dict[str, Any] = {}
    for name, (section, key) in _PLACES.items():
        value = flags.get(name)
        if value not in (None, ""):
            resources.setdefault(section, {})[key] = value
    return resources


def merged(before: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    """Return the resources after a change: sections are merged, lists replaced."""
    out = dict(before)
    for key, value in change.items():
        old = out.get(key)
        if isinstance(value, Mapping) and isinstance(old, Mapping):
            out[key] = merged(old, value)
        elif value is not None:
            out[key] = value
    return out
