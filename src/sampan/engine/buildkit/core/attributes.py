"""Values in the attributes of requests: truth, lists with commas, limits."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from typing import Any

from sampan.base.errors import InvalidError

__all__ = ["flag", "limits_of", "words"]

_TRUE = frozenset({"1", "t", "true"})
_FALSE = frozenset({"", "0", "f", "false"})


def flag(attributes: Mapping[str, str], name: str) -> bool:
    """Return an attribute that is a truth value; InvalidError when it is neither."""
    text = attributes.get(name, "").lower()
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    raise InvalidError(f"{name} must be true or false, not {attributes[name]!r}")


def words(text: str) -> list[str]:
    """Return the fields of a line of comma-separated values, empty ones left out."""
    return [one.strip() for row in csv.reader([text]) for one in row if one.strip()]


def limits_of(attributes: Mapping[str, str]) -> dict[str, Any]:
    """Return what bounds the commands of a build, as the host part of a container has it."""
    found: dict[str, Any] = {}
    if attributes.get("shm-size"):
        found["ShmSize"] = _number(attributes["shm-size"], "shm-size")
    if attributes.get("ulimit"):
        found["Ulimits"] = [_ulimit(one) for one in words(attributes["ulimit"])]
    if attributes.get("cgroup-parent"):
        found["CgroupParent"] = attributes["cgroup-parent"]
    return found


def _ulimit(text: str) -> dict[str, Any]:
    name, _, values = text.partition("=")
    soft, _, hard = values.partition(":")
    numbers = [_number(one, f"ulimit {name}") for one in (soft, hard or soft)]
    return {"Name": name, "Soft": numbers[0], "Hard": numbers[1]}


def _number(text: str, what: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise InvalidError(f"{what}: {text!r} is not a number") from None
