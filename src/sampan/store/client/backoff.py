"""How long to wait before the next attempt. Pure: the random source is passed in."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["Backoff"]


class Backoff:
    """Exponential back-off with jitter between `minimum_s` and `maximum_s`.

    The n-th delay in a row is drawn evenly from the upper half of [0, ceiling], where the ceiling
    starts at twice the minimum and doubles up to the maximum: with 0.25 and 2 seconds the delays
    lie in 0.25-0.5, 0.5-1, 1-2, 1-2... `random` returns an even draw from [0, 1).
    """

    def __init__(
        self, random: Callable[[], float], *, minimum_s: float = 0.25, maximum_s: float = 2.0
    ) -> None:
        self._random = random
        self._minimum_s = minimum_s
        self._maximum_s = maximum_s
        self._failures = 0

    def next_delay_s(self) -> float:
        """Return the delay after one more failure."""
        # The exponent is capped so that years of failures do not make a giant integer.
        ceiling_s = min(self._maximum_s, self._minimum_s * 2.0 ** min(self._failures + 1, 60))
        self._failures += 1
        floor_s = max(self._minimum_s, ceiling_s / 2)
        return floor_s + (ceiling_s - floor_s) * self._random()

    def reset(self) -> None:
        """Forget the failures: the last attempt succeeded."""
        self._failures = 0
