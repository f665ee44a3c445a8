"""Whether the clocks of members agree, as far as their messages tell: only ever a warning."""

from __future__ import annotations

from dataclasses import dataclass
from time import time
from typing import Final

from sampan.base.log import Logger

__all__ = ["CLOCK", "ClockWatch", "clock_now", "clock_of"]

CLOCK: Final = "clock"
"""The question to a member for its time."""

SKEW_S: Final = 1.0


def clock_now() -> bytes:
    """Return what a member answers: milliseconds since 1970."""
    return int(time() * 1000).to_bytes(8, "big")


def clock_of(answer: bytes) -> float:
    """Return the seconds since 1970 of an answer."""
    return int.from_bytes(answer[:8], "big") / 1000


@dataclass(slots=True)
class ClockWatch:
    """Compares another member's clock with this one's."""

    log: Logger

    def heard(self, member_id: int, asked_s: float, answered_s: float, theirs_s: float) -> None:
        """A member said `theirs_s` at some moment between asking and having the answer."""
        drift_s = theirs_s - (asked_s + answered_s) / 2
        if abs(drift_s) <= SKEW_S + (answered_s - asked_s):
            return
        self.log.warning(
            "prober found high clock drift",
            **{"remote-peer-id": f"{member_id:x}"},
            cure="set both clocks: leases and certificates go by them",
            drift=f"{drift_s:.1f}s",
        )
