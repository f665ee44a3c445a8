"""Records behave as frozen dataclasses with slots."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping
from typing import Any

import pytest

from sampan.base.record import changed, field, record


@record
class Ours:
    """A record."""

    name: str
    size_bytes: int = 3
    table: Mapping[str, int] = field(default_factory=dict)

    @property
    def double(self) -> int:
        """A property."""
        return 2 * self.size_bytes

    @classmethod
    def named(cls, name: str) -> Ours:
        """A second constructor."""
        return cls(name)


@dataclasses.dataclass(frozen=True, slots=True)
class Theirs:
    """The same as a dataclass."""

    name: str
    size_bytes: int = 3
    table: Mapping[str, int] = dataclasses.field(default_factory=dict)


@pytest.mark.parametrize(
    ("values", "named"),
    [(("a",), {}), (("a", 4), {"table": {"x": 1}}), ((), {"name": "a"}), (("a", 1, {}), {})],
)
def test_fields_and_text_as_a_dataclass(values: Any, named: Any) -> None:
    ours, theirs = Ours(*values, **named), Theirs(*values, **named)
    assert (ours.name, ours.size_bytes, ours.table) == (
        theirs.name,
        theirs.size_bytes,
        theirs.table,
    )
    assert repr(ours).removeprefix("Ours") == repr(theirs).removeprefix("Theirs")


@pytest.mark.parametrize(
    ("values", "named"),
    [((), {}), (("a", 1, {}, 4), {}), (("a",), {"name": "b"}), (("a",), {"other": 1})],
)
def test_wrong_arguments_are_refused(values: Any, named: Any) -> None:
    with pytest.raises(TypeError):
        Ours(*values, **named)


def test_values_are_compared_and_hashed() -> None:
    one = Ours("a", 1, ())  # type: ignore[arg-type]
    assert one == Ours("a", 1, ())  # type: ignore[arg-type]
    assert one != Ours("b", 1, ())  # type: ignore[arg-type]
    assert one.__eq__(("a", 1, ())) is NotImplemented
    assert len({one, Ours("a", 1, ())}) == 1  # type: ignore[arg-type]


def test_nothing_can_be_changed() -> None:
    one = Ours("a")
    with pytest.raises(AttributeError, match="cannot change"):
        one.name = "b"  # type: ignore[misc]
    with pytest.raises(AttributeError, match="cannot change"):
        del one.name
    assert not hasattr(one, "__dict__")
    assert changed(one, size_bytes=9) == Ours("a", 9)
    assert one.size_bytes == 3


def test_defaults_are_made_anew() -> None:
    assert Ours("a").table is not Ours("a").table


def test_methods_copies_and_patterns() -> None:
    one = Ours.named("a")
    assert one.double == 6
    assert copy.deepcopy(one) == one == copy.copy(one)
    match one:
        case Ours(name, 3):
            assert name == "a"
        case _:
            pytest.fail("not matched")
