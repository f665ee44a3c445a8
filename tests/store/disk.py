"""Logs, sinks and write-ahead logs for the tests of the files."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Any

from sampan.base.errors import SampanError
from sampan.base.log import Logger
from sampan.store.shell.wal_files import WalIdentity, segment_paths
from sampan.store.shell.wal_writer import Wal

__all__ = [
    "IDENTITY",
    "Lines",
    "Recorder",
    "entries_of",
    "open_wal",
    "rev_key",
    "run",
    "written_wal",
]

IDENTITY = WalIdentity(0xC1, 0xA1)
SEGMENT_BYTES = 1 << 20


def run(main: Coroutine[Any, Any, None]) -> None:
    asyncio.run(main)


def rev_key(main: int, sub: int = 0) -> bytes:
    return struct.pack(">QcQ", main, b"_", sub)


class Lines:
    """A logger whose lines can be looked at."""

    def __init__(self) -> None:
        self.text: list[str] = []
        self.log = Logger(self.text.append, lambda: 0.0)


class Recorder:
    """A sink and reports that remember what they were told."""

    def __init__(self, expected: int = 0) -> None:
        self.entries: list[bytes] = []
        self.contexts: list[object] = []
        self.indexes: list[int] = []
        self.refused: list[tuple[object, Exception]] = []
        self.full: list[SampanError] = []
        self.was_full = asyncio.Event()
        self.failures: list[Exception] = []
        self.expected = expected
        self.settled = asyncio.Event()

    def apply(self, first_index: int, entries: Sequence[bytes], contexts: Sequence[object]) -> None:
        assert len(entries) == len(contexts) > 0
        self.entries += entries
        self.contexts += contexts
        self.indexes += range(first_index, first_index + len(entries))
        self._check()

    def rejected(self, contexts: Sequence[object], error: Exception) -> None:
        self.refused += [(context, error) for context in contexts]
        self._check()

    def no_space(self, error: SampanError) -> None:
        self.full.append(error)
        self.was_full.set()

    def log_failed(self, error: Exception) -> None:
        self.failures.append(error)

    def _check(self) -> None:
        if len(self.entries) + len(self.refused) >= self.expected:
            self.settled.set()


def open_wal(directory: Path, *, applied_index: int = 0, lines: Lines | None = None) -> Wal:
    log = (lines or Lines()).log
    return Wal.open(
        directory, IDENTITY, applied_index=applied_index, log=log, segment_bytes=SEGMENT_BYTES
    )


def written_wal(directory: Path, batches: Sequence[Sequence[bytes]]) -> Path:
    """Write one record per batch; return the last segment's path."""
    wal = open_wal(directory)
    for batch in batches:
        wal.append(1, wal.last_index + 1, batch)
    wal.close()
    return segment_paths(directory)[-1]


def entries_of(
    directory: Path, *, applied_index: int = 0, lines: Lines | None = None
) -> list[bytes]:
    """Open a log as a server does and return what it replays."""
    wal = open_wal(directory, applied_index=applied_index, lines=lines)
    found = [entry for _, entries in wal.replay(applied_index) for entry in entries]
    wal.close()
    return found
