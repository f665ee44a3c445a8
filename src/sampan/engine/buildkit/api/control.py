"""`moby.buildkit.v1.Control`: builds and their news, workers, what is kept."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Final

from sampan import __version__
from sampan.base.errors import SampanError
from sampan.engine.buildkit.api.calls import answering, streaming
from sampan.engine.buildkit.core.caches import cache_exports, cache_imports
from sampan.engine.buildkit.core.exports import parse_exports
from sampan.engine.buildkit.core.failure import build_failure
from sampan.engine.buildkit.core.options import check_frontend
from sampan.engine.buildkit.core.retention import Kept
from sampan.engine.buildkit.core.status import timestamp
from sampan.engine.buildkit.pb import control_pb2, values_pb2
from sampan.engine.buildkit.shell.build import Build, Builds, Solved, Wishes
from sampan.engine.buildkit.shell.exporting import Exporter
from sampan.engine.buildkit.shell.frontend import FrontEnd
from sampan.engine.buildkit.shell.usage import BuildUsage
from sampan.images.core.platform import Platform
from sampan.wire.grpc.service import MethodTable, UnaryCall

__all__ = ["SERVICE", "ControlService", "Worker", "solve_front_end"]

SERVICE: Final = "/moby.buildkit.v1.Control/"
_VERSION: Final = "v0.25.0"
"""Whose protocol is spoken: clients decide by it what they may ask for."""

_SNAPSHOTTER: Final = "org.mobyproject.buildkit.worker.snapshotter"
_HOST_GATEWAY: Final = "org.mobyproject.buildkit.worker.moby.host-gateway-ip"


class Worker:
    """What this engine says of itself as a worker."""

    def __init__(
        self,
        id_: str,
        platforms: Callable[[], Sequence[Platform]],
        driver: str,
        host_gateway: Callable[[], str],
    ) -> None:
        self._id = id_
        self._platforms = platforms
        self._driver = driver
        self._host_gateway = host_gateway

    def record(self) -> control_pb2.WorkerRecord:
        """Return it as messages have it."""
        # Where a worker names its snapshotter, clients know that it has images of several
        # platforms, and exporters beside that for its own images.
        labels = {
            _SNAPSHOTTER: self._driver,
            "org.mobyproject.buildkit.worker.executor": "containers",
            "org.mobyproject.buildkit.worker.network": "bridge",
        }
        gateway = self._host_gateway()
        if gateway:
            labels[_HOST_GATEWAY] = gateway
        platforms = [
            values_pb2.Platform(OS=one.os, Architecture=one.architecture, Variant=one.variant)
            for one in self._platforms()
        ]
        return control_pb2.WorkerRecord(
            ID=self._id, Labels=labels, platforms=platforms, version=version()
        )


def version() -> control_pb2.BuildkitVersion:
    """Return who speaks, and which version of the protocol."""
    return control_pb2.BuildkitVersion(
        package="sampan", version=_VERSION, revision=f"sampan-{__version__}"
    )


async def solve_front_end(front_end: FrontEnd, build: Build, attributes: dict[str, str]) -> Solved:
    """Build with a front end; its failure as a status with the place in the Dockerfile."""
    try:
        return await front_end.solve(build, attributes)
    except SampanError as error:
        vertex, span = build.news.failed
        raise build_failure(error, build.news.source, span, vertex) from None


class ControlService:
    """The handlers."""

    def __init__(
        self,
        builds: Builds,
        front_end: FrontEnd,
        exporter: Exporter,
        usage: BuildUsage,
        worker: Worker,
    ) -> None:
        self._builds = builds
        self._front_end = front_end
        self._exporter = exporter
        self._usage = usage
        self._worker = worker

    def methods(self) -> MethodTable:
        """Return the methods of the service."""
        pb = control_pb2
        return {
            f"{SERVICE}Solve": answering(pb.SolveRequest, self._solve),
            f"{SERVICE}Status": streaming(pb.StatusRequest, self._status),
            f"{SERVICE}Info": answering(pb.InfoRequest, self._info),
            f"{SERVICE}ListWorkers": answering(pb.ListWorkersRequest, self._list_workers),
            f"{SERVICE}DiskUsage": answering(pb.DiskUsageRequest, self._disk_usage),
            f"{SERVICE}Prune": streaming(pb.PruneRequest, self._prune),
        }

    async def _solve(
        self, _: UnaryCall, request: control_pb2.SolveRequest
    ) -> control_pb2.SolveResponse:
        """Build with a front end, or wait for the client that leads the build itself."""
        if request.Frontend:
            check_frontend(request.Frontend, request.FrontendAttrs)
        listed = [(one.Type, dict(one.Attrs)) for one in request.Exporters]
        if not listed and request.ExporterDeprecated:
            listed = [(request.ExporterDeprecated, dict(request.ExporterAttrsDeprecated))]
        cache = request.Cache
        wishes = Wishes(
            request.Session,
            parse_exports(listed),
            cache_imports([(one.Type, dict(one.Attrs)) for one in cache.Imports]),
            cache_exports([(one.Type, dict(one.Attrs)) for one in cache.Exports]),
        )
        async with self._builds.begin(request.Ref, wishes) as build:
            if request.Frontend:
                attributes = dict(request.FrontendAttrs)
                solved = await solve_front_end(self._front_end, build, attributes)
            else:
                solved = build.results.get(await build.returned, Solved())
            told = {} if solved.built is None else await self._exporter.export(build, solved.built)
            told |= {
                f"frontend.{name}": base64.b64encode(value).decode()
                for name, value in solved.metadata.items()
            }
            return control_pb2.SolveResponse(ExporterResponse=told)

    async def _status(
        self, request: control_pb2.StatusRequest
    ) -> AsyncIterator[control_pb2.StatusResponse]:
        build = await self._builds.get(request.Ref)
        async for news in build.news.log.follow():
            yield news

    async def _info(self, _: UnaryCall, __: control_pb2.InfoRequest) -> control_pb2.InfoResponse:
        return control_pb2.InfoResponse(buildkitVersion=version())

    async def _list_workers(
        self, _: UnaryCall, __: control_pb2.ListWorkersRequest
    ) -> control_pb2.ListWorkersResponse:
        return control_pb2.ListWorkersResponse(record=[self._worker.record()])

    async def _disk_usage(
        self, _: UnaryCall, request: control_pb2.DiskUsageRequest
    ) -> control_pb2.DiskUsageResponse:
        kept = await self._usage.listed(request.filter)
        return control_pb2.DiskUsageResponse(record=[_record(one) for one in kept])

    async def _prune(
        self, request: control_pb2.PruneRequest
    ) -> AsyncIterator[control_pb2.UsageRecord]:
        keep_s = request.keepDuration / 1e9
        gone = await self._usage.prune(request.filter, keep_s=keep_s)
        for one in gone:
            yield _record(one)


def _record(kept: Kept) -> control_pb2.UsageRecord:
    return control_pb2.UsageRecord(
        ID=kept.id,
        InUse=kept.in_use,
        Size=kept.size_bytes,
        CreatedAt=timestamp(kept.created_s),
        LastUsedAt=timestamp(kept.used_s),
        UsageCount=1,
        Description=kept.description,
        RecordType=kept.kind,
        Shared=kept.shared,
    )
