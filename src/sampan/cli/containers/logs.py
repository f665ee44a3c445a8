"""`logs`."""

from __future__ import annotations

import time

from sampan.cli.containers.command import Command
from sampan.cli.containers.core.flags import Flag, Parsed
from sampan.cli.containers.core.kinds import BOOL, STRING
from sampan.cli.containers.core.moment import moment_parameter
from sampan.cli.containers.session import Session
from sampan.cli.containers.streams import write_all
from sampan.engine.client.frames import STDERR, frames
from sampan.engine.client.queries import present

__all__ = ["LOGS"]


def _logs(session: Session, parsed: Parsed) -> int:
    now_s = time.time()
    containers = session.containers
    shown = containers.inspect(parsed.arguments[0])
    query = {
        "stdout": "1",
        "stderr": "1",
        **present(
            follow=parsed.on("follow"),
            timestamps=parsed.on("timestamps"),
            details=parsed.on("details"),
            since=moment_parameter(parsed.text("since"), now_s, "since"),
            until=moment_parameter(parsed.text("until"), now_s, "until"),
            tail=parsed.text("tail"),
        ),
    }
    chunks = containers.logs(shown["Id"], query).chunks()
    if shown["Config"]["Tty"]:
        for chunk in chunks:
            write_all(1, chunk)
    else:
        for stream, data in frames(chunks):
            write_all(2 if stream == STDERR else 1, data)
    return 0


LOGS = Command(
    "[OPTIONS] CONTAINER",
    _logs,
    (
        Flag("details", BOOL, "Show extra details provided to logs"),
        Flag("follow", BOOL, "Follow log output", "f"),
        Flag("since", STRING, "Show logs since a timestamp or a relative time (e.g. 42m)"),
        Flag("tail", STRING, "Number of lines to show from the end of the logs", "n", "all"),
        Flag("timestamps", BOOL, "Show timestamps", "t"),
        Flag("until", STRING, "Show logs before a timestamp or a relative time (e.g. 42m)"),
    ),
    least=1,
    most=1,
)
