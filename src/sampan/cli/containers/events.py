"""`events`."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sampan.cli.containers.command import Command
from sampan.cli.containers.core.flags import Flag, Parsed
from sampan.cli.containers.core.kinds import STRING
from sampan.cli.containers.core.moment import moment_parameter
from sampan.cli.containers.listing import FILTERS, FORMAT
from sampan.cli.containers.session import Session

__all__ = ["EVENTS", "event_line"]


def _events(session: Session, parsed: Parsed) -> int:
    from sampan.cli.containers.core.evaluate import Template

    form = parsed.text("format")
    template = Template("{{json .}}" if form == "json" else form) if form else None
    now_s = time.time()
    found = session.system.events(
        moment_parameter(parsed.text("since"), now_s, "since"),
        moment_parameter(parsed.text("until"), now_s, "until"),
        parsed.each("filter"),
    )
    for event in found:
        attributes = (event.get("Actor") or {}).get("Attributes") or {}
        if attributes:
            event["Actor"]["Attributes"] = dict(sorted(attributes.items()))
        print(event_line(event) if template is None else template.fill(event), flush=True)
    return 0


def event_line(event: Mapping[str, Any]) -> str:
    """Return `2026-01-31T12:00:00.000000000Z container start ID (image=busybox, name=web)`."""
    nanoseconds = int(event.get("timeNano") or 0)
    moment = datetime.fromtimestamp(nanoseconds // 10**9).astimezone()
    zone = moment.strftime("%z")
    zone = "Z" if zone == "+0000" else f"{zone[:3]}:{zone[3:]}"
    stamp = f"{moment:%Y-%m-%dT%H:%M:%S}.{nanoseconds % 10**9:09d}{zone}"
    actor = event.get("Actor") or {}
    line = f"{stamp} {event.get('Type', '')} {event.get('Action', '')} {actor.get('ID', '')}"
    attributes = actor.get("Attributes") or {}
    if not attributes:
        return line
    return f"{line} ({', '.join(f'{key}={value}' for key, value in attributes.items())})"


EVENTS = Command(
    "[OPTIONS]",
    _events,
    (
        FILTERS,
        FORMAT,
        Flag("since", STRING, "Show all events created since timestamp"),
        Flag("until", STRING, "Stream events until this timestamp"),
    ),
    most=0,
)
