"""`daemon.json`: its keys, its types, and what it may not say together with the flags."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from sampan.base.errors import InvalidError
from sampan.cli.dockerd.flagset import Flag, go_text
from sampan.wire.gojson import decode

__all__ = ["merge", "read_document"]

_WHOLE: Final = frozenset(
    ("log-opts", "default-ulimits", "features", "runtimes", "builder", "default-network-opts")
)
"""Objects that are values; other objects (`proxies`) only group their members."""

_ONLY_FILE: Final = {
    "builder": Flag("builder", "map", "", {}, later=True),
    "swarm-raft-heartbeat-tick": Flag("swarm-raft-heartbeat-tick", "int", "", 0, later=True),
    "swarm-raft-election-tick": Flag("swarm-raft-election-tick", "int", "", 0, later=True),
}
_NOT_IN_FILE: Final = ("config-file", "validate", "version")
_GO_TYPES: Final = {"string": "string", "bool": "bool", "int": "int", "bytes": "string"}
_FOUND: Final = {str: "string", bool: "bool", int: "number", float: "number", list: "array"}


def read_document(text: str) -> dict[str, Any]:
    """Return the object of a configuration file; InvalidError in Go's words for anything else."""
    document = decode(text)
    if not isinstance(document, dict):
        raise InvalidError(f"json: cannot unmarshal {_word(document)} into Go value of type Config")
    return document


def _word(value: Any) -> str:
    return "object" if isinstance(value, Mapping) else _FOUND.get(type(value), "null")


def _flattened(document: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in document.items():
        if isinstance(value, Mapping) and key not in _WHOLE:
            found.update(value)
        else:
            found[key] = value
    return found


def merge(
    flags: Sequence[Flag], given: Mapping[str, Any], document: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the values of all that was said, by the flags' names.

    `given` are the flags of the command line, `document` the file. Raises InvalidError in dockerd's
    words for unknown directives, for those that both name, and for wrong types.
    """
    by_key = {flag.key or flag.name: flag for flag in flags if flag.name not in _NOT_IN_FILE}
    by_key["host-gateway-ip"] = by_key["host-gateway-ips"]
    by_key |= _ONLY_FILE
    found = _flattened(document)
    unknown = sorted(key for key in found if key not in by_key)
    if unknown:
        raise InvalidError(
            "the following directives don't match any configuration option: " + ", ".join(unknown)
        )
    clashes = []
    for key in sorted(found):
        flag = by_key[key]
        if flag.name in given and found[key] is not None:
            flagged, filed = go_text(given[flag.name]), go_text(found[key])
            clashes.append(f"{key}: (from flag: {flagged}, from file: {filed})")
    if clashes:
        raise InvalidError(
            "the following directives are specified both as a flag and in the configuration "
            "file: " + ", ".join(clashes)
        )
    values = dict(given)
    for key, value in found.items():
        if value is not None:
            values[by_key[key].name] = _typed(by_key[key], key, value)
    return values


def _typed(flag: Flag, key: str, value: Any) -> Any:
    def refuse(expected: str, got: Any = value) -> InvalidError:
        return InvalidError(
            f"json: cannot unmarshal {_word(got)} into Go struct field Config.{key} of type "
            f"{expected}"
        )

    if flag.kind in ("list", "pools"):
        if flag.name == "host-gateway-ip" and isinstance(value, str):
            value = [value]
        if not isinstance(value, list):
            raise refuse("[]string")
        if flag.kind == "list":
            for one in value:
                if not isinstance(one, str):
                    raise refuse("string", one)
            return [flag.check(one) if flag.check else one for one in value]
        return list(value)
    if flag.kind in ("map", "ulimits"):
        if not isinstance(value, Mapping):
            raise refuse("map[string]string")
        return dict(value)
    kinds: Mapping[str, type | tuple[type, ...]] = {"bool": bool, "int": int, "bytes": (str, int)}
    kind = kinds.get(flag.kind, str)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise refuse(_GO_TYPES[flag.kind])
    return flag.check(value) if flag.check and isinstance(value, str) else value
