"""What clients are told that this side can do; they leave out, or refuse, what is not in it.

Source: BuildKit's lists of capabilities (solver/pb, frontend/gateway/pb).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sampan.engine.buildkit.pb import bridge_pb2

__all__ = ["build_capabilities", "frontend_capabilities"]

_FRONTEND: Final = (
    "solve.base",
    "solve.inlinereturn",
    "return",
    "returnmap",
    "importcaches",
    "proto.refarray",
    "frontend.caps",
    "gateway.solve.metadata",
    "gateway.solve.evaluate",
    "gateway.evaluate",
)
_BUILD: Final = (
    "source.image",
    "source.image.resolvemode",
    "source.local",
    "source.local.unique",
    "source.local.sessionid",
    "source.local.includepatterns",
    "source.local.followpaths",
    "source.local.excludepatterns",
    "source.local.sharedkeyhint",
    "constraints",
    "platform",
    "meta.ignorecache",
    "meta.description",
    "meta.exportcache",
    "exporter.multiple",
    "exporter.sourcedateepoch",
)


def frontend_capabilities() -> Sequence[bridge_pb2.APICap]:
    """Return what a client that leads a build may ask."""
    return _enabled(_FRONTEND)


def build_capabilities() -> Sequence[bridge_pb2.APICap]:
    """Return what a build may consist of."""
    return _enabled(_BUILD)


def _enabled(names: Sequence[str]) -> list[bridge_pb2.APICap]:
    return [bridge_pb2.APICap(ID=name, Enabled=True) for name in names]
