"""Signals as clients write them."""

from __future__ import annotations

import signal
from typing import Final

from sampan.base.errors import InvalidError

__all__ = ["signal_number"]

_MOST: Final = 64


def signal_number(text: str, default: int = signal.SIGKILL) -> int:
    """Return the number of "TERM", "SIGTERM", "RTMIN+3" or "15"; InvalidError in Docker's words."""
    if not text:
        return default
    if text.isdigit():
        if 0 < int(text) <= _MOST:
            return int(text)
        raise InvalidError(f"invalid signal: {text}")
    name = text.upper().removeprefix("SIG")
    for base, sign in (("RTMIN", "+"), ("RTMAX", "-")):
        rest = name.removeprefix(base)
        if name.startswith(base) and (not rest or (rest[0] == sign and rest[1:].isdigit())):
            start = int(signal.SIGRTMIN if base == "RTMIN" else signal.SIGRTMAX)
            number = start + int(rest or 0)
            if signal.SIGRTMIN <= number <= signal.SIGRTMAX:
                return number
    try:
        return int(signal.Signals["SIG" + name])
    except KeyError:
        raise InvalidError(f"invalid signal: {text}") from None
