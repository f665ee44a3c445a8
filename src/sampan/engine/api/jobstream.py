"""Answers that tell how work goes on while it does: lines of JSON until it has ended."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from sampan.base.errors import SampanError
from sampan.images.core.progress import Progress, Throttle, error_line
from sampan.loop.rest import Response

__all__ = ["Work", "job_response"]

_LOG = logging.getLogger(__name__)
_WAITING: Final = 10_000

Work = Callable[[Callable[[Progress], None]], Awaitable[object]]
"""Is given where to report, and does what there is to do."""


class _Job:
    """Work in a task, and its news as an async iterator; closing that ends the work."""

    def __init__(self, work: Work) -> None:
        self._lines: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._throttle = Throttle()
        self._ended = False
        self._first = b""
        self._task = asyncio.ensure_future(self._run(work))

    async def _run(self, work: Work) -> None:
        try:
            await work(self._report)
        finally:
            self._lines.put_nowait(None)

    def _report(self, progress: Progress) -> None:
        if not self._throttle.passes(progress, asyncio.get_running_loop().time()):
            return
        if progress.current is None or self._lines.qsize() < _WAITING:
            self._lines.put_nowait(progress.line)

    async def begun(self) -> None:
        """Wait for the first line; raises what the work has failed with before it."""
        line = await self._lines.get()
        if line is None:
            self._ended = True
            await self._task
        else:
            self._first = line

    def __aiter__(self) -> _Job:
        return self

    async def __anext__(self) -> bytes:
        if self._first:
            first, self._first = self._first, b""
            return first
        if self._ended:
            raise StopAsyncIteration
        line = await self._lines.get()
        while not self._lines.empty() and line is not None and len(line) < 16384:
            following = self._lines.get_nowait()
            if following is None:
                self._lines.put_nowait(None)
                break
            line += following
        if line is not None:
            return line
        self._ended = True
        try:
            await self._task
        except SampanError as error:
            return error_line(str(error))
        except Exception as error:
            _LOG.exception("work behind a stream failed")
            return error_line(f"internal error: {error}")
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """End the work, done or not."""
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError, Exception):
            await self._task


async def job_response(work: Work) -> Response:
    """Answer with the news of some work; what fails before the first news is raised."""
    job = _Job(work)
    try:
        await job.begun()
    except BaseException:
        await job.aclose()
        raise
    return Response(200, job, (("Content-Type", "application/json"),))
