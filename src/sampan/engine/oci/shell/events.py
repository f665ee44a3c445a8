"""Printing a container's events: statistics now and then, and when memory ran out."""

from __future__ import annotations

import json
import os
import select
import time

from sampan.base.errors import ConflictError, InvalidError, SampanError
from sampan.engine.oci.core.stats import interval_s, statistics
from sampan.engine.oci.shell import machine
from sampan.engine.oci.shell.runtime import Runtime
from sampan.engine.runtime.shell.cgroups import Cgroups, layout

__all__ = ["print_events"]

_OOM_LOOK_S = 1.0


def print_events(runtime: Runtime, container_id: str, interval: str, *, once: bool) -> None:
    """Print one event a line, with `once` the statistics alone; ends with the container."""
    every_s = interval_s(interval)
    if every_s <= 0:
        raise InvalidError("duration interval must be greater than 0")
    record = runtime.store.find(container_id).load()
    if runtime.status(record) == "stopped":
        raise ConflictError(f"container with id {container_id} is not running")
    if not record.cgroup:
        raise SampanError("the container has no cgroups of its own")
    cgroups = Cgroups(record.cgroup)
    if once:
        _print("stats", container_id, statistics(cgroups.file, layout().version))
        return
    try:
        pidfd = machine.open_process(record.pid, record.start_ticks)
    except ProcessLookupError:
        return
    try:
        _follow(cgroups, container_id, pidfd, every_s)
    except KeyboardInterrupt:
        return
    finally:
        os.close(pidfd)


def _follow(cgroups: Cgroups, container_id: str, pidfd: int, every_s: float) -> None:
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    kills = cgroups.oom_kills()
    due = time.monotonic() + every_s
    while True:
        wait_s = min(_OOM_LOOK_S, max(0.0, due - time.monotonic()))
        ended = bool(poll.poll(wait_s * 1000))
        now = cgroups.oom_kills()
        if now > kills:
            _print("oom", container_id, None)
        kills = now
        if ended:
            return
        if time.monotonic() >= due:
            _print("stats", container_id, statistics(cgroups.file, layout().version))
            due += every_s


def _print(kind: str, container_id: str, data: object) -> None:
    event = {"type": kind, "id": container_id}
    document = {**event, "data": data} if data is not None else event
    text = json.dumps(document, separators=(",", ":"))
    os.write(1, text.encode() + b"\n")
