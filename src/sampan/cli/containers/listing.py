"""The flags that all lists have, and printing one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sampan.cli.containers.core.flags import Flag, Parsed
from sampan.cli.containers.core.kinds import BOOL, FILTER, STRING
from sampan.cli.containers.core.rows import LISTS
from sampan.cli.containers.core.table import listing

__all__ = ["FILTERS", "FORMAT", "NO_TRUNC", "QUIET", "natural", "output"]

FORMAT = Flag("format", STRING, "Format output: 'table', 'json', or a Go template")
NO_TRUNC = Flag("no-trunc", BOOL, "Don't truncate output")
QUIET = Flag("quiet", BOOL, "Only display IDs or names", "q")
FILTERS = Flag("filter", FILTER, "Filter output based on conditions provided", "f")


def output(
    parsed: Parsed,
    kind: str,
    rows: Sequence[Mapping[str, Any]],
    identity: str = "",
    columns: str = "",
) -> None:
    """Print rows in the form that was asked for; with -q only the field `identity`."""
    form = parsed.text("format")
    if identity and parsed.on("quiet") and form in ("", "table"):
        form = "{{." + identity + "}}"
    default, titles = LISTS[kind]
    print(listing(form, columns or default, titles, rows), end="")


def natural(text: str) -> list[tuple[int, str]]:
    """Return a key that orders `net2` before `net10`."""
    import re

    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", text)]
