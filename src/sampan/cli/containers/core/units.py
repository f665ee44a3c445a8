"""Sizes and ages as people read them, in Docker's words."""

from __future__ import annotations

__all__ = ["age", "binary_size", "decimal_size", "short_id"]

_DECIMAL = ("B", "kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB")
_BINARY = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB", "ZiB", "YiB")


def decimal_size(size_bytes: float, digits: int = 3) -> str:
    """Return `4.26MB`: powers of 1000, with so many significant digits."""
    return _size(size_bytes, 1000, _DECIMAL, digits)


def binary_size(size_bytes: float) -> str:
    """Return `64MiB`: powers of 1024, with four significant digits."""
    return _size(size_bytes, 1024, _BINARY, 4)


def _size(value: float, factor: int, units: tuple[str, ...], digits: int) -> str:
    unit = 0
    while value >= factor and unit < len(units) - 1:
        value /= factor
        unit += 1
    return f"{value:.{digits}g}{units[unit]}"


def age(seconds: float) -> str:
    """Return a length of time: `5 minutes`, `About an hour`, `2 weeks`."""
    if seconds < 1:
        return "Less than a second"
    if seconds < 2:
        return "1 second"
    if seconds < 60:
        return f"{int(seconds)} seconds"
    minutes = int(seconds // 60)
    if minutes < 2:
        return "About a minute"
    if minutes < 60:
        return f"{minutes} minutes"
    hours = int(seconds / 3600 + 0.5)
    if hours < 2:
        return "About an hour"
    for bound, length, unit in ((48, 1, "hours"), (24 * 14, 24, "days"), (24 * 60, 168, "weeks")):
        if hours < bound:
            return f"{hours // length} {unit}"
    if hours < 24 * 365 * 2:
        return f"{hours // 24 // 30} months"
    return f"{hours // 24 // 365} years"


def short_id(identity: str) -> str:
    """Return the first twelve digits of an id."""
    return identity.rpartition(":")[2][:12]
