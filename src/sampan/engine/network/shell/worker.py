"""The one thread that talks to the kernel."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import ParamSpec, TypeVar

__all__ = ["KernelThread"]

P = ParamSpec("P")
T = TypeVar("T")


class KernelThread:
    """Runs blocking calls in order, off the event loop."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="network")

    async def call(self, function: Callable[P, T], *args: P.args, **more: P.kwargs) -> T:
        """Run a call to its end, even when the caller is cancelled meanwhile."""
        job = asyncio.get_running_loop().run_in_executor(
            self._pool, partial(function, *args, **more)
        )
        try:
            return await asyncio.shield(job)
        except asyncio.CancelledError:
            await asyncio.wait([job])
            raise

    def close(self) -> None:
        """Let the thread end when its calls have."""
        self._pool.shutdown(wait=True)
