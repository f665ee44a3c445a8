"""The word someone probably meant."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["distance", "nearest"]


def distance(a: str, b: str) -> int:
    """Return how many insertions, deletions, changes and swaps of neighbours turn `a` into `b`.

    The restricted Damerau-Levenshtein distance (optimal string alignment).
    """
    before: list[int] = []
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        before, previous, row = row, before, [i]
        for j, y in enumerate(b, 1):
            cost = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (x != y))
            if i > 1 and j > 1 and x == b[j - 2] and y == a[i - 2]:
                cost = min(cost, previous[j - 2] + 1)
            row.append(cost)
    return row[-1]


def nearest(word: str, words: Iterable[str]) -> str | None:
    """Return the one of `words` nearest to `word`, or None when none is near enough to suggest.

    Near enough is a third of the longer word's length, or the words of a hyphenated name in
    another order. Of equally near words the first in alphabetical order wins.
    """
    best: str | None = None
    best_distance = 0
    parts = sorted(word.split("-"))
    for candidate in sorted(set(words)):
        if candidate == word or sorted(candidate.split("-")) == parts:
            return candidate
        steps = distance(word, candidate)
        if steps * 3 <= max(len(word), len(candidate)) and (best is None or steps < best_distance):
            best, best_distance = candidate, steps
    return best
