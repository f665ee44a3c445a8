"""Reading a decoded JSON document field by field, with errors that name the path."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from sampan.base.errors import InvalidError

__all__ = ["Fields"]

T = TypeVar("T")


class Fields:
    """One JSON object at a path such as `$.process.user`; null counts as missing."""

    def __init__(self, value: Any, path: str = "$") -> None:
        if value is not None and not isinstance(value, Mapping):
            raise InvalidError(f"{path}: expected an object, got {type(value).__name__}")
        self._value: Mapping[str, Any] = value or {}
        self._path = path

    def _typed(self, name: str, kind: type[T], default: T, words: str) -> T:
        found = self._value.get(name)
        if found is None:
            return default
        if not isinstance(found, kind) or (kind is int and isinstance(found, bool)):
            got = type(found).__name__
            raise InvalidError(f"{self._path}.{name}: expected {words}, got {got}")
        return found

    def has(self, name: str) -> bool:
        """Tell whether the field is there and not null."""
        return self._value.get(name) is not None

    def text(self, name: str, default: str = "") -> str:
        """A string."""
        found = self._typed(name, str, default, "a string")
        if "\0" in found:
            raise InvalidError(f"{self._path}.{name}: a NUL byte in a string")
        return found

    def required(self, name: str) -> str:
        """A string that must be there and not empty."""
        found = self.text(name)
        if not found:
            raise InvalidError(f"{self._path}.{name}: is required")
        return found

    def integer(self, name: str, default: int = 0) -> int:
        """A number without a fraction."""
        return self._typed(name, int, default, "an integer")

    def optional_integer(self, name: str) -> int | None:
        """A number without a fraction, or None when it is missing."""
        return self.integer(name) if self.has(name) else None

    def flag(self, name: str, default: bool = False) -> bool:
        """True or false."""
        return self._typed(name, bool, default, "true or false")

    def texts(self, name: str) -> tuple[str, ...]:
        """A list of strings."""
        found = self._typed(name, list, [], "a list")
        for at, one in enumerate(found):
            if not isinstance(one, str) or "\0" in one:
                raise InvalidError(f"{self._path}.{name}[{at}]: expected a string")
        return tuple(found)

    def integers(self, name: str) -> tuple[int, ...]:
        """A list of integers."""
        found = self._typed(name, list, [], "a list")
        for at, one in enumerate(found):
            if not isinstance(one, int) or isinstance(one, bool):
                raise InvalidError(f"{self._path}.{name}[{at}]: expected an integer")
        return tuple(found)

    def table(self, name: str) -> dict[str, str]:
        """An object whose values are strings."""
        found = self._typed(name, dict, {}, "an object")
        for key, value in found.items():
            if not isinstance(value, str):
                raise InvalidError(f"{self._path}.{name}.{key}: expected a string")
        return dict(found)

    def object(self, name: str) -> Fields:
        """A nested object, empty when it is missing."""
        return Fields(self._value.get(name), f"{self._path}.{name}")

    def each(self, name: str, read: Callable[[Fields], T]) -> tuple[T, ...]:
        """A list of objects, each read by `read`."""
        found = self._typed(name, list, [], "a list")
        return tuple(
            read(Fields(one, f"{self._path}.{name}[{at}]")) for at, one in enumerate(found)
        )

    def raw(self, name: str) -> Any:
        """The value as it is."""
        return self._value.get(name)

    def refuse(self, name: str, reason: str) -> InvalidError:
        """Return the error for a field whose value cannot be used."""
        return InvalidError(f"{self._path}.{name}: {reason}")
