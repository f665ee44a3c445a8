"""Work that blocks, off the event loop, and never left behind by who is told to stop."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Callable
from typing import Final, ParamSpec, TypeVar

from sampan.base.errors import LimitError

__all__ = ["in_thread"]

_FULL: Final = (errno.ENOSPC, errno.EDQUOT)

P = ParamSpec("P")
T = TypeVar("T")


async def in_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run a function in a thread; a cancelled caller is told so when the function has ended.

    So locks and files that the caller holds for it are not let go under its hands. LimitError when
    there is no space left.
    """
    work = asyncio.ensure_future(asyncio.to_thread(function, *args, **kwargs))
    cancelled: asyncio.CancelledError | None = None
    while not work.done():
        try:
            await asyncio.shield(work)
        except asyncio.CancelledError as error:
            if work.cancelled():
                raise
            cancelled = error
        except Exception:
            break
    if cancelled is not None:
        if not work.cancelled():
            work.exception()
        raise cancelled
    try:
        return work.result()
    except OSError as error:
        if error.errno in _FULL:
            raise LimitError(os.strerror(error.errno).lower()) from error
        raise
