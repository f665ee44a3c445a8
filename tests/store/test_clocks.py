"""A member whose clock is off is warned about, one that only answers late is not."""

from __future__ import annotations

from time import time

import pytest
from tests.store.disk import Lines

from sampan.store.shell.clocks import ClockWatch, clock_now, clock_of


@pytest.mark.parametrize(
    ("asked_s", "answered_s", "theirs_s", "drift"),
    [
        (100.0, 100.0, 100.5, None),
        (100.0, 104.0, 100.0, None),
        (100.0, 104.0, 104.0, None),
        (100.0, 100.2, 103.1, "3.0s"),
        (100.0, 100.2, 90.1, "-10.0s"),
    ],
)
def test_a_difference_counts_beyond_what_the_way_explains(
    asked_s: float, answered_s: float, theirs_s: float, drift: str | None
) -> None:
    lines = Lines()
    ClockWatch(lines.log).heard(0xABC, asked_s, answered_s, theirs_s)
    if drift is None:
        assert lines.text == []
    else:
        (line,) = lines.text
        assert f'"drift":"{drift}"' in line and "abc" in line


def test_a_member_tells_its_time_to_the_millisecond() -> None:
    assert clock_of(clock_now()) == pytest.approx(time(), abs=5)
