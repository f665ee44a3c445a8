"""What HTTP/1.1 and HTTP/2 responses have in common."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from http import HTTPStatus
from typing import Final

__all__ = ["NO_CONTENT", "REASONS", "close_body", "http_date"]

REASONS: Final = {status.value: status.phrase.encode() for status in HTTPStatus}
"""The phrase of each status."""

NO_CONTENT = frozenset({204, 304})
"""Statuses that have no body, and of which no content-length is said (RFC 9110, 8.6)."""

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split()


def http_date(now_s: float) -> str:
    """Return a Unix time as the value of a `Date` header (RFC 9110, 5.6.7)."""
    at = time.gmtime(now_s)
    return (
        f"{_DAYS[at.tm_wday]}, {at.tm_mday:02} {_MONTHS[at.tm_mon - 1]} {at.tm_year} "
        f"{at.tm_hour:02}:{at.tm_min:02}:{at.tm_sec:02} GMT"
    )


async def close_body(body: AsyncIterator[bytes]) -> None:
    """Let the source of a body go, read to its end or not: its `aclose`, if it has one."""
    close = getattr(body, "aclose", None)
    if close is not None:
        await close()
