"""Counts of observed values by size, cheap enough for the path of every write."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence

__all__ = ["Histogram", "exponential"]


def exponential(start: float, factor: float, count: int) -> tuple[float, ...]:
    """Return `count` bucket bounds: `start`, `start * factor`, ..."""
    return tuple(round(start * factor**i, 12) for i in range(count))


class Histogram:
    """Values counted in buckets; a value falls into the first whose upper bound is not below it."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(self.bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Count one value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    @property
    def count(self) -> int:
        """How many values were observed."""
        return sum(self.counts)

    def cumulative(self) -> Iterator[tuple[float, int]]:
        """Yield each bound with the number of values up to it, without the last open bucket."""
        seen = 0
        for bound, count in zip(self.bounds, self.counts, strict=False):
            seen += count
            yield bound, seen
