"""Query parameters as the API takes them."""

from __future__ import annotations

import json
from collections.abc import Iterable

__all__ = ["filters", "present"]


def present(**values: str | bool | int) -> dict[str, str]:
    """Return the parameters that say something: a text, a number, or "1" for true."""
    return {name: "1" if value is True else str(value) for name, value in values.items() if value}


def filters(wanted: Iterable[tuple[str, str]]) -> str:
    """Return the parameter `filters`, empty for none."""
    found: dict[str, dict[str, bool]] = {}
    for name, value in wanted:
        found.setdefault(name, {})[value] = True
    return json.dumps(found) if found else ""
