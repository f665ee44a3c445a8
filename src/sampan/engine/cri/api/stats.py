"""RuntimeService of CRI: statistics, metrics and events."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from sampan.engine.cri.core.metrics import container_metrics, descriptors, pod_metrics
from sampan.engine.cri.pb.events_pb2 import ContainerEventResponse, GetEventsRequest
from sampan.engine.cri.pb.stats_pb2 import (
    ContainerMetrics,
    ContainerStatsRequest,
    ContainerStatsResponse,
    ListContainerStatsRequest,
    ListContainerStatsResponse,
    ListMetricDescriptorsRequest,
    ListMetricDescriptorsResponse,
    ListPodSandboxMetricsRequest,
    ListPodSandboxMetricsResponse,
    ListPodSandboxStatsRequest,
    ListPodSandboxStatsResponse,
    PodSandboxMetrics,
    PodSandboxStatsFilter,
    PodSandboxStatsRequest,
    PodSandboxStatsResponse,
)
from sampan.engine.cri.shell.events import PodEvents
from sampan.engine.cri.shell.stats import PodStats
from sampan.engine.daemon.shell.engine import Engine

__all__ = ["StatCalls"]


class StatCalls:
    """One coroutine an RPC."""

    def __init__(self, engine: Engine, stats: PodStats, events: PodEvents) -> None:
        self._engine = engine
        self._stats = stats
        self._events = events

    async def container_stats(self, request: ContainerStatsRequest) -> ContainerStatsResponse:
        """Tell what a container uses."""
        found = await self._stats.container(request.container_id)
        return ContainerStatsResponse(stats=found)

    async def list_container_stats(
        self, request: ListContainerStatsRequest
    ) -> ListContainerStatsResponse:
        """Tell what containers use."""
        found = await self._stats.containers(request.filter)
        return ListContainerStatsResponse(stats=found)

    async def pod_sandbox_stats(self, request: PodSandboxStatsRequest) -> PodSandboxStatsResponse:
        """Tell what a pod uses."""
        return PodSandboxStatsResponse(stats=await self._stats.pod(request.pod_sandbox_id))

    async def list_pod_sandbox_stats(
        self, request: ListPodSandboxStatsRequest
    ) -> ListPodSandboxStatsResponse:
        """Tell what pods use."""
        return ListPodSandboxStatsResponse(stats=await self._stats.pods(request.filter))

    async def list_metric_descriptors(
        self, request: ListMetricDescriptorsRequest
    ) -> ListMetricDescriptorsResponse:
        """Tell which metrics there are."""
        del request
        return ListMetricDescriptorsResponse(descriptors=descriptors())

    async def list_pod_sandbox_metrics(
        self, request: ListPodSandboxMetricsRequest
    ) -> ListPodSandboxMetricsResponse:
        """Return the metrics of all pods that are ready."""
        del request
        response = ListPodSandboxMetricsResponse()
        for pod in await self._stats.pods(PodSandboxStatsFilter()):
            if pod.attributes.id not in self._engine.registry:
                continue  # removed in between
            name = self._engine.find(pod.attributes.id).record.name
            made = PodSandboxMetrics(
                pod_sandbox_id=pod.attributes.id, metrics=pod_metrics(pod, name)
            )
            for stats in pod.linux.containers:
                if stats.attributes.id not in self._engine.registry:
                    continue
                record = self._engine.find(stats.attributes.id).record
                metrics = container_metrics(stats, record.name, pod, record.image_name)
                made.container_metrics.append(
                    ContainerMetrics(container_id=record.id, metrics=metrics)
                )
            response.pod_metrics.append(made)
        return response

    def get_container_events(
        self, request: GetEventsRequest
    ) -> AsyncGenerator[ContainerEventResponse | None]:
        """Tell what happens to pods and containers from now on."""
        del request
        return self._events.follow()
