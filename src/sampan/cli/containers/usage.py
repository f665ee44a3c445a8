"""`system df`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sampan.base.errors import UnsupportedError
from sampan.cli.containers.command import Command
from sampan.cli.containers.core.flags import Flag, Parsed
from sampan.cli.containers.core.kinds import BOOL
from sampan.cli.containers.core.units import decimal_size
from sampan.cli.containers.listing import FORMAT, output
from sampan.cli.containers.session import Session

__all__ = ["DF"]


def _df(session: Session, parsed: Parsed) -> int:
    if parsed.on("verbose"):
        raise UnsupportedError("system df --verbose is not supported yet; see images and volume ls")
    found = session.system.disk_usage()
    rows = [
        _images(found),
        _containers(found.get("Containers") or ()),
        _volumes(found.get("Volumes") or ()),
        _builds(found.get("BuildCache") or ()),
    ]
    output(parsed, "usage", rows)
    return 0


def _row(kind: str, total: int, active: int, size: float, reclaimable: float) -> dict[str, str]:
    text = decimal_size(reclaimable, 4)
    if size > 0 and kind != "Build Cache":
        text += f" ({int(reclaimable * 100 / size)}%)"
    return {
        "Active": str(active),
        "Reclaimable": text,
        "Size": decimal_size(size, 4),
        "TotalCount": str(total),
        "Type": kind,
    }


def _images(found: Mapping[str, Any]) -> dict[str, str]:
    images = found.get("Images") or ()
    size = found.get("LayersSize") or 0
    used = sum(
        image["Size"] - max(image.get("SharedSize", 0), 0)
        for image in images
        if image.get("Containers", 0) > 0 and image["Size"] != -1
    )
    active = sum(image.get("Containers", 0) > 0 for image in images)
    return _row("Images", len(images), active, size, size - used)


def _containers(containers: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    running = [one for one in containers if one["State"] in ("running", "paused", "restarting")]
    size = sum(one.get("SizeRw", 0) for one in containers)
    kept = sum(one.get("SizeRw", 0) for one in running)
    return _row("Containers", len(containers), len(running), size, size - kept)


def _volumes(volumes: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    usage = [one.get("UsageData") or {} for one in volumes]
    size = sum(max(one.get("Size", 0), 0) for one in usage)
    free = sum(max(one.get("Size", 0), 0) for one in usage if not one.get("RefCount"))
    active = sum(one.get("RefCount", 0) > 0 for one in usage)
    return _row("Local Volumes", len(volumes), active, size, free)


def _builds(caches: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    size = sum(one.get("Size", 0) for one in caches if not one.get("Shared"))
    used = sum(one.get("Size", 0) for one in caches if one.get("InUse"))
    active = sum(bool(one.get("InUse")) for one in caches)
    return _row("Build Cache", len(caches), active, size, size - used)


DF = Command(
    "[OPTIONS]",
    _df,
    (FORMAT, Flag("verbose", BOOL, "Show detailed information on space usage", "v")),
    most=0,
)
