"""Changing the limits of a container while it runs."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Mapping
from typing import Any, Final

from sampan.base.errors import ConflictError, SampanError, reason_of
from sampan.engine.daemon.core.config import fill_host_config
from sampan.engine.daemon.core.constraints import Machine, without_what_is_missing
from sampan.engine.daemon.core.translate import limits
from sampan.engine.daemon.shell.container import Container
from sampan.engine.daemon.shell.devices import block_numbers
from sampan.engine.daemon.shell.lifecycle import cgroup_path
from sampan.engine.runtime.shell.cgroups import Cgroups

__all__ = ["update_container"]

_UPDATABLE: Final = (
    "BlkioWeight CpuShares NanoCpus CpuPeriod CpuQuota CpuRealtimePeriod CpuRealtimeRuntime "
    "CpusetCpus CpusetMems Memory MemoryReservation MemorySwap PidsLimit RestartPolicy"
).split()


async def update_container(
    container: Container, body: Mapping[str, Any], machine: Machine
) -> list[str]:
    """Change limits and restart policy; returns warnings. A refusal changes nothing."""
    record = container.record
    given = {key: value for key, value in body.items() if key in _UPDATABLE and value}
    if not given.get("RestartPolicy", {}).get("Name"):
        given.pop("RestartPolicy", None)
    start = f"Cannot update container {record.id}: "
    async with container.lock:
        if record.state.status in ("removing", "dead"):
            raise ConflictError(f'{start}container is marked for removal and cannot be "update"')
        _check_change(record.host_config, given, start)
        wanted = fill_host_config({**record.host_config, **given}, os.cpu_count() or 1)
        host, warnings = without_what_is_missing(wanted, machine)
        before, record.host_config = record.host_config, host
        try:
            # On disk first: a limit that could not be kept would be gone after a restart.
            container.save()
            if record.state.running:
                cgroups = Cgroups(cgroup_path(container))
                await asyncio.to_thread(cgroups.apply, limits(host, block_numbers(host)))
        except (SampanError, OSError) as error:
            record.host_config = before
            with contextlib.suppress(OSError):
                container.save()
            raise SampanError(f"{start}{reason_of(error)}") from None
    return warnings


def _check_change(host: Mapping[str, Any], given: Mapping[str, Any], start: str) -> None:
    """Refuse what contradicts the limits that stand."""
    if "RestartPolicy" in given and host["AutoRemove"]:
        raise ConflictError(
            f"{start}Restart policy cannot be updated because AutoRemove is enabled for the "
            "container"
        )
    for key, words in (("CpuPeriod", "CPU Period"), ("CpuQuota", "CPU Quota")):
        if "NanoCpus" in given and host[key] and key not in given:
            raise ConflictError(
                f"{start}Conflicting options: Nano CPUs cannot be updated as {words} has already "
                "been set"
            )
        if key in given and host["NanoCpus"] and "NanoCpus" not in given:
            raise ConflictError(
                f"{start}Conflicting options: {words} cannot be updated as NanoCPUs has already "
                "been set"
            )
    memory = given.get("Memory")
    if memory and "MemorySwap" not in given and memory > host["MemorySwap"]:
        raise ConflictError(
            f"{start}Memory limit should be smaller than already set memoryswap limit, update the "
            "memoryswap at the same time"
        )
