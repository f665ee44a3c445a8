"""Bodies of requests against the types that Docker gives their fields, with Go's error messages.

Names are found in any case, unknown ones are left out, null counts as not given; what is left has
the right type all the way down.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from sampan.base.errors import InvalidError
from sampan.wire.gojson import Real, decode_first

__all__ = [
    "BOOL",
    "INT",
    "INT64",
    "STRING",
    "STRINGS",
    "TABLE",
    "UINT16",
    "UINT64",
    "Array",
    "Kind",
    "ListOf",
    "MapOf",
    "Struct",
    "Words",
    "decode_body",
    "fields_of",
]


class Kind(Protocol):
    """A type of a field."""

    @property
    def go(self) -> str:
        """Its name in messages."""
        ...

    def read(self, value: Any, at: _Place) -> Any:
        """Return the value, checked; it is not None. Raises InvalidError."""
        ...


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a value stands: the body's type and the path below it."""

    root: str
    path: tuple[str, ...] = ()

    def below(self, name: str) -> _Place:
        """Return the place of a member."""
        return _Place(self.root, (*self.path, name))

    def refuse(self, value: Any, go: str) -> InvalidError:
        """Return the error for a value of another type."""
        if not self.path:
            return InvalidError(f"json: cannot unmarshal {_word(value)} into Go value of type {go}")
        where = f"{self.root.rpartition('.')[2]}.{'.'.join(self.path)}"
        return InvalidError(
            f"json: cannot unmarshal {_word(value)} into Go struct field {where} of type {go}"
        )


def _word(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, str):
        return "string"
    if isinstance(value, int | float):
        return "number"
    return "array" if isinstance(value, list) else "object"


@dataclass(frozen=True, slots=True)
class _Plain:
    go: str
    type: type

    def read(self, value: Any, at: _Place) -> Any:
        """Return a text or a truth value."""
        if not isinstance(value, self.type):
            raise at.refuse(value, self.go)
        return value


@dataclass(frozen=True, slots=True)
class _Integer:
    go: str
    least: int
    most: int

    def read(self, value: Any, at: _Place) -> int:
        """Return a whole number within the type's bounds."""
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise at.refuse(value, self.go)
        if isinstance(value, float) or not self.least <= value <= self.most:
            text = value.text if isinstance(value, Real) else str(value)
            message = str(at.refuse(value, self.go))
            raise InvalidError(message.replace("unmarshal number", f"unmarshal number {text}", 1))
        return value


@dataclass(frozen=True, slots=True)
class ListOf:
    """A list; null members are left as the empty value of their type in Go, here as they are."""

    of: Kind
    pointers: bool = False

    @property
    def go(self) -> str:
        """Its name in messages."""
        return f"[]{'*' if self.pointers else ''}{self.of.go}"

    def read(self, value: Any, at: _Place) -> list[Any]:
        """Return the members, checked."""
        if not isinstance(value, list):
            raise at.refuse(value, self.go)
        return [self.of.read(_empty(self.of) if one is None else one, at) for one in value]


def _empty(kind: Kind) -> Any:
    if isinstance(kind, _Plain):
        return kind.type()
    if isinstance(kind, _Integer):
        return 0
    return [] if isinstance(kind, ListOf | Array) else {}


@dataclass(frozen=True, slots=True)
class Array:
    """A list of a fixed length: filled up with zeros, cut off."""

    of: Kind
    length: int

    @property
    def go(self) -> str:
        """Its name in messages."""
        return f"[{self.length}]{self.of.go}"

    def read(self, value: Any, at: _Place) -> list[Any]:
        """Return exactly `length` members."""
        if not isinstance(value, list):
            raise at.refuse(value, self.go)
        found = [self.of.read(0 if one is None else one, at) for one in value[: self.length]]
        return found + [0] * (self.length - len(found))


@dataclass(frozen=True, slots=True)
class MapOf:
    """An object whose names are data."""

    of: Kind
    name: str = ""

    @property
    def go(self) -> str:
        """Its name in messages."""
        return self.name or f"map[string]{self.of.go}"

    def read(self, value: Any, at: _Place) -> dict[str, Any]:
        """Return the members, checked; null members as the empty value of their type."""
        if not isinstance(value, Mapping):
            raise at.refuse(value, self.go)
        return {
            key: self.of.read(_empty(self.of) if one is None else one, at)
            for key, one in value.items()
        }


@dataclass(frozen=True, slots=True)
class Struct:
    """An object with known members."""

    go: str
    fields: Mapping[str, Kind]
    _folded: Mapping[str, str] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_folded", {name.lower(): name for name in self.fields})

    def read(self, value: Any, at: _Place) -> dict[str, Any]:
        """Return the known members that are not null, checked."""
        if not isinstance(value, Mapping):
            raise at.refuse(value, self.go)
        found: dict[str, Any] = {}
        for given, one in value.items():
            name = given if given in self.fields else self._folded.get(given.lower())
            if name is not None and one is not None:
                found[name] = self.fields[name].read(one, at.below(name))
        return found


@dataclass(frozen=True, slots=True)
class Words:
    """A command line: a list of words, or one word alone."""

    go: str = "string"

    def read(self, value: Any, at: _Place) -> list[str]:
        """Return the words."""
        if isinstance(value, str):
            return [value]
        if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
            raise at.refuse(value, self.go)
        return list(value)


STRING: Final = _Plain("string", str)
BOOL: Final = _Plain("bool", bool)
INT: Final = _Integer("int", -(2**63), 2**63 - 1)
INT64: Final = _Integer("int64", -(2**63), 2**63 - 1)
UINT16: Final = _Integer("uint16", 0, 2**16 - 1)
UINT64: Final = _Integer("uint64", 0, 2**64 - 1)
STRINGS: Final = ListOf(STRING)
TABLE: Final = MapOf(STRING)


def decode_body(kind: Struct, raw: bytes, *, empty: bool = True) -> dict[str, Any]:
    """Return the members of a body that were given.

    Raises InvalidError for what is no JSON, has wrong types, or goes on after its end; for an empty
    body too unless `empty` allows it.
    """
    if empty and not raw:
        return {}
    text = raw.decode("utf-8", errors="replace")
    try:
        document, end = decode_first(text)
    except InvalidError as error:
        reason = str(error)
        if reason == "EOF":
            reason = "got EOF while reading request body"
        raise InvalidError(f"invalid JSON: {reason}") from None
    if end != len(text):
        raise InvalidError("unexpected content after JSON")
    if document is None:
        return {}
    try:
        return kind.read(document, _Place(kind.go))
    except InvalidError as error:
        raise InvalidError(f"invalid JSON: {error}") from None


def fields_of(kind: Kind, names: str) -> dict[str, Kind]:
    """Return fields of one type; `names` are words."""
    return dict.fromkeys(names.split(), kind)
