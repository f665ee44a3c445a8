"""Moments as flags take them: a date, seconds since 1970, or how long ago."""

from __future__ import annotations

from sampan.base.errors import InvalidError
from sampan.base.units import parse_duration_s

__all__ = ["moment_parameter"]


def moment_parameter(text: str, now_s: float, flag: str) -> str:
    """Return the moment as the API takes it, empty for none: `1700000000.5`.

    A date without a zone is local time. Raises InvalidError for what is no moment.
    """
    if not text:
        return ""
    if text.replace(".", "", 1).isdigit():
        return text
    try:
        return f"{now_s - parse_duration_s(text):.9f}"
    except ValueError:
        pass
    from datetime import datetime

    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidError(
            f'invalid value for "{flag}": failed to parse value as time or duration: "{text}"'
        ) from None
    # Nanoseconds are beyond datetime; they are kept as they are written.
    fraction = text.partition(".")[2]
    digits = fraction[: len(fraction) - len(fraction.lstrip("0123456789"))]
    return f"{int(found.timestamp())}.{digits.ljust(9, '0')[:9]}"
