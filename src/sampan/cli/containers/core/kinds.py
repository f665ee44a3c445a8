"""The kinds of values that flags take, and how a text becomes one: numbers, sizes, durations."""

from __future__ import annotations

from sampan.base.errors import InvalidError
from sampan.base.units import parse_duration_s
from sampan.cli.containers.core.flags import Kind

__all__ = [
    "BOOL",
    "BYTES",
    "COUNT",
    "DURATION",
    "FILTER",
    "INTEGER",
    "LIST",
    "STRING",
    "SWAP",
    "UINT16",
    "boolean",
    "csv_fields",
    "integer",
    "size_bytes",
    "unsigned",
]

_TRUE = frozenset(("1", "t", "T", "true", "TRUE", "True"))
_FALSE = frozenset(("0", "f", "F", "false", "FALSE", "False"))
_SIZE_UNITS = {"": 0, "b": 0, "k": 1, "m": 2, "g": 3, "t": 4, "p": 5}


def boolean(text: str) -> bool:
    """Return the truth value; ValueError in Go's words."""
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    raise ValueError(f'strconv.ParseBool: parsing "{text}": invalid syntax')


def _digits(text: str) -> bool:
    return text.isascii() and text.isdigit()


def integer(text: str, bits: int = 64) -> int:
    """Return a signed number; ValueError in Go's words."""
    if not _digits(text.removeprefix("-") if text.startswith("-") else text.removeprefix("+")):
        raise ValueError(f'strconv.ParseInt: parsing "{text}": invalid syntax')
    value = int(text)
    if not -(1 << bits - 1) <= value < 1 << bits - 1:
        raise ValueError(f'strconv.ParseInt: parsing "{text}": value out of range')
    return value


def unsigned(text: str, bits: int = 64) -> int:
    """Return a number that is not negative; ValueError in Go's words."""
    if not _digits(text):
        raise ValueError(f'strconv.ParseUint: parsing "{text}": invalid syntax')
    value = int(text)
    if value >= 1 << bits:
        raise ValueError(f'strconv.ParseUint: parsing "{text}": value out of range')
    return value


def size_bytes(text: str) -> int:
    """Return the bytes of `64m`, `1.5g`, `512 KiB`, `10`; units are powers of 1024."""
    low = text.strip().lower()
    end = len(low)
    while end and not (low[end - 1].isdigit() or low[end - 1] == "."):
        end -= 1
    number, unit = low[:end], low[end:].strip()
    for suffix in ("ib", "b"):
        if len(unit) > len(suffix) and unit.endswith(suffix):
            unit = unit.removesuffix(suffix)
            break
    whole, dot, fraction = number.partition(".")
    right = _digits(whole) and (not dot or not fraction or _digits(fraction))
    if unit not in _SIZE_UNITS or not right:
        raise ValueError(f"invalid size: '{text}'")
    factor = 1024 ** _SIZE_UNITS[unit]
    return int(float(number) * factor) if dot else int(number) * factor


def _swap(text: str) -> int:
    return -1 if text == "-1" else size_bytes(text)


def _duration_ns(text: str) -> int:
    try:
        return round(parse_duration_s(text) * 1e9)
    except ValueError as error:
        raise ValueError(f"time: {error}") from None


def _filter(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise InvalidError("bad format of filter (expected name=value)")
    return name.strip().lower(), value.strip()


def csv_fields(text: str) -> list[str]:
    """Return the fields of one line of CSV: commas apart, or quoted with doubled quotes inside."""
    fields: list[str] = []
    position = 0
    while True:
        if text[position : position + 1] == '"':
            field, position = _quoted_field(text, position + 1)
        else:
            end = text.find(",", position)
            end = len(text) if end < 0 else end
            field, position = text[position:end], end
            if '"' in field:
                raise ValueError(f'parse error on line 1: bare " in non-quoted field: {field}')
        fields.append(field)
        if position >= len(text):
            return fields
        position += 1


def _quoted_field(text: str, position: int) -> tuple[str, int]:
    parts = []
    while True:
        end = text.find('"', position)
        if end < 0:
            raise ValueError('parse error on line 1: extraneous or missing " in quoted-field')
        parts.append(text[position:end])
        if text[end + 1 : end + 2] != '"':
            if text[end + 1 : end + 2] not in ("", ","):
                raise ValueError('parse error on line 1: extraneous or missing " in quoted-field')
            return '"'.join(parts), end + 1
        position = end + 2


BOOL = Kind("", boolean, bare="true")
STRING = Kind("string", str)
LIST = Kind("list", str, repeated=True)
INTEGER = Kind("int", integer)
COUNT = Kind("uint", unsigned)
UINT16 = Kind("uint16", lambda text: unsigned(text, 16))
BYTES = Kind("bytes", size_bytes)
SWAP = Kind("bytes", _swap)
DURATION = Kind("duration", _duration_ns)
FILTER = Kind("filter", _filter, repeated=True)
