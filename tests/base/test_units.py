"""Durations and sizes in flags."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampan.base.units import format_duration, parse_bool, parse_duration_s, parse_size_bytes


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0.0),
        ("100ms", 0.1),
        ("1h30m", 5400.0),
        ("2h45m30.5s", 9930.5),
        ("-1.5s", -1.5),
        ("+5s", 5.0),
        (".5m", 30.0),
        ("1.m", 60.0),
        ("250us", 250e-6),
        ("250µs", 250e-6),
        ("1ns", 1e-9),
    ],
)
def test_durations_in_go_syntax(text: str, seconds: float) -> None:
    assert parse_duration_s(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", 'invalid duration ""'),
        ("s", 'invalid duration "s"'),
        (".s", 'invalid duration ".s"'),
        ("5", 'missing unit in duration "5"'),
        ("1h30", 'missing unit in duration "1h30"'),
        ("5d", 'unknown unit "d" in duration "5d"'),
        ("5 s", 'unknown unit " s" in duration "5 s"'),
        ("999999999h", 'invalid duration "999999999h"'),
    ],
)
def test_a_wrong_duration_says_what_is_wrong(text: str, message: str) -> None:
    with pytest.raises(ValueError) as error:
        parse_duration_s(text)
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (0.1, "100ms"),
        (1.5, "1.5s"),
        (7200, "2h0m0s"),
        (60, "1m0s"),
        (5430.25, "1h30m30.25s"),
        (1e-9, "1ns"),
        (1.5e-6, "1.5µs"),
        (-2, "-2s"),
    ],
)
def test_durations_are_written_as_go_writes_them(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@given(st.integers(min_value=0, max_value=10**15))
def test_a_written_duration_reads_back(nanoseconds: int) -> None:
    seconds = nanoseconds / 1e9
    assert parse_duration_s(format_duration(seconds)) == pytest.approx(seconds, abs=1e-9)


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [
        ("0", 0),
        ("8192", 8192),
        ("512k", 524288),
        ("1.5MiB", 1572864),
        ("2 GB", 2147483648),
        ("1t", 2**40),
    ],
)
def test_sizes(text: str, size_bytes: int) -> None:
    assert parse_size_bytes(text) == size_bytes


@pytest.mark.parametrize("text", ["", "k", "-1", "5x", "1e3"])
def test_wrong_sizes(text: str) -> None:
    with pytest.raises(ValueError, match="invalid size"):
        parse_size_bytes(text)


def test_booleans() -> None:
    assert parse_bool("true") and parse_bool("1") and not parse_bool("F")
    with pytest.raises(ValueError, match="invalid boolean"):
        parse_bool("yes")
