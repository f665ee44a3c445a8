"""JSON read as Go's encoding/json reads it: the same texts are refused, in the same words.

Clients of Go programs show these messages to people, and some compare them.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final, NoReturn

from sampan.base.errors import InvalidError

__all__ = ["Real", "decode", "decode_first"]

_SPACE: Final = re.compile(r"[ \t\r\n]*")
_STRING: Final = re.compile(r'"(?:[^"\\\x00-\x1f]|\\["\\/bfnrt]|\\u[0-9a-fA-F]{4})*')
_NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_QUOTED: Final = {"'": r"'\''", '"': "'\"'", "\n": r"'\n'", "\t": r"'\t'", "\r": r"'\r'"}
_MAX_DEPTH: Final = 10_000


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)


class Real(float):
    """A number with a point or an exponent; keeps the text that it was written as."""

    text: str

    def __new__(cls, text: str) -> Real:  # noqa: D102
        made = super().__new__(cls, text)
        made.text = text
        return made


_DECODER: Final = json.JSONDecoder(parse_constant=_no_constant, parse_float=Real)


def decode(text: str) -> Any:
    """Return the one value of a text; InvalidError in Go's words, also for what follows it."""
    value, end = decode_first(text)
    if end != len(text):
        raise _wrong(text, end, "after top-level value")
    return value


def decode_first(text: str) -> tuple[Any, int]:
    """Return the first value of a text and where the rest begins, space skipped.

    InvalidError "EOF" for an empty text, "unexpected EOF" for one that breaks off, else the
    character that cannot be there.
    """
    start = _skip(text, 0)
    if start == len(text):
        raise InvalidError("EOF")
    try:
        value, end = _DECODER.raw_decode(text, start)
    except RecursionError:
        raise InvalidError("exceeded max depth") from None
    except ValueError:
        _Scanner(text).scan(start)
        raise InvalidError("a number with too many digits") from None
    return value, _skip(text, end)


def _skip(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    return at if found is None else found.end()


def _wrong(text: str, at: int, where: str) -> InvalidError:
    if at >= len(text):
        return InvalidError("unexpected EOF")
    one = text[at]
    shown = _QUOTED.get(one) or (f"'{one}'" if one.isprintable() else f"'\\x{ord(one):02x}'")
    return InvalidError(f"invalid character {shown} {where}")


class _Scanner:
    """Finds the first character that Go would refuse."""

    def __init__(self, text: str) -> None:
        self._text = text

    def scan(self, at: int) -> None:
        """Walk through the value at `at`; raises InvalidError where it is wrong."""
        text, closers = self._text, list[str]()
        while True:
            at = self._value(at, closers)
            if at < 0:  # a container has been opened and has a first member
                at = -at
                continue
            while closers:
                at = _skip(text, at)
                closer = closers[-1]
                if text[at : at + 1] == ",":
                    at = _skip(text, at + 1)
                    at = self._key(at) if closer == "}" else at
                    break
                if text[at : at + 1] != closer:
                    pair = "after object key:value pair"
                    raise _wrong(text, at, pair if closer == "}" else "after array element")
                closers.pop()
                at += 1
            else:
                return

    def _value(self, at: int, closers: list[str]) -> int:
        """Return where a plain value ends, or minus where the first member of a new one begins."""
        text = self._text
        at = _skip(text, at)
        one = text[at : at + 1]
        if one in ("{", "["):
            if len(closers) >= _MAX_DEPTH:
                raise InvalidError("exceeded max depth")
            inner = _skip(text, at + 1)
            closer = "}" if one == "{" else "]"
            if text[inner : inner + 1] == closer:
                return inner + 1
            closers.append(closer)
            return -(self._key(inner) if one == "{" else inner)
        if one == '"':
            return self._string(at)
        for word in ("true", "false", "null"):
            if one and word.startswith(one):
                return self._literal(at, word)
        if one == "-" or one.isdigit():
            return self._number(at)
        raise _wrong(text, at, "looking for beginning of value")

    def _key(self, at: int) -> int:
        text = self._text
        if text[at : at + 1] != '"':
            raise _wrong(text, at, "looking for beginning of object key string")
        at = _skip(text, self._string(at))
        if text[at : at + 1] != ":":
            raise _wrong(text, at, "after object key")
        return _skip(text, at + 1)

    def _string(self, at: int) -> int:
        text = self._text
        found = _STRING.match(text, at)
        end = at if found is None else found.end()
        if text[end : end + 1] == '"':
            return end + 1
        if text[end : end + 1] != "\\":
            raise _wrong(text, end, "in string literal")
        if text[end + 1 : end + 2] != "u":
            raise _wrong(text, end + 1, "in string escape code")
        end += 2
        while text[end : end + 1] and text[end] in "0123456789abcdefABCDEF":
            end += 1
        raise _wrong(text, end, r"in \u hexadecimal character escape")

    def _literal(self, at: int, word: str) -> int:
        for offset, letter in enumerate(word):
            if self._text[at + offset : at + offset + 1] != letter:
                where = f"in literal {word} (expecting {letter!r})"
                raise _wrong(self._text, at + offset, where)
        return at + len(word)

    def _number(self, at: int) -> int:
        text = self._text
        found = _NUMBER.match(text, at)
        if found is None:
            raise _wrong(text, at + 1, "in numeric literal")
        end = found.end()
        number = found[0]
        if text[end : end + 1] == "." and "." not in number and "e" not in number.lower():
            raise _wrong(text, end + 1, "after decimal point in numeric literal")
        if text[end : end + 1] in ("e", "E") and "e" not in number.lower():
            end += 2 if text[end + 1 : end + 2] in ("+", "-") else 1
            raise _wrong(text, end, "in exponent of numeric literal")
        return end
