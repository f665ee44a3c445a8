"""CRI on a unix socket, over one engine."""

from __future__ import annotations

from pathlib import Path

from sampan.base.errors import UnsupportedError
from sampan.engine.cri.api.images import ImageService
from sampan.engine.cri.api.runtime import RuntimeService
from sampan.engine.cri.api.service import service_methods
from sampan.engine.cri.api.stats import StatCalls
from sampan.engine.cri.api.streams import StreamCalls
from sampan.engine.cri.pb import service_pb2
from sampan.engine.cri.shell.catalogue import Catalogue
from sampan.engine.cri.shell.containers import PodContainers
from sampan.engine.cri.shell.events import PodEvents
from sampan.engine.cri.shell.execution import Execution
from sampan.engine.cri.shell.images import PodImages
from sampan.engine.cri.shell.machine import look_around
from sampan.engine.cri.shell.podnet import PodNetworking
from sampan.engine.cri.shell.pods import Pods
from sampan.engine.cri.shell.stats import PodStats
from sampan.engine.cri.streaming.server import StreamingServer
from sampan.engine.daemon.shell.engine import Engine
from sampan.loop.server import RpcServer
from sampan.loop.server_limits import ServerLimits
from sampan.wire.grpc.service import MethodTable

__all__ = ["CriServer"]

_MESSAGE_BYTES = 16 << 20


class CriServer:
    """RuntimeService and ImageService of one engine; UnsupportedError for one without root."""

    def __init__(self, engine: Engine) -> None:
        if engine.options.rootless:
            raise UnsupportedError("--cri-socket needs root: pods without it are not supported yet")
        self._engine = engine
        self._streaming = StreamingServer()
        limits = ServerLimits(receive_message_bytes=_MESSAGE_BYTES)
        self._server = RpcServer(self._methods(), limits=limits)

    def _methods(self) -> MethodTable:
        engine, machine = self._engine, look_around()
        catalogue = Catalogue(engine.registry)
        networking = PodNetworking(engine.networking.networks)
        pods = Pods(engine, catalogue, machine, networking)
        images = PodImages(engine)
        containers = PodContainers(engine, catalogue, pods, images, machine)
        services = service_pb2.DESCRIPTOR.services_by_name
        execution = Execution(engine, catalogue)
        streams = StreamCalls(catalogue, execution, self._streaming)
        events = PodEvents(engine, catalogue, pods, containers)
        stats = StatCalls(engine, PodStats(engine, catalogue), events)
        runtime = RuntimeService(engine, networking, pods, containers)
        return {
            **service_methods(services["RuntimeService"], runtime, streams, stats),
            **service_methods(services["ImageService"], ImageService(images)),
        }

    async def listen(self, path: Path) -> None:
        """Listen on a unix socket of root's; one that nobody listens on any more is replaced."""
        await self._streaming.open()
        await self._server.listen_unix(path, mode=0o660)

    async def close(self) -> None:
        """Stop serving; pods stay as they are."""
        await self._server.close(grace_s=1)
        await self._streaming.close()
