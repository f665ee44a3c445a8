"""`stats`."""

from __future__ import annotations

import sys
import threading
from collections.abc import Mapping
from typing import Any

from sampan.base.errors import SampanError
from sampan.cli.containers.command import Command, Failure
from sampan.cli.containers.core.flags import Flag, Parsed
from sampan.cli.containers.core.kinds import BOOL
from sampan.cli.containers.core.rows import LISTS
from sampan.cli.containers.core.stat_row import stat_row
from sampan.cli.containers.core.table import listing
from sampan.cli.containers.core.units import short_id
from sampan.cli.containers.listing import FORMAT, NO_TRUNC
from sampan.cli.containers.session import Session
from sampan.engine.client.client import Client
from sampan.engine.client.containers import Containers

__all__ = ["STATS"]

_PERIOD_S = 0.5
_CLEAR = "\x1b[2J\x1b[H"


class _Watch:
    """The newest sample of one container, kept up to date in a thread of its own."""

    def __init__(self, client: Client, name: str) -> None:
        self.name = name
        self.sample: Mapping[str, Any] | None = None
        self.trouble = ""
        self.first = threading.Event()
        self.ended = False
        self._client = client

    def run(self, stream: bool) -> None:
        """Take samples until the container goes, or one."""
        try:
            for sample in Containers(self._client).stats(self.name, stream):
                self.sample = sample
                self.first.set()
        except SampanError as error:
            self.trouble = str(error)
        self._client.close()
        self.ended = True
        self.first.set()


def _stats(session: Session, parsed: Parsed) -> int:
    names = parsed.arguments or [
        short_id(one["Id"]) for one in session.containers.list(parsed.on("all"))
    ]
    stream = not parsed.on("no-stream")
    watches = [_Watch(Client(session.address, session.client.version), name) for name in names]
    for watch in watches:
        threading.Thread(target=watch.run, args=(stream,), daemon=True).start()
    for watch in watches:
        watch.first.wait()
    failures = [watch.trouble for watch in watches if watch.trouble]
    if failures and parsed.arguments:
        raise Failure("\n".join(failures))
    pause = threading.Event()
    while True:
        shown = [watch for watch in watches if not watch.trouble]
        rows = [stat_row(one.name, one.sample, not parsed.on("no-trunc")) for one in shown]
        text = listing(parsed.text("format"), *LISTS["stats"], rows)
        sys.stdout.write(_CLEAR + text if stream and sys.stdout.isatty() else text)
        sys.stdout.flush()
        if not stream or all(watch.ended for watch in watches):
            return 0
        pause.wait(_PERIOD_S)


STATS = Command(
    "[OPTIONS] [CONTAINER...]",
    _stats,
    (
        Flag("all", BOOL, "Show all containers (default shows just running)", "a"),
        FORMAT,
        Flag("no-stream", BOOL, "Disable streaming stats and only pull the first result"),
        NO_TRUNC,
    ),
)
