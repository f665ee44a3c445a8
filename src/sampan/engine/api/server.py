"""The Docker Engine API over one engine."""

from __future__ import annotations

from sampan.engine.api.absent import absent_routes
from sampan.engine.api.archives import ArchiveRoutes
from sampan.engine.api.buildkit import BuildkitRoutes
from sampan.engine.api.builds import BuildRoutes
from sampan.engine.api.containers import ContainerRoutes
from sampan.engine.api.execs import ExecRoutes
from sampan.engine.api.image_archives import ImageArchiveRoutes
from sampan.engine.api.image_transfer import ImageTransferRoutes
from sampan.engine.api.images import ImageRoutes
from sampan.engine.api.networks import NetworkRoutes
from sampan.engine.api.routing import Route, Router
from sampan.engine.api.streams import StreamRoutes
from sampan.engine.api.system import HEADERS, SystemRoutes
from sampan.engine.api.volumes import VolumeRoutes
from sampan.engine.build.service import build_service
from sampan.engine.buildkit.api.server import BuildkitServer
from sampan.engine.daemon.shell.engine import Engine

__all__ = ["api_router", "api_routes"]


def api_routes(engine: Engine) -> tuple[Route, ...]:
    """Return every endpoint."""
    containers = (
        *ContainerRoutes(engine).routes(),
        *StreamRoutes(engine).routes(),
        *ExecRoutes(engine).routes(),
        *ArchiveRoutes(engine).routes(),
    )
    # Those of one image last: its name may have slashes, and look like another path.
    images = (
        *ImageTransferRoutes(engine).routes(),
        *ImageArchiveRoutes(engine).routes(),
        *ImageRoutes(engine).routes(),
    )
    networks = NetworkRoutes(engine).routes()
    service = build_service(engine)
    buildkit = BuildkitServer(engine, service)
    builds = (*BuildRoutes(engine, service).routes(), *BuildkitRoutes(buildkit).routes())
    system = (
        *SystemRoutes(engine, buildkit.usage).routes(),
        *VolumeRoutes(engine).routes(),
        *absent_routes(),
    )
    return (*containers, *networks, *builds, *system, *images)


def api_router(engine: Engine) -> Router:
    """Return the handler of all requests."""
    return Router(api_routes(engine), HEADERS)
