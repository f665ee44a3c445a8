"""What is kept of builds, and filters over it.

Source: docker buildx du and prune: `--filter`; `type` compares with `==`, `description` looks for a
part with `~=`; alternatives within one filter stand between commas and all have to hold.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sampan.base.errors import InvalidError

__all__ = ["Kept", "parse_filters"]


@dataclass(frozen=True, slots=True)
class Kept:
    """One thing: bytes of its own, seconds since 1970 when it was made and last used.

    `shared` is what an image has as well: removing it frees nothing.
    """

    id: str
    kind: str
    description: str
    size_bytes: int
    created_s: float
    used_s: float
    in_use: bool = False
    shared: bool = False

    def field(self, name: str) -> str:
        """Return what a filter compares; InvalidError for a field that is not known."""
        fields = {
            "id": self.id,
            "type": self.kind,
            "description": self.description,
            "inuse": str(self.in_use).lower(),
            "mutable": "false",
            "immutable": "true",
            "shared": str(self.shared).lower(),
            "private": str(not self.shared).lower(),
            "parents": "",
        }
        if name not in fields:
            raise InvalidError(f"filter: there is no field {name!r}")
        return fields[name]


Test = Callable[[Kept], bool]


def parse_filters(filters: Sequence[str]) -> Test:
    """Return what tells whether something passes any of the filters; all do without one."""
    tests = [_all_of(one) for one in filters if one]
    return lambda kept: not tests or any(test(kept) for test in tests)


def _all_of(text: str) -> Test:
    tests = [_test(one.strip()) for one in text.split(",") if one.strip()]
    return lambda kept: all(test(kept) for test in tests)


def _test(text: str) -> Test:
    for operator in ("==", "!=", "~="):
        name, found, value = text.partition(operator)
        if found:
            return _comparison(name.strip(), operator, value.strip().strip('"'))
    return _comparison(text, "==", "true")


def _comparison(name: str, operator: str, value: str) -> Test:
    match operator:
        case "==":
            return lambda kept: kept.field(name) == value
        case "!=":
            return lambda kept: kept.field(name) != value
        case _:
            return lambda kept: value in kept.field(name)
