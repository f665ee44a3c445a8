"""Statistics of pods and containers, read from their cgroups when they are asked for."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sampan.engine.cri.core.sandbox import on_host_network
from sampan.engine.cri.core.usage import (
    Usage,
    cpu_message,
    interface_usages,
    io_message,
    memory_message,
    swap_message,
    usage_v1,
    usage_v2,
)
from sampan.engine.cri.pb.sandbox_pb2 import PodSandboxConfig
from sampan.engine.cri.pb.stats_pb2 import (
    ContainerStats,
    ContainerStatsFilter,
    FilesystemUsage,
    PodSandboxStats,
    PodSandboxStatsFilter,
)
from sampan.engine.cri.shell.catalogue import Catalogue
from sampan.engine.cri.shell.pods import labels_match
from sampan.engine.daemon.shell.container import Container
from sampan.engine.daemon.shell.engine import Engine
from sampan.engine.daemon.shell.lifecycle import cgroup_path
from sampan.engine.runtime.shell.cgroups import Cgroups, layout

__all__ = ["PodStats", "Sample"]

_V1: Final = {
    "cpuacct": ("cpuacct.usage",),
    "memory": (
        "memory.stat",
        "memory.usage_in_bytes",
        "memory.limit_in_bytes",
        "memory.memsw.limit_in_bytes",
    ),
    "pids": ("pids.current",),
}
_V2: Final = {
    "cpu": ("cpu.stat", "cpu.pressure"),
    "memory": (
        "memory.stat",
        "memory.current",
        "memory.max",
        "memory.swap.current",
        "memory.swap.max",
        "memory.pressure",
    ),
    "pids": ("pids.current",),
    "io": ("io.pressure",),
}
_RATE_NS: Final = 1_000_000_000
_DISK_AGE_NS: Final = 10_000_000_000


@dataclass(frozen=True, slots=True)
class Sample:
    """What a container uses, its files included."""

    container: Container
    usage: Usage
    nano_cores: int
    disk_ns: int
    disk_bytes: int
    inodes: int


@dataclass(slots=True)
class _Before:
    """An earlier look: rates are made of two of them, directories are not walked every time."""

    usage: Usage | None = None
    nano_cores: int = 0
    disk_ns: int = 0
    disk_bytes: int = 0
    inodes: int = 0


class PodStats:
    """Statistics of one engine's pods."""

    def __init__(self, engine: Engine, catalogue: Catalogue) -> None:
        self._engine = engine
        self._catalogue = catalogue
        self._before: dict[str, _Before] = {}
        self._machine_bytes = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")

    # Reading.

    def _usage(self, path: str) -> Usage:
        cgroups, version = Cgroups(path), layout().version
        names = _V1 if version == 1 else _V2
        files = {
            name: cgroups.file(controller, name)
            for controller, of_it in names.items()
            for name in of_it
        }
        make = usage_v1 if version == 1 else usage_v2
        return make(files, time.time_ns(), self._machine_bytes)

    def _rate(self, before: _Before, usage: Usage) -> int:
        """Return the processor rate since a look at least a second ago."""
        old = before.usage
        if old is None:
            before.usage = usage
        elif usage.time_ns - old.time_ns >= _RATE_NS:
            spent = max(0, usage.cpu_ns - old.cpu_ns)
            before.nano_cores = spent * 1_000_000_000 // (usage.time_ns - old.time_ns)
            before.usage = usage
        return before.nano_cores

    def sample(self, container: Container) -> Sample:
        """Look at a container; blocks."""
        before = self._before.setdefault(container.id, _Before())
        usage = Usage(time.time_ns())
        if container.record.state.running:
            usage = self._usage(cgroup_path(container))
        if usage.time_ns - before.disk_ns > _DISK_AGE_NS:
            disk = self._engine.images.snapshots.usage(container.id)
            before.disk_bytes, before.inodes = disk.size_bytes, disk.inodes
            before.disk_ns = usage.time_ns
        rate = self._rate(before, usage)
        return Sample(container, usage, rate, before.disk_ns, before.disk_bytes, before.inodes)

    def _forget(self) -> None:
        """Let go of what belongs to containers that are no more."""
        for id_ in [
            one for one in self._before if one.removeprefix("pod ") not in self._engine.registry
        ]:
            del self._before[id_]

    def samples(self, containers: list[Container]) -> list[Sample]:
        """Look at several containers; blocks."""
        self._forget()
        return [self.sample(one) for one in containers]

    # Containers.

    def _container(self, sample: Sample) -> ContainerStats:
        container = sample.container
        config = self._catalogue.config(container)
        message = ContainerStats()
        message.attributes.id = container.id
        message.attributes.metadata.CopyFrom(config.metadata)
        message.attributes.labels.update(config.labels)
        message.attributes.annotations.update(config.annotations)
        message.writable_layer.CopyFrom(self._layer(sample))
        if container.record.state.running:
            message.cpu.CopyFrom(cpu_message(sample.usage, sample.nano_cores))
            message.memory.CopyFrom(memory_message(sample.usage))
            message.swap.CopyFrom(swap_message(sample.usage))
            io = io_message(sample.usage)
            if io is not None:
                message.io.CopyFrom(io)
        return message

    def _layer(self, sample: Sample) -> FilesystemUsage:
        message = FilesystemUsage(timestamp=sample.disk_ns)
        message.fs_id.mountpoint = str(self._engine.options.data_root / "images")
        message.used_bytes.value = sample.disk_bytes
        message.inodes_used.value = sample.inodes
        return message

    async def container(self, wanted: str) -> ContainerStats:
        """Return what a container uses; NotFoundError without it."""
        container = self._catalogue.container(wanted)
        return self._container(await asyncio.to_thread(self.sample, container))

    async def containers(self, chosen: ContainerStatsFilter) -> list[ContainerStats]:
        """Return what the running containers use that a filter lets through."""
        found = [
            one
            for one in self._catalogue.containers()
            if one.record.state.running
            and one.id.startswith(chosen.id)
            and one.record.cri["sandbox"].startswith(chosen.pod_sandbox_id)
            and labels_match(chosen.label_selector, self._catalogue.config(one).labels)
        ]
        samples = await asyncio.to_thread(self.samples, found)
        return [self._container(one) for one in samples]

    # Pods.

    def _pod_usage(self, sandbox: Container, config: PodSandboxConfig) -> tuple[Usage, int]:
        """Return what a pod's cgroup uses, or its sandbox's where it has none of its own."""
        before = self._before.setdefault(f"pod {sandbox.id}", _Before())
        parent = config.linux.cgroup_parent
        usage = self._usage(parent if parent.strip("/") else cgroup_path(sandbox))
        return usage, self._rate(before, usage)

    def _pod(self, sandbox: Container) -> Callable[[], PodSandboxStats]:
        """Return what makes the statistics of a pod; called in a thread."""
        config = self._catalogue.pod(sandbox)
        running = [
            one for one in self._catalogue.containers(sandbox.id) if one.record.state.running
        ]

        def look() -> PodSandboxStats:
            message = PodSandboxStats()
            message.attributes.id = sandbox.id
            message.attributes.metadata.CopyFrom(config.metadata)
            message.attributes.labels.update(config.labels)
            message.attributes.annotations.update(config.annotations)
            if not sandbox.record.state.running:
                return message
            usage, rate = self._pod_usage(sandbox, config)
            linux = message.linux
            linux.cpu.CopyFrom(cpu_message(usage, rate))
            linux.memory.CopyFrom(memory_message(usage))
            linux.process.timestamp = usage.time_ns
            linux.process.process_count.value = usage.processes
            io = io_message(usage)
            if io is not None:
                linux.io.CopyFrom(io)
            if not on_host_network(config):
                self._network(message, sandbox.record.state.pid, usage.time_ns)
            linux.containers.extend(self._container(self.sample(one)) for one in running)
            return message

        return look

    def _network(self, message: PodSandboxStats, pid: int, time_ns: int) -> None:
        try:
            text = Path(f"/proc/{pid}/net/dev").read_text()
        except OSError:
            return
        network = message.linux.network
        network.timestamp = time_ns
        for one in interface_usages(text):
            if one.name == "eth0":
                network.default_interface.CopyFrom(one)
            else:
                network.interfaces.append(one)

    async def pod(self, wanted: str) -> PodSandboxStats:
        """Return what a pod uses; NotFoundError without it."""
        return await asyncio.to_thread(self._pod(self._catalogue.sandbox(wanted)))

    async def pods(self, chosen: PodSandboxStatsFilter) -> list[PodSandboxStats]:
        """Return what the pods use that a filter lets through and that are ready."""
        looks = [
            self._pod(one)
            for one in self._catalogue.sandboxes()
            if one.record.state.running
            and one.id.startswith(chosen.id)
            and labels_match(chosen.label_selector, self._catalogue.pod(one).labels)
        ]
        self._forget()
        return await asyncio.to_thread(lambda: [look() for look in looks])
