"""The threads beside a write-ahead log, and whether a flush is better made without one.

On a fast disk a small batch is flushed in the event loop, as waking a thread would cost more than
the flush itself; otherwise a worker does it. Preparing the next segment has a thread of its own.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from queue import SimpleQueue
from time import perf_counter
from typing import Final

from sampan.base.errors import SampanError
from sampan.store.shell.wal_files import NoSpaceError, WalError
from sampan.store.shell.wal_writer import Wal

__all__ = ["WalWorker"]

INLINE_LATENCY_S: Final = 0.002
"""A flush runs inline while it takes less than this on average."""

INLINE_ENTRIES: Final = 2000
"""A batch with more entries than this is flushed in the worker thread."""

SMOOTHING: Final = 0.1
SPARE_RETRY_S: Final = 5.0


class WalWorker:
    """Runs what a log's owner does not want to wait for; belongs to the running event loop.

    `no_space` hears, on the loop, that there is no room for the next segment; `observe_flush` gets
    how long each flush took, in seconds, from whichever thread made it.
    """

    def __init__(
        self,
        no_space: Callable[[SampanError], None],
        observe_flush: Callable[[float], object] | None = None,
    ) -> None:
        self.latency_s = INLINE_LATENCY_S / 2
        self._no_space = no_space
        self._observe_flush = observe_flush
        self._loop = asyncio.get_running_loop()
        self._spare_after_s = 0.0
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._sparer: threading.Thread | None = None

    def inline(self, entries: int) -> bool:
        """Say whether a batch of so many entries is better flushed without the worker."""
        return entries <= INLINE_ENTRIES and self.latency_s <= INLINE_LATENCY_S

    def timed(self, flush: Callable[[], object]) -> WalError | None:
        """Flush, in whichever thread this is, and return what went wrong.

        `flush` returns False when there was nothing to make durable, which tells nothing of time.
        """
        started_s = perf_counter()
        try:
            flushed = flush()
        except WalError as error:
            return error
        if flushed is not False:
            took_s = perf_counter() - started_s
            self.latency_s += SMOOTHING * (took_s - self.latency_s)
            if self._observe_flush is not None:
                self._observe_flush(took_s)
        return None

    def run(self, job: Callable[[], None]) -> None:
        """Let the worker do something, after what it has to do already."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="wal", daemon=True)
            self._thread.start()
        self._jobs.put(job)

    def prepare_spare(self, wal: Wal) -> None:
        """Let the next segment be prepared if there is none; not again soon after a failure."""
        now_s = perf_counter()
        if not wal.wants_spare or now_s < self._spare_after_s:
            return
        self._spare_after_s = now_s + SPARE_RETRY_S

        def prepare() -> None:
            try:
                wal.prepare_spare()
            except NoSpaceError as error:
                self._loop.call_soon_threadsafe(self._no_space, error)

        self._sparer = threading.Thread(target=prepare, name="wal-spare", daemon=True)
        self._sparer.start()

    def end(self) -> None:
        """Let the worker end after what it has to do; nobody waits for it."""
        if self._thread is not None:
            self._jobs.put(None)

    def close(self) -> None:
        """End, and wait for both threads. Blocks."""
        self.end()
        for thread in (self._thread, self._sparer):
            if thread is not None:
                thread.join()

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()
