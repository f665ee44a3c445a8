"""Durations and sizes as people write them in flags.

Durations follow Go's syntax (`time.ParseDuration`): a sign, then one or more decimal numbers each
with a unit, as in `1h30m`, `100ms`, `-1.5s`. Sizes take binary units, as in `2GiB` or `512k`.
"""

from __future__ import annotations

import re

__all__ = ["format_duration", "parse_bool", "parse_duration_s", "parse_size_bytes"]

_NANOSECONDS = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,
    "μs": 1_000,
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "h": 3_600_000_000_000,
}
_DURATION_PART = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h)")
_MAX_DURATION_NS = 2**63 - 1

_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([kmgt]?)(i?b)?", re.IGNORECASE)
_SIZE_FACTORS = {"": 1, "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}

_TRUE = frozenset(("1", "t", "T", "true", "TRUE", "True"))
_FALSE = frozenset(("0", "f", "F", "false", "FALSE", "False"))


def parse_duration_s(text: str) -> float:
    """Return the seconds that a Go duration such as `1h30m` names.

    Raises ValueError for a missing or unknown unit, an empty text, or more than 292 years.
    """
    rest, sign = text, 1
    if rest[:1] in ("+", "-"):
        sign = -1 if rest[0] == "-" else 1
        rest = rest[1:]
    if rest == "0":
        return 0.0
    total, position = 0, 0
    while position < len(rest):
        part = _DURATION_PART.match(rest, position)
        if part is None:
            raise ValueError(_duration_error(text, rest, position))
        total += round(float(part[1]) * _NANOSECONDS[part[2]])
        position = part.end()
    if not rest or total > _MAX_DURATION_NS:
        raise ValueError(f'invalid duration "{text}"')
    return sign * total / 1e9


def _duration_error(text: str, rest: str, position: int) -> str:
    number = re.compile(r"[0-9]*\.?[0-9]*").match(rest, position)
    if number is None or number[0] in ("", "."):
        return f'invalid duration "{text}"'
    unit = re.compile(r"[^0-9.]*").match(rest, number.end())
    if unit is None or not unit[0]:
        return f'missing unit in duration "{text}"'
    return f'unknown unit "{unit[0]}" in duration "{text}"'


def format_duration(seconds: float) -> str:
    """Return `seconds` in Go's form: `1h30m0s`, `100ms`, `0s`."""
    nanoseconds = round(abs(seconds) * 1e9)
    sign = "-" if seconds < 0 and nanoseconds else ""
    if nanoseconds == 0:
        return "0s"
    for unit, size in (("ns", 1), ("µs", 1_000), ("ms", 1_000_000)):
        if nanoseconds < size * 1_000:
            return f"{sign}{_decimal(nanoseconds, size)}{unit}"
    minutes, rest = divmod(nanoseconds, 60_000_000_000)
    hours, minutes = divmod(minutes, 60)
    text = f"{_decimal(rest, 1_000_000_000)}s"
    if hours or minutes:
        text = f"{minutes}m{text}"
    if hours:
        text = f"{hours}h{text}"
    return sign + text


def _decimal(value: int, size: int) -> str:
    """Return value / size without a trailing zero; `size` is a power of ten."""
    whole, fraction = divmod(value, size)
    if not fraction:
        return str(whole)
    return f"{whole}.{str(fraction).rjust(len(str(size)) - 1, '0').rstrip('0')}"


def parse_size_bytes(text: str) -> int:
    """Return the bytes that `text` names: `8192`, `512k`, `2GiB`; units are powers of 1024.

    Raises ValueError for anything else.
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise ValueError(f'invalid size "{text}"')
    number, unit = match[1], match[2].lower()
    if "." in number:
        return int(float(number) * _SIZE_FACTORS[unit])
    return int(number) * _SIZE_FACTORS[unit]


def parse_bool(text: str) -> bool:
    """Return the truth value of one of Go's twelve spellings (`strconv.ParseBool`).

    Raises ValueError for anything else.
    """
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    raise ValueError(f'invalid boolean value "{text}"')
