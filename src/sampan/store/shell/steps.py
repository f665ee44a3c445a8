"""Long computations in the event loop, a step at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from typing import TypeVar

__all__ = ["in_steps"]

_T = TypeVar("_T")


async def in_steps(steps: Generator[None, None, _T]) -> _T:
    """Run a computation to its end, giving way to the event loop at every pause."""
    while True:
        try:
            next(steps)
        except StopIteration as done:
            value: _T = done.value
            return value
        await asyncio.sleep(0)
