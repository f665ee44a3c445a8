"""Suggestions for misspelt words."""

from __future__ import annotations

import pytest

from sampan.base.nearest import distance, nearest

FLAGS = ("name", "data-dir", "listen-client-urls", "listen-peer-urls", "log-level", "log-format")


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("listen-client-url", "listen-client-urls"),
        ("listen-clinet-urls", "listen-client-urls"),
        ("client-listen-urls", "listen-client-urls"),
        ("datadir", "data-dir"),
        ("nmae", "name"),
        ("name", "name"),
        ("completely-different", None),
        ("x", None),
        ("", None),
    ],
)
def test_the_nearest_word_is_near_or_none(word: str, expected: str | None) -> None:
    assert nearest(word, FLAGS) == expected


@pytest.mark.parametrize(
    ("a", "b", "steps"),
    [("", "", 0), ("", "ab", 2), ("abc", "abc", 0), ("ab", "ba", 1), ("kitten", "sitting", 3)],
)
def test_distance(a: str, b: str, steps: int) -> None:
    assert distance(a, b) == distance(b, a) == steps
