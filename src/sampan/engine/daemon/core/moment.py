"""Moments in query parameters: seconds since 1970, RFC 3339, or nothing; and in answers."""

from __future__ import annotations

from datetime import UTC, datetime

from sampan.base.errors import InvalidError
from sampan.base.units import parse_duration_s

__all__ = ["moment_text", "parse_moment", "parse_until"]


def moment_text(seconds: float) -> str:
    """Return a moment, in seconds since 1970, as RFC 3339 has it."""
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")


def parse_moment(text: str) -> float | None:
    """Return seconds since 1970, None for nothing or zero; InvalidError for another text."""
    if text in ("", "0"):
        return None
    try:
        return float(text)
    except ValueError:
        pass
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidError(f'strconv.ParseInt: parsing "{text}": invalid syntax') from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def parse_until(text: str, now: float) -> float:
    """Return seconds since 1970 of a moment or of a duration before `now`, such as `24h`."""
    try:
        moment = parse_moment(text)
    except InvalidError:
        try:
            return now - parse_duration_s(text)
        except ValueError:
            raise InvalidError(f'failed to parse value as time or duration: "{text}"') from None
    return now if moment is None else moment
