"""Volumes: create, list, remove."""

from __future__ import annotations

from typing import Any

from sampan.cli.containers.command import Command, Failure, each
from sampan.cli.containers.core.environment import pairs
from sampan.cli.containers.core.flags import Flag, Parsed
from sampan.cli.containers.core.kinds import BOOL, STRING
from sampan.cli.containers.core.kinds import LIST as TEXTS
from sampan.cli.containers.core.rows import volume_row
from sampan.cli.containers.listing import FILTERS, FORMAT, QUIET, natural, output
from sampan.cli.containers.session import Session

__all__ = ["CREATE", "LIST", "REMOVE"]


def _create(session: Session, parsed: Parsed) -> int:
    name = parsed.text("name")
    if parsed.arguments:
        if name:
            raise Failure(
                "conflicting options: cannot specify a volume-name through both --name and as a "
                "positional arg"
            )
        name = parsed.arguments[0]
    body: dict[str, Any] = {
        "Name": name,
        "Driver": parsed.text("driver"),
        "DriverOpts": pairs(parsed.each("opt")),
        "Labels": pairs(parsed.each("label")),
    }
    made = session.volumes.create({field: value for field, value in body.items() if value})
    print(made["Name"])
    return 0


def _list(session: Session, parsed: Parsed) -> int:
    found = session.volumes.list(parsed.each("filter"))
    rows = sorted(map(volume_row, found), key=lambda row: natural(row["Name"]))
    output(parsed, "volume", rows, "Name")
    return 0


def _remove(session: Session, parsed: Parsed) -> int:
    force = parsed.on("force")
    return each(parsed.arguments, lambda name: session.volumes.remove(name, force))


CREATE = Command(
    "[OPTIONS] [VOLUME]",
    _create,
    (
        Flag("driver", STRING, "Specify volume driver name", "d", "local"),
        Flag("label", TEXTS, "Set metadata for a volume"),
        Flag("name", STRING, "Specify volume name", hidden=True),
        Flag("opt", TEXTS, "Set driver specific options", "o"),
    ),
    most=1,
)
LIST = Command("[OPTIONS]", _list, (FILTERS, FORMAT, QUIET), most=0)
REMOVE = Command(
    "[OPTIONS] VOLUME [VOLUME...]",
    _remove,
    (Flag("force", BOOL, "Force the removal of one or more volumes", "f"),),
    least=1,
)
