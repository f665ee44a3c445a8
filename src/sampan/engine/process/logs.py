"""Reading a container's json-file log, rotated files included, and following it while it grows."""

from __future__ import annotations

import json
import os
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

from sampan.base.moment import instant
from sampan.engine.process.growth import Growth

__all__ = ["LogEntry", "LogQuery", "read_logs"]

_LOOK_AGAIN_S = 0.2
_BATCH = 1000


@dataclass(frozen=True, slots=True)
class LogEntry:
    """One line, or a piece of a long one."""

    stream: str
    time: str
    line: bytes
    attributes: dict[str, str]

    @property
    def moment(self) -> float:
        """Its time as seconds since 1970."""
        return instant(self.time)


@dataclass(frozen=True, slots=True)
class LogQuery:
    """Which lines: times in seconds since 1970, `tail` the last so many (None for all)."""

    stdout: bool = True
    stderr: bool = True
    since: float | None = None
    until: float | None = None
    tail: int | None = None
    follow: bool = False


async def read_logs(
    path: Path, query: LogQuery, running: Callable[[], bool]
) -> AsyncIterator[list[LogEntry]]:
    """Yield what is logged, many lines at a time; with `follow` until the container has ended.

    Between two batches the event loop gets its turn.
    """
    found, current = _open_all(path)
    try:
        stored = _tail(_stored(found, current), query)
        while batch := list(islice(stored, _BATCH)):
            yield batch
        if not query.follow or current is None:
            return
        async for batch in _followed(path, current, query, running):
            yield batch
    finally:
        if current is not None:
            current.close()


def _open(path: Path) -> BinaryIO:
    return open(path, "rb")


def _open_all(path: Path) -> tuple[list[Path], BinaryIO | None]:
    """Return the rotated files, oldest first, and the one that is written to."""
    rotated = [Path(f"{path}.{number}") for number in range(9, 0, -1)]
    try:
        return [one for one in rotated if one.exists()], _open(path)
    except FileNotFoundError:
        return [], None


def _stored(rotated: list[Path], current: BinaryIO | None) -> Iterator[LogEntry]:
    for path in rotated:
        with open(path, "rb") as file:
            yield from _entries(file)
    if current is not None:
        yield from _entries(current)


def _entries(file: BinaryIO) -> Iterator[LogEntry]:
    """Yield the whole records from the file's position on; a torn one at the end is left."""
    while True:
        start = file.tell()
        line = file.readline()
        if not line.endswith(b"\n"):
            file.seek(start)
            return
        entry = _parse(line)
        if entry is not None:
            yield entry


def _parse(line: bytes) -> LogEntry | None:
    try:
        found: dict[str, Any] = json.loads(line)
        attributes = found.get("attrs") or {}
        return LogEntry(found["stream"], found["time"], found["log"].encode(), attributes)
    except (ValueError, KeyError, TypeError):
        return None


def _wanted(entry: LogEntry, query: LogQuery) -> bool:
    if not (query.stdout if entry.stream == "stdout" else query.stderr):
        return False
    if query.since is not None and entry.moment < query.since:
        return False
    return query.until is None or entry.moment <= query.until


def _tail(entries: Iterator[LogEntry], query: LogQuery) -> Iterator[LogEntry]:
    chosen = (entry for entry in entries if _wanted(entry, query))
    return iter(deque(chosen, query.tail)) if query.tail is not None else chosen


async def _followed(
    path: Path, current: BinaryIO, query: LogQuery, running: Callable[[], bool]
) -> AsyncIterator[list[LogEntry]]:
    with ExitStack() as files:
        try:
            growth = files.enter_context(Growth(path.parent))
        except FileNotFoundError:
            # The container is gone; what it has said last is in the open file.
            while batch := list(islice(_entries(current), _BATCH)):
                yield [entry for entry in batch if _wanted(entry, query)]
            return
        while True:
            alive = running()
            fresh = _entries(current)
            while batch := list(islice(fresh, _BATCH)):
                yield [entry for entry in batch if _wanted(entry, query)]
                if query.until is not None and batch[-1].moment > query.until:
                    return
            if _rotated(path, current):
                current.close()
                current = files.enter_context(_open(path))
                continue
            if not alive:
                return
            # The shim closes the log at the end; that the engine knows of it comes a little later.
            await growth.wait(_LOOK_AGAIN_S)


def _rotated(path: Path, current: BinaryIO) -> bool:
    try:
        return os.stat(path).st_ino != os.fstat(current.fileno()).st_ino
    except FileNotFoundError:
        return False
