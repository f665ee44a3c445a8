"""The `--mount` flag of RUN: comma-separated fields, in CSV so that values may be quoted."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from sampan.base.errors import InvalidError
from sampan.base.nearest import nearest
from sampan.dockerfile.instructions import RunMount

__all__ = ["parse_mount"]

_FIELDS: Final[Mapping[str, str]] = {
    "type": "type",
    "target": "target",
    "dst": "target",
    "destination": "target",
    "source": "source",
    "src": "source",
    "from": "from_",
    "id": "id",
    "sharing": "sharing",
    "required": "required",
    "env": "env",
    "mode": "mode",
    "uid": "uid",
    "gid": "gid",
    "size": "size",
}
_ALLOWED: Final[Mapping[str, frozenset[str]]] = {
    "bind": frozenset({"type", "target", "source", "from_", "read_only"}),
    "cache": frozenset(
        {"type", "target", "source", "from_", "id", "sharing", "mode", "uid", "gid", "read_only"}
    ),
    "tmpfs": frozenset({"type", "target", "size"}),
    "secret": frozenset({"type", "target", "id", "required", "env", "mode", "uid", "gid"}),
    "ssh": frozenset({"type", "target", "id", "required", "mode", "uid", "gid"}),
}


def parse_mount(text: str) -> RunMount:
    """Return the mount of a flag's value; InvalidError names the field that is wrong."""
    values: dict[str, Any] = {}
    (row,) = csv.reader([text], skipinitialspace=True)
    for part in row:
        key, equals, value = part.partition("=")
        _take(values, key.strip().lower(), value if equals else None)
    kind = values.get("type", "bind")
    if kind not in _ALLOWED:
        raise InvalidError(f"unsupported mount type {kind!r}: use {', '.join(sorted(_ALLOWED))}")
    wrong = sorted(set(values) - _ALLOWED[kind])
    if wrong:
        raise InvalidError(f"unexpected key {wrong[0].rstrip('_')!r} for mount type {kind!r}")
    values.setdefault("read_only", kind == "bind")
    found = replace(RunMount(), **values)
    if kind in ("bind", "cache", "tmpfs") and not found.target:
        raise InvalidError(f"invalid mount of type {kind!r}: a target is required")
    if kind == "secret" and not (found.id or found.target):
        raise InvalidError("invalid secret mount: either id or target is required")
    if found.sharing not in ("shared", "private", "locked"):
        raise InvalidError(
            f"unsupported sharing value {found.sharing!r}: use shared, private or locked"
        )
    for name in ("uid", "gid"):
        value = getattr(found, name)
        if value and not value.isdigit() and "$" not in value:
            raise InvalidError(f"invalid value {value!r} for {name}: a number is required")
    return found


def _take(values: dict[str, Any], key: str, value: str | None) -> None:
    if key in ("readonly", "ro", "readwrite", "rw"):
        truth = _truth(key, value)
        values["read_only"] = truth if key in ("readonly", "ro") else not truth
        return
    name = _FIELDS.get(key)
    if name is None:
        hint = nearest(key, _FIELDS)
        raise InvalidError(
            f"unexpected key {key!r} in mount" + (f" (did you mean {hint}?)" if hint else "")
        )
    if name == "required":
        values[name] = _truth(key, value)
        return
    if value is None:
        raise InvalidError(f"invalid field {key!r} must be a key=value pair")
    values[name] = value.lower() if name in ("type", "sharing") else value


def _truth(key: str, value: str | None) -> bool:
    if value is None or value.lower() in ("true", "1"):
        return True
    if value.lower() in ("false", "0"):
        return False
    raise InvalidError(f"invalid value for {key}: {value}")
