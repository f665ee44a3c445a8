"""Metrics of pods and containers that a kubelet passes on: what there is, and the values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from sampan.engine.cri.pb.stats_pb2 import (
    ContainerStats,
    Metric,
    MetricDescriptor,
    MetricType,
    PodSandboxStats,
)

__all__ = ["container_metrics", "descriptors", "pod_metrics"]

_OWN: Final = ("id", "name", "container", "pod", "namespace", "image")


@dataclass(frozen=True, slots=True)
class _Kind:
    """One metric of containers; `keys` come after the labels that all have."""

    name: str
    help: str
    counts: bool
    values: Callable[[ContainerStats], Sequence[tuple[tuple[str, ...], int]]]
    keys: tuple[str, ...] = ()


_CONTAINER: Final = (
    _Kind(
        "container_cpu_usage_seconds_total",
        "Processor time that was used, in whole seconds.",
        True,
        lambda one: [((), one.cpu.usage_core_nano_seconds.value // 1_000_000_000)],
    ),
    _Kind(
        "container_memory_usage_bytes",
        "Memory in use, caches included.",
        False,
        lambda one: [((), one.memory.usage_bytes.value)],
    ),
    _Kind(
        "container_memory_working_set_bytes",
        "Memory in use that cannot be given up at once.",
        False,
        lambda one: [((), one.memory.working_set_bytes.value)],
    ),
    _Kind(
        "container_memory_rss",
        "Anonymous memory in use.",
        False,
        lambda one: [((), one.memory.rss_bytes.value)],
    ),
    _Kind(
        "container_memory_swap",
        "Swap in use.",
        False,
        lambda one: [((), one.swap.swap_usage_bytes.value)],
    ),
    _Kind(
        "container_memory_failures_total",
        "Page faults.",
        True,
        lambda one: [
            (("pgfault",), one.memory.page_faults.value),
            (("pgmajfault",), one.memory.major_page_faults.value),
        ],
        ("failure_type",),
    ),
    _Kind(
        "container_fs_usage_bytes",
        "What the container has written into its own layer.",
        False,
        lambda one: [((), one.writable_layer.used_bytes.value)],
    ),
)
_NETWORK: Final = (
    ("container_network_receive_bytes_total", "Bytes received.", "rx_bytes"),
    ("container_network_receive_errors_total", "Errors while receiving.", "rx_errors"),
    ("container_network_transmit_bytes_total", "Bytes sent.", "tx_bytes"),
    ("container_network_transmit_errors_total", "Errors while sending.", "tx_errors"),
)
_PROCESSES: Final = ("container_processes", "Processes of the pod.")


def descriptors() -> list[MetricDescriptor]:
    """Return every metric's description."""
    found = [
        MetricDescriptor(name=one.name, help=one.help, label_keys=[*_OWN, *one.keys])
        for one in _CONTAINER
    ]
    found += [
        MetricDescriptor(name=name, help=text, label_keys=[*_OWN, "interface"])
        for name, text, _ in _NETWORK
    ]
    name, text = _PROCESSES
    return [*found, MetricDescriptor(name=name, help=text, label_keys=_OWN)]


def _metric(name: str, counts: bool, labels: Sequence[str], time_ns: int, value: int) -> Metric:
    kind = MetricType.COUNTER if counts else MetricType.GAUGE
    metric = Metric(name=name, timestamp=time_ns, metric_type=kind, label_values=labels)
    metric.value.value = value
    return metric


def container_metrics(
    stats: ContainerStats, name: str, pod: PodSandboxStats, image: str
) -> list[Metric]:
    """Return the metrics of a container; `name` is the engine's name of it."""
    metadata = pod.attributes.metadata
    own = [stats.attributes.id, name, stats.attributes.metadata.name]
    own += [metadata.name, metadata.namespace, image]
    return [
        _metric(kind.name, kind.counts, [*own, *more], stats.cpu.timestamp, value)
        for kind in _CONTAINER
        for more, value in kind.values(stats)
    ]


def pod_metrics(pod: PodSandboxStats, name: str) -> list[Metric]:
    """Return the metrics of a pod as a whole; `name` is the engine's name of its sandbox."""
    metadata, linux = pod.attributes.metadata, pod.linux
    own = [pod.attributes.id, name, "POD", metadata.name, metadata.namespace, ""]
    interfaces = [*linux.network.interfaces]
    if linux.network.default_interface.name:
        interfaces.insert(0, linux.network.default_interface)
    found = [
        _metric(metric, True, [*own, one.name], linux.network.timestamp, getattr(one, field).value)
        for metric, _, field in _NETWORK
        for one in interfaces
    ]
    processes = linux.process
    count = processes.process_count.value
    return [*found, _metric(_PROCESSES[0], False, own, processes.timestamp, count)]
