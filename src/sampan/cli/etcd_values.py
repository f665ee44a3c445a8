"""What the text given for a flag means."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from sampan.base.nearest import nearest
from sampan.base.units import parse_bool, parse_duration_s
from sampan.cli.etcd_flags import FLAGS, Flag, Kind
from sampan.store.shell.config import Url

__all__ = ["Value", "Values", "did_you_mean", "parse_value"]

Value = str | bool | int | float | tuple[str, ...] | tuple[Url, ...]


def did_you_mean(name: str, names: Iterable[str], dashes: str = "--") -> str:
    """Return ` (did you mean --x?)` for the nearest of `names`, or an empty text."""
    guess = nearest(name, names)
    return f" (did you mean {dashes}{guess}?)" if guess else ""


def parse_value(flag: Flag, text: str) -> Value:
    """Return what `text` means for the flag's kind. Raises ValueError or ConfigError."""
    match flag.kind:
        case Kind.STRING:
            return text
        case Kind.BOOL:
            return parse_bool(text)
        case Kind.INT | Kind.UINT | Kind.UINT32:
            return _integer(flag.kind, text)
        case Kind.DURATION:
            return parse_duration_s(text)
        case Kind.URLS:
            return tuple(Url.parse(word) for word in text.split(",")) if text else ()
        case Kind.LIST:
            return tuple(word.strip() for word in text.split(",") if word.strip())


def _integer(kind: Kind, text: str) -> int:
    low, high = {
        Kind.INT: (-(2**63), 2**63 - 1),
        Kind.UINT: (0, 2**64 - 1),
        Kind.UINT32: (0, 2**32 - 1),
    }[kind]
    try:
        number = int(text, 0)
    except ValueError:
        raise ValueError("parse error") from None
    if not low <= number <= high:
        raise ValueError("value out of range")
    return number


class Values:
    """Typed access to given values and, where nothing was given, the flag's default."""

    def __init__(self, given: Mapping[str, Value]) -> None:
        self._given = given

    def _get(self, name: str) -> Value:
        flag = FLAGS[name]
        value = self._given.get(name)
        return parse_value(flag, flag.default) if value is None else value

    def text(self, name: str) -> str:
        """Return a string flag."""
        return str(self._get(name))

    def flag(self, name: str) -> bool:
        """Return a bool flag."""
        return bool(self._get(name))

    def number(self, name: str) -> int:
        """Return an integer flag."""
        value = self._get(name)
        return value if isinstance(value, int) else 0

    def seconds(self, name: str) -> float:
        """Return a duration flag in seconds."""
        value = self._get(name)
        return float(value) if isinstance(value, int | float) else 0.0

    def words(self, name: str) -> tuple[str, ...]:
        """Return a comma-separated flag."""
        value = self._get(name)
        return tuple(map(str, value)) if isinstance(value, tuple) else ()

    def urls(self, name: str) -> tuple[Url, ...]:
        """Return the URLs sorted and each once, as etcd keeps them."""
        value = self._get(name)
        urls = {url for url in value if isinstance(url, Url)} if isinstance(value, tuple) else set()
        return tuple(sorted(urls, key=str))
