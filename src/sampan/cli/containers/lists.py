"""`ps`."""

from __future__ import annotations

import time

from sampan.cli.containers.command import Command
from sampan.cli.containers.core.container_rows import container_row
from sampan.cli.containers.core.flags import Flag, Parsed
from sampan.cli.containers.core.kinds import BOOL, INTEGER
from sampan.cli.containers.core.rows import LISTS
from sampan.cli.containers.core.table import listing
from sampan.cli.containers.listing import FILTERS, FORMAT, NO_TRUNC, QUIET, output
from sampan.cli.containers.session import Session

__all__ = ["PS"]

_NOBODY = {
    "Id": "", "Names": [], "Image": "", "Command": "", "Created": 0, "Mounts": [],
    "State": "", "Status": "",
}  # fmt: skip


def _ps(session: Session, parsed: Parsed) -> int:
    form = parsed.text("format")
    if form:
        # What is wrong with a format is told before anybody is asked, and without any container.
        listing(form, "", {}, [container_row(_NOBODY, 0, shorten=True)])
    limit = 1 if parsed.on("latest") else max(parsed.number("last"), 0)
    # The daemon counts the sizes only when somebody asks for them.
    size = parsed.on("size") or (".Size" in form and not parsed.on("quiet"))
    containers = session.containers.list(parsed.on("all"), limit, size, parsed.each("filter"))
    now_s = time.time()
    rows = [container_row(one, now_s, not parsed.on("no-trunc")) for one in containers]
    columns = LISTS["container"][0] + (r"\t{{.Size}}" if parsed.on("size") else "")
    output(parsed, "container", rows, "ID", columns)
    return 0


PS = Command(
    "[OPTIONS]",
    _ps,
    (
        Flag("all", BOOL, "Show all containers (default shows just running)", "a"),
        FILTERS,
        FORMAT,
        Flag("last", INTEGER, "Show n last created containers (includes all states)", "n", -1),
        Flag("latest", BOOL, "Show the latest created container (includes all states)", "l"),
        NO_TRUNC,
        QUIET,
        Flag("size", BOOL, "Display total file sizes", "s"),
    ),
    most=0,
)
