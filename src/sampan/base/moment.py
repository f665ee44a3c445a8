"""Moments as RFC 3339 writes them, with up to nine digits of a second."""

from __future__ import annotations

from datetime import UTC, datetime

__all__ = ["instant"]


def instant(text: str) -> float:
    """Return the seconds since 1970 of a moment in UTC; 0 for what is none."""
    head, _, fraction = text.removesuffix("Z").partition(".")
    try:
        moment = datetime.fromisoformat(head).replace(tzinfo=UTC).timestamp()
    except ValueError:
        return 0.0
    return moment + float(f"0.{fraction}" if fraction.isdigit() else 0)
