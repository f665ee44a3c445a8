"""Frozen values with named fields, for code that a new process imports before every container.

`@record` gives a class what `@dataclass(frozen=True, slots=True)` gives it, without generating
code: making a class costs a tenth, and `inspect` with all that it needs is not imported. Making a
record takes a little longer, which does not matter for the dozens that a start needs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, dataclass_transform

__all__ = ["changed", "field", "record"]

T = TypeVar("T")


class _MadeBy:
    """Stands for a default that is made anew for every record."""

    __slots__ = ("make",)

    def __init__(self, make: Callable[[], Any]) -> None:
        self.make = make


def field(*, default_factory: Callable[[], T]) -> T:
    """Return the mark of a field whose default is what `default_factory` returns."""
    return _MadeBy(default_factory)  # type: ignore[return-value]


def changed(one: T, **changes: Any) -> T:
    """Return a record like `one` but for the fields named."""
    names: tuple[str, ...] = one.__match_args__  # type: ignore[attr-defined]
    return type(one)(**{name: getattr(one, name) for name in names} | changes)


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def record(cls: type[T]) -> type[T]:
    """Make a class whose annotations are its fields: compared by value, hashable, unchangeable."""
    names = tuple(cls.__annotations__)
    space = dict(cls.__dict__)
    defaults = {name: space.pop(name) for name in names if name in space}
    for name in ("__dict__", "__weakref__"):
        space.pop(name, None)
    space |= {
        "__slots__": names,
        "__match_args__": names,
        "__init__": _constructor(cls.__name__, names, defaults),
        "__eq__": _equal,
        "__hash__": lambda self: hash(_values(self)),
        "__repr__": _shown,
        "__reduce__": lambda self: (type(self), _values(self)),
        "__setattr__": _refuse,
        "__delattr__": _refuse,
    }
    made: type[T] = type(cls.__name__, cls.__bases__, space)
    return made


def _constructor(
    title: str, names: tuple[str, ...], defaults: dict[str, Any]
) -> Callable[..., None]:
    put = object.__setattr__

    def __init__(self: Any, *values: Any, **named: Any) -> None:
        if len(values) > len(names):
            raise TypeError(f"{title}: {len(values)} values for {len(names)} fields")
        for name, value in zip(names, values, strict=False):
            put(self, name, value)
        for name in names[len(values) :]:
            if name in named:
                put(self, name, named.pop(name))
                continue
            if name not in defaults:
                raise TypeError(f"{title}: {name} is missing")
            default = defaults[name]
            put(self, name, default.make() if type(default) is _MadeBy else default)
        if named:
            raise TypeError(f"{title}: no field, or given twice: {', '.join(named)}")

    return __init__


def _values(self: Any) -> tuple[Any, ...]:
    return tuple([getattr(self, name) for name in self.__match_args__])


def _equal(self: Any, other: object) -> Any:
    if other.__class__ is not self.__class__:
        return NotImplemented
    return _values(self) == _values(other)


def _shown(self: Any) -> str:
    fields = (f"{name}={getattr(self, name)!r}" for name in self.__match_args__)
    return f"{type(self).__name__}({', '.join(fields)})"


def _refuse(self: Any, name: str, *_: Any) -> None:
    raise AttributeError(f"cannot change field {name!r} of a {type(self).__name__}")
