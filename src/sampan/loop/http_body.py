"""The end of a response body that comes in pieces."""

from __future__ import annotations

from collections.abc import AsyncIterator

__all__ = ["close_body"]


async def close_body(body: AsyncIterator[bytes]) -> None:
    """Let the source of a body go, read to its end or not: its `aclose`, if it has one."""
    close = getattr(body, "aclose", None)
    if close is not None:
        await close()
