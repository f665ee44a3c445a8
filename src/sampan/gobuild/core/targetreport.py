"""How the table of targets is shown: grouped by platform, or every level of the chosen ones."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from itertools import groupby

from sampan.gobuild.core.grid import markdown_table, text_table
from sampan.gobuild.core.levels import LEVELS
from sampan.gobuild.core.table import RISKS, Row

__all__ = ["targets_json", "targets_text"]

_HEAD = ("GOOS/GOARCH", "CGO_ENABLED", "LEVELS", "COMPILES", "C TOOLCHAIN", "RISK", "MINIMUM")
_LEVEL_HEAD = ("LEVEL", "CGO_ENABLED", "COMPILES", "RISK", "REASON", "DEVICES")


def targets_json(version: str, rows: Iterable[Row]) -> str:
    """Return the whole table: every row with every column."""
    names = Row.__match_args__
    listed = [{name: getattr(row, name) for name in names} for row in rows]
    return json.dumps({"go": version, "risks": RISKS, "rows": listed}, indent=1)


def targets_text(rows: Iterable[Row], every_level: bool, markdown: bool) -> str:
    """Return the table for people; of one platform (`every_level`) with all that is known."""
    draw = markdown_table if markdown else text_table
    platforms = [list(group) for _, group in groupby(rows, key=lambda row: (row.goos, row.goarch))]
    if not every_level:
        lines = [
            _summary(of_cgo)
            for platform in platforms
            for cgo in (False, True)
            if (of_cgo := [row for row in platform if row.cgo is cgo])
        ]
        legend = "\n".join(f"{name}: {meaning}" for name, meaning in RISKS.items())
        return f"{draw(_HEAD, lines)}\n\nRisk of the default level, marked *.\n{legend}"
    return "\n\n".join(_platform(platform, markdown) for platform in platforms)


def _summary(rows: Sequence[Row]) -> tuple[str, ...]:
    first = next((row for row in rows if row.default_level), rows[0])
    known = LEVELS.get(first.goarch)
    present = {row.level for row in rows}
    levels = ""
    if known:
        values = [value for value in known.values if value in present] or sorted(present)
        shown = [f"{value}*" if value == known.default else value for value in values]
        if len(shown) > 6:
            shown = [shown[0], "...", shown[-1]]
        levels = f"{known.variable}={' '.join(shown)}"
    return (
        f"{first.goos}/{first.goarch}",
        str(int(first.cgo)),
        levels,
        f"no: {first.obstacle}" if first.obstacle else "yes",
        first.toolchain or "none",
        first.risk,
        first.minimum,
    )


def _platform(rows: Sequence[Row], markdown: bool) -> str:
    draw = markdown_table if markdown else text_table
    first = rows[0]
    lines = [
        (
            row.level or "none",
            str(int(row.cgo)),
            "no" if row.obstacle else "yes",
            row.risk,
            row.obstacle or row.reason,
            " ".join(row.devices) or "none of the known ones",
        )
        for row in rows
    ]
    head = ("LEVEL" if not first.variable else first.variable, *_LEVEL_HEAD[1:])
    title = f"{first.goos}/{first.goarch}"
    parts = [f"## {title}\n" if markdown else title, draw(head, lines), ""]
    parts.append(f"minimum: {first.minimum}; first class port: {_yes(first.first_class)}")
    for cgo in (False, True):
        row = next((row for row in rows if row.cgo is cgo), None)
        if row is None or row.obstacle:
            continue
        facts = [("linking", row.linking), ("DNS", row.dns), ("os/user", row.users)]
        facts += [("time zones", row.zones), ("certificates", row.certificates)]
        if cgo:
            facts.insert(0, ("C toolchain", row.toolchain))
        parts.append(f"CGO_ENABLED={int(cgo)}:")
        parts += [f"  {'- ' if markdown else ''}{name}: {text}" for name, text in facts]
    return "\n".join(parts)


def _yes(value: bool) -> str:
    return "yes" if value else "no"
