"""A token bucket: how much of something a peer may do per second."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["Budget"]


class Budget:
    """`burst` tokens, refilled at `rate_per_s`; `clock` returns monotonic seconds."""

    __slots__ = ("_at_s", "_burst", "_clock", "_left", "_rate_per_s")

    def __init__(self, rate_per_s: float, burst: float, clock: Callable[[], float]) -> None:
        self._rate_per_s = rate_per_s
        self._burst = burst
        self._left = burst
        self._clock = clock
        self._at_s = clock()

    def spend(self, tokens: float = 1.0) -> bool:
        """Take `tokens`; False when the bucket has run dry."""
        self._left -= tokens
        if self._left >= 0:
            return True
        now = self._clock()
        refill = self._left + (now - self._at_s) * self._rate_per_s
        self._at_s = now
        self._left = min(self._burst, refill)
        return self._left >= 0
