"""A container's record on disk: always a whole one, old or new, whoever crashes when.

What a container *is* (made, changed, renamed) is on disk before it is answered. How it *fares*
(running, ended) is written soon after: a start or an end must not wait for the disk, and an engine
that comes after a crash learns it from the shim or from the exit record that the shim has left.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from pathlib import Path

__all__ = ["RecordFile"]

_LOG = logging.getLogger(__name__)


class RecordFile:
    """One file. Of two writes the later one stays, in whatever order they come to the disk."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._writing = threading.Lock()
        self._naming = threading.Lock()
        self._asked = 0
        self._written = 0
        self._gone = False

    def put(self, data: bytes) -> None:
        """Write a record: beside, flushed, then renamed."""
        self._asked += 1
        self._write(self._asked, data)

    def put_soon(self, data: bytes) -> None:
        """Write a record in a thread."""
        self._asked += 1
        asyncio.get_running_loop().run_in_executor(None, self._try_write, self._asked, data)

    def remove(self) -> None:
        """Remove the record. What is still to be written is not, nor is it waited for."""
        with self._naming:
            self._gone = True
            self._path.unlink(missing_ok=True)

    def _try_write(self, number: int, data: bytes) -> None:
        try:
            self._write(number, data)
        except OSError as error:
            _LOG.warning("%s is not up to date: %s", self._path, error)

    def _write(self, number: int, data: bytes) -> None:
        with self._writing:
            if self._gone or number <= self._written:
                return
            temporary = self._path.with_suffix(".new")
            try:
                _write_whole(temporary, data)
                with self._naming:
                    if self._gone:
                        temporary.unlink(missing_ok=True)
                    else:
                        os.replace(temporary, self._path)
            except OSError:
                temporary.unlink(missing_ok=True)
                if not self._gone:  # else its directory may be gone
                    raise
            self._written = number


def _write_whole(path: Path, data: bytes) -> None:
    """Write and flush; a disk that takes only a part of it is an OSError."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view) :]
        os.fdatasync(fd)
    finally:
        os.close(fd)
