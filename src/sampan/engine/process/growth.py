"""Waiting until something is written into a directory's files, without asking again and again."""

from __future__ import annotations

import asyncio
import errno
import os
from pathlib import Path
from types import TracebackType
from typing import Final

from sampan.engine.runtime.shell.syscalls import inotify_changes

__all__ = ["Growth"]

_WRITTEN_CLOSED_MADE: Final = 0x2 | 0x8 | 0x80 | 0x100
"""IN_MODIFY, IN_CLOSE_WRITE, IN_MOVED_TO, IN_CREATE."""

_EXHAUSTED: Final = (errno.EMFILE, errno.ENFILE, errno.ENOSPC)
_LOOK_S: Final = 0.1


class Growth:
    """Tells when files below a directory grow, are closed, or are made; a context manager.

    Where the kernel has no more watches to give (it has 128 of a user's), one looks again soon.
    Raises FileNotFoundError without the directory.
    """

    def __init__(self, directory: Path) -> None:
        self._fd: int | None = None
        self._changed = asyncio.Event()
        try:
            self._fd = inotify_changes(str(directory), _WRITTEN_CLOSED_MADE)
        except OSError as error:
            if error.errno not in _EXHAUSTED:
                raise
            return
        asyncio.get_running_loop().add_reader(self._fd, self._readable)

    def _readable(self) -> None:
        assert self._fd is not None
        try:
            os.read(self._fd, 64 * 1024)
        except BlockingIOError:
            return
        self._changed.set()

    async def wait(self, timeout_s: float) -> None:
        """Wait for a change since the last wait, at most so long."""
        if self._fd is None:
            await asyncio.sleep(min(timeout_s, _LOOK_S))
            return
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
        if self._fd is None:
            return
        asyncio.get_running_loop().remove_reader(self._fd)
        os.close(self._fd)
