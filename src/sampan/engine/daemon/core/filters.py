"""The `filters` of lists, prunes and events: names to sets of values, in both of Docker's forms."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping

from sampan.base.errors import InvalidError

__all__ = ["Filters", "parse_filters"]


class Filters:
    """Which things are meant. A name that was not given lets everything through."""

    def __init__(self, wanted: Mapping[str, Collection[str]]) -> None:
        self._wanted = wanted

    def check(self, known: Collection[str]) -> None:
        """Raise InvalidError for a name that is not known here."""
        for name in self._wanted:
            if name not in known:
                raise InvalidError(f"invalid filter '{name}'")

    def has(self, name: str) -> bool:
        """Tell whether the filter was given."""
        return bool(self._wanted.get(name))

    def values(self, name: str) -> Collection[str]:
        """Return the values that were given for a name."""
        return self._wanted.get(name) or ()

    def exact(self, name: str, value: str) -> bool:
        """Tell whether the value is among those wanted."""
        wanted = self._wanted.get(name)
        return not wanted or value in wanted

    def matches(self, name: str, value: str) -> bool:
        """Tell whether any wanted value, as an expression or literally, is found in the value."""
        wanted = self._wanted.get(name)
        if not wanted:
            return True
        return any(one == value or _found(one, value) for one in wanted)

    def prefix(self, name: str, value: str) -> bool:
        """Tell whether the value begins with one that is wanted."""
        wanted = self._wanted.get(name)
        return not wanted or any(value.startswith(one) for one in wanted)

    def labels(self, labels: Mapping[str, str], name: str = "label") -> bool:
        """Tell whether all wanted labels, `key` or `key=value`, are there."""
        for one in self._wanted.get(name) or ():
            key, equals, value = one.partition("=")
            if key not in labels or (equals and labels[key] != value):
                return False
        return True

    def flag(self, name: str) -> bool | None:
        """Return a truth value, None when it was not given; InvalidError for another word."""
        wanted = self._wanted.get(name)
        if not wanted:
            return None
        word = next(iter(wanted)).lower() if len(wanted) == 1 else ""
        if word in ("1", "true", "t"):
            return True
        if word in ("0", "false", "f"):
            return False
        raise InvalidError(f"invalid filter '{name}=[{' '.join(wanted)}]'")


def _found(expression: str, value: str) -> bool:
    try:
        return re.search(expression, value) is not None
    except re.error:
        return False


def parse_filters(text: str) -> Filters:
    """Return the filters of a query parameter: `{"a": ["x"]}`, or `{"a": {"x": true}}` of old."""
    if not text:
        return Filters({})
    try:
        document = json.loads(text)
    except ValueError:
        raise InvalidError("invalid filter") from None
    if not isinstance(document, dict):
        raise InvalidError("invalid filter")
    wanted: dict[str, list[str]] = {}
    for name, values in document.items():
        if isinstance(values, Mapping):
            wanted[name] = [value for value, on in values.items() if on]
        elif isinstance(values, list):
            wanted[name] = [str(value) for value in values]
        else:
            raise InvalidError("invalid filter")
    return Filters(wanted)
