"""Removing what nobody uses: `prune` of containers, images, networks, volumes, and all of them."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from sampan.cli.containers.command import Command
from sampan.cli.containers.core.flags import Flag, Parsed
from sampan.cli.containers.core.kinds import BOOL, FILTER
from sampan.cli.containers.core.units import decimal_size
from sampan.cli.containers.session import Session

__all__ = ["CONTAINERS", "IMAGES", "NETWORKS", "SYSTEM", "VOLUMES"]

Wanted = Sequence[tuple[str, str]]


def _agreed(parsed: Parsed, warning: str) -> bool:
    """Ask, unless the answer was given by --force."""
    if parsed.on("force"):
        return True
    print(f"{warning}\nAre you sure you want to continue? [y/N] ", end="", flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _told(title: str, lines: Sequence[str]) -> None:
    if lines:
        print("\n".join((f"{title}:", *lines)) + "\n")


def _containers_gone(session: Session, wanted: Wanted) -> int:
    found = session.containers.prune(wanted)
    _told("Deleted Containers", found.get("ContainersDeleted") or ())
    return int(found.get("SpaceReclaimed") or 0)


def _networks_gone(session: Session, wanted: Wanted) -> None:
    _told("Deleted Networks", session.networks.prune(wanted).get("NetworksDeleted") or ())


def _volumes_gone(session: Session, wanted: Wanted) -> int:
    found = session.volumes.prune(wanted)
    _told("Deleted Volumes", found.get("VolumesDeleted") or ())
    return int(found.get("SpaceReclaimed") or 0)


def _images_gone(session: Session, wanted: Wanted, everything: bool) -> int:
    dangling = "false" if everything else "true"
    found = session.images.prune([("dangling", dangling), *wanted])
    lines = [
        f"untagged: {one['Untagged']}" if one.get("Untagged") else f"deleted: {one['Deleted']}"
        for one in found.get("ImagesDeleted") or ()
    ]
    _told("Deleted Images", lines)
    return int(found.get("SpaceReclaimed") or 0)


def _builds_gone(session: Session, wanted: Wanted, everything: bool) -> int:
    found = session.system.prune_builds(everything, wanted)
    _told("Deleted build cache objects", found.get("CachesDeleted") or ())
    return int(found.get("SpaceReclaimed") or 0)


def _reclaimed(size_bytes: int) -> int:
    print(f"Total reclaimed space: {decimal_size(size_bytes, 4)}")
    return 0


def _containers(session: Session, parsed: Parsed) -> int:
    if not _agreed(parsed, "WARNING! This will remove all stopped containers."):
        return 0
    return _reclaimed(_containers_gone(session, parsed.each("filter")))


def _networks(session: Session, parsed: Parsed) -> int:
    warning = "WARNING! This will remove all custom networks not used by at least one container."
    if _agreed(parsed, warning):
        _networks_gone(session, parsed.each("filter"))
    return 0


def _volumes(session: Session, parsed: Parsed) -> int:
    everything, wanted = parsed.on("all"), list(parsed.each("filter"))
    what = "all" if everything else "anonymous"
    warning = f"WARNING! This will remove {what} local volumes not used by at least one container."
    if not _agreed(parsed, warning):
        return 0
    if everything:
        wanted.append(("all", "true"))
    return _reclaimed(_volumes_gone(session, wanted))


def _images(session: Session, parsed: Parsed) -> int:
    everything = parsed.on("all")
    which = (
        "images without at least one container associated to them"
        if everything
        else "dangling images"
    )
    if not _agreed(parsed, f"WARNING! This will remove all {which}."):
        return 0
    return _reclaimed(_images_gone(session, parsed.each("filter"), everything))


def _system(session: Session, parsed: Parsed) -> int:
    everything, volumes, wanted = parsed.on("all"), parsed.on("volumes"), parsed.each("filter")
    lines = ["all stopped containers", "all networks not used by at least one container"]
    if volumes:
        lines.append("all anonymous volumes not used by at least one container")
    if everything:
        lines += ["all images without at least one container associated to them"]
        lines += ["all build cache"]
    else:
        lines += ["all dangling images", "unused build cache"]
    if wanted:
        lines.append("and only what these filters let through: " + ", ".join(map("=".join, wanted)))
    told = "".join(f"  - {line}\n" for line in lines)
    if not _agreed(parsed, f"WARNING! This will remove:\n{told}"):
        return 0
    total = _containers_gone(session, wanted)
    _networks_gone(session, wanted)
    if volumes:
        total += _volumes_gone(session, wanted)
    total += _images_gone(session, wanted, everything)
    total += _builds_gone(session, wanted, everything)
    return _reclaimed(total)


_FORCE = Flag("force", BOOL, "Do not prompt for confirmation", "f")
_FILTER = Flag("filter", FILTER, 'Provide filter values (e.g. "until=24h")')
CONTAINERS = Command("[OPTIONS]", _containers, (_FILTER, _FORCE), most=0)
NETWORKS = Command("[OPTIONS]", _networks, (_FILTER, _FORCE), most=0)
IMAGES = Command(
    "[OPTIONS]",
    _images,
    (Flag("all", BOOL, "Remove all unused images, not just dangling ones", "a"), _FILTER, _FORCE),
    most=0,
)
VOLUMES = Command(
    "[OPTIONS]",
    _volumes,
    (Flag("all", BOOL, "Remove all unused volumes, not just anonymous ones", "a"), _FILTER, _FORCE),
    most=0,
)
SYSTEM = Command(
    "[OPTIONS]",
    _system,
    (
        Flag("all", BOOL, "Remove all unused images not just dangling ones", "a"),
        _FILTER,
        _FORCE,
        Flag("volumes", BOOL, "Prune anonymous volumes"),
    ),
    most=0,
)
