"""Waiting until something is written into a directory's files, without asking again and again."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from types import TracebackType
from typing import Final

from sampan.engine.runtime.shell.syscalls import inotify_changes

__all__ = ["Growth"]

_WRITTEN_CLOSED_MADE: Final = 0x2 | 0x8 | 0x80 | 0x100
"""IN_MODIFY, IN_CLOSE_WRITE, IN_MOVED_TO, IN_CREATE."""


class Growth:
    """Tells when files below a directory grow, are closed, or are made; a context manager."""

    def __init__(self, directory: Path) -> None:
        self._fd = inotify_changes(str(directory), _WRITTEN_CLOSED_MADE)
        self._changed = asyncio.Event()
        asyncio.get_running_loop().add_reader(self._fd, self._readable)

    def _readable(self) -> None:
        try:
            os.read(self._fd, 64 * 1024)
        except BlockingIOError:
            return
        self._changed.set()

    async def wait(self, timeout_s: float) -> None:
        """Wait for a change since the last wait, at most so long."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._changed.wait()
        except TimeoutError:
            return
        self._changed.clear()

    def __enter__(self) -> Growth:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        asyncio.get_running_loop().remove_reader(self._fd)
        os.close(self._fd)
