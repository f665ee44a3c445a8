"""Reading a container's json-file log, rotated files included, and following it while it grows."""

from __future__ import annotations

import asyncio
import json
import os
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

__all__ = ["LogEntry", "LogQuery", "read_logs"]

_POLL_S = 0.05


@dataclass(frozen=True, slots=True)
class LogEntry:
    """One line, or a piece of a long one; `moment` is its time as seconds, `time` as text."""

    stream: str
    time: str
    moment: float
    line: bytes
    attributes: dict[str, str]


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
) -> AsyncIterator[LogEntry]:
    """Yield what is logged; with `follow` until the container has ended and all is read."""
    found, current = _open_all(path)
    try:
        for entry in _tail(_stored(found, current), query):
            yield entry
        if not query.follow or current is None:
            return
        async for entry in _followed(path, current, query, running):
            yield entry
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
        text = found["time"]
        head, _, fraction = text.removesuffix("Z").partition(".")
        moment = datetime.fromisoformat(head).replace(tzinfo=UTC).timestamp()
        moment += float("0." + (fraction or "0"))
        return LogEntry(
            found["stream"], text, moment, found["log"].encode(), found.get("attrs") or {}
        )
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
) -> AsyncIterator[LogEntry]:
    while True:
        alive = running()
        for entry in _entries(current):
            if query.until is not None and entry.moment > query.until:
                return
            if _wanted(entry, query):
                yield entry
        if _rotated(path, current):
            current.close()
            current = _open(path)
            continue
        if not alive:
            return
        await asyncio.sleep(_POLL_S)


def _rotated(path: Path, current: BinaryIO) -> bool:
    try:
        return os.stat(path).st_ino != os.fstat(current.fileno()).st_ino
    except FileNotFoundError:
        return False
