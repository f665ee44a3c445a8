"""BuildKit's services over one engine, on connections that HTTP handlers have taken over."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from sampan.engine.build.service import BuildService
from sampan.engine.buildkit.api.bridge import BridgeService
from sampan.engine.buildkit.api.control import ControlService, Worker
from sampan.engine.buildkit.shell.build import Builds
from sampan.engine.buildkit.shell.contexts import ContextPlaces
from sampan.engine.buildkit.shell.exporting import Exporter
from sampan.engine.buildkit.shell.frontend import FrontEnd
from sampan.engine.buildkit.shell.sessions import Sessions
from sampan.engine.buildkit.shell.usage import BuildUsage
from sampan.engine.daemon.shell.engine import Engine
from sampan.images.core.platform import Platform
from sampan.loop.health import HealthService
from sampan.loop.raw_stream import RawStream
from sampan.loop.server import RpcServer
from sampan.loop.server_limits import ServerLimits
from sampan.wire.grpc.service import MethodTable

__all__ = ["BuildkitServer"]

_MESSAGE_BYTES: Final = 16 << 20
_BINFMT: Final = Path("/proc/sys/fs/binfmt_misc")
_EMULATED: Final = {
    "qemu-aarch64": Platform("linux", "arm64"),
    "qemu-arm": Platform("linux", "arm", "v7"),
    "qemu-x86_64": Platform("linux", "amd64"),
    "qemu-i386": Platform("linux", "386"),
    "qemu-ppc64le": Platform("linux", "ppc64le"),
    "qemu-s390x": Platform("linux", "s390x"),
    "qemu-riscv64": Platform("linux", "riscv64"),
}


class BuildkitServer:
    """Everything that BuildKit's clients speak to."""

    def __init__(self, engine: Engine, service: BuildService) -> None:
        self._engine = engine
        self.sessions = Sessions()
        places = ContextPlaces(engine.images.spool.parent / "build" / "contexts")
        self.usage = BuildUsage(engine.images, service, places)
        builds = Builds()
        front_end = FrontEnd(engine, service, self.sessions, places)
        exporter = Exporter(engine, service, self.sessions)
        driver = engine.images.snapshots.driver.name
        worker = Worker(engine.id, self._platforms, driver, engine.networking.host_gateway)
        control = ControlService(builds, front_end, exporter, self.usage, worker)
        health = HealthService()
        health.set_all_serving()
        methods = {
            **control.methods(),
            **BridgeService(builds, front_end, worker).methods(),
            **health.methods(),
        }
        self.methods: MethodTable = methods
        self._server = RpcServer(methods, limits=ServerLimits(receive_message_bytes=_MESSAGE_BYTES))

    def _platforms(self) -> Sequence[Platform]:
        """Return what commands can be run for here, the machine's own first."""
        machine = self._engine.distribution.machine
        emulated = [one for name, one in _EMULATED.items() if (_BINFMT / name).exists()]
        return list(dict.fromkeys((machine, *emulated)))

    async def serve(self, raw: RawStream) -> None:
        """Answer calls on a connection until it ends."""
        raw.hand_to(self._server.adopt())
        await raw.wait_gone()
