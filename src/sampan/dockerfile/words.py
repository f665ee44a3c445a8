"""Words of an instruction: splitting, quotes, and the expansion of variables.

Source: the sections "Environment replacement" and "Escape" of the Dockerfile reference. Quotes and
the escape character work as in a shell; in single quotes nothing is special.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

from sampan.base.errors import InvalidError

__all__ = ["Expander", "key_values", "shell_words"]

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SPECIAL: Final = "@*#?-$!0123456789"
_DEPTH_LIMIT: Final = 50
_RESULT_LIMIT: Final = 1 << 20


def shell_words(text: str, escape: str = "\\") -> list[str]:
    """Split at blanks outside of quotes; quotes and escapes stay in the words."""
    words, current, quote = [], "", ""
    at = 0
    while at < len(text):
        char = text[at]
        if char == escape and quote != "'" and at + 1 < len(text):
            current += text[at : at + 2]
            at += 2
            continue
        if quote:
            quote = "" if char == quote else quote
        elif char in "\"'":
            quote = char
        elif char.isspace():
            words.append(current)
            current = ""
            at += 1
            continue
        current += char
        at += 1
    return [word for word in (*words, current) if word]


def key_values(text: str, escape: str) -> list[tuple[str, str]]:
    """Return the pairs of ENV and LABEL, still quoted: `a=1 b="2 3"`, or the old form `a 1`.

    Raises InvalidError for a word without "=" among others, or a key without a value.
    """
    words = shell_words(text, escape)
    if not words:
        return []
    if "=" not in words[0]:
        rest = text.strip()[len(words[0]) :].strip()
        if not rest:
            raise InvalidError(f"{words[0]} must have two arguments")
        return [(words[0], rest)]
    pairs = []
    for word in words:
        key, equals, value = word.partition("=")
        if not equals:
            raise InvalidError(
                f"Syntax error - can't find = in {word!r}. Must be of the form: name=value"
            )
        if not key:
            raise InvalidError(f"Syntax error - no name in {word!r}: names must not be blank")
        pairs.append((key, value))
    return pairs


@dataclass(slots=True)
class Expander:
    """Replaces variables by their values; `unset` collects the names that had none."""

    variables: Mapping[str, str]
    escape: str = "\\"
    unset: set[str] = field(default_factory=set)

    def word(self, text: str) -> str:
        """Return one word with variables replaced and quotes removed.

        Raises InvalidError for a quote or brace that is not closed, a modifier that does not exist,
        and for `${name:?message}` without a value.
        """
        return _Scan(self, text).joined()

    def words(self, text: str) -> list[str]:
        """Return the words; the value of a variable outside of quotes is split at blanks too."""
        return _Scan(self, text).split()

    def text(self, text: str) -> str:
        """Return a text with its variables replaced, as in a here-document: quotes are kept, and
        the escape character is only before a dollar sign or itself.
        """
        return _Scan(self, text).document()

    def value(self, name: str) -> str | None:
        """Return a variable's value, None when it is not set."""
        return self.variables.get(name)


class _Scan:
    """One pass over a text."""

    def __init__(self, expander: Expander, text: str, depth: int = 0) -> None:
        self._expander = expander
        self._text = text
        self._at = 0
        self._depth = depth
        if depth > _DEPTH_LIMIT:
            raise InvalidError("variables are nested too deep")

    def joined(self) -> str:
        result = "".join(piece for piece, _ in self._pieces())
        if len(result) > _RESULT_LIMIT:
            raise InvalidError(f"the expanded text exceeds {_RESULT_LIMIT >> 20} MiB")
        return result

    def document(self) -> str:
        """Replace variables and nothing else."""
        found = []
        while self._at < len(self._text):
            char = self._text[self._at]
            following = self._text[self._at + 1 : self._at + 2]
            if char == "$":
                found.append(self._variable())
            elif char == self._expander.escape and following in ("$", char):
                found.append(following)
                self._at += 2
            else:
                found.append(char)
                self._at += 1
        return "".join(found)

    def split(self) -> list[str]:
        """Cut at blanks that stand outside of quotes, in the text or in a value."""
        words: list[str] = []
        current: str | None = None
        for piece, splits in self._pieces():
            if not splits:
                current = (current or "") + piece
                continue
            for part in re.split(r"(\s+)", piece):
                if part.isspace():
                    if current is not None:
                        words.append(current)
                    current = None
                elif part:
                    current = (current or "") + part
        return [*words, *([current] if current is not None else [])]

    def _pieces(self) -> Iterator[tuple[str, bool]]:
        """Yield pieces of the result, and whether blanks in them end a word."""
        while self._at < len(self._text):
            char = self._text[self._at]
            if char == "'":
                yield self._single_quoted(), False
            elif char == '"':
                yield from self._double_quoted()
            elif char == "$":
                yield self._variable(), True
            elif char == self._expander.escape:
                self._at += 1
                if self._at < len(self._text):
                    yield self._text[self._at], False
                    self._at += 1
            else:
                yield char, True
                self._at += 1

    def _single_quoted(self) -> str:
        end = self._text.find("'", self._at + 1)
        if end < 0:
            raise InvalidError(
                "unexpected end of statement while looking for matching single-quote"
            )
        found = self._text[self._at + 1 : end]
        self._at = end + 1
        return found

    def _double_quoted(self) -> Iterator[tuple[str, bool]]:
        self._at += 1
        yield "", False  # an empty pair of quotes is a word too
        while self._at < len(self._text):
            char = self._text[self._at]
            if char == '"':
                self._at += 1
                return
            if char == "$":
                yield self._variable(), False
                continue
            if char == self._expander.escape and self._at + 1 < len(self._text):
                following = self._text[self._at + 1]
                # Only these are special between double quotes; before others the escape stays.
                kept = "" if following in ('"', "$", self._expander.escape) else char
                yield kept + following, False
                self._at += 2
                continue
            yield char, False
            self._at += 1
        raise InvalidError("unexpected end of statement while looking for matching double-quote")

    def _variable(self) -> str:
        """Replace what begins at a dollar sign."""
        self._at += 1
        rest = self._text[self._at : self._at + 1]
        if rest == "{":
            return self._braced()
        match = _NAME.match(self._text, self._at)
        if match is None and rest and rest in _SPECIAL:
            self._at += 1
            return self._get(rest)
        if match is None:
            return "$"
        self._at = match.end()
        return self._get(match[0])

    def _get(self, name: str) -> str:
        value = self._expander.value(name)
        if value is None:
            self._expander.unset.add(name)
            return ""
        return value

    def _braced(self) -> str:
        self._at += 1
        if self._text.startswith("}", self._at):
            raise InvalidError("syntax error: missing name of the variable in ${}")
        match = _NAME.match(self._text, self._at) or re.compile(r"[0-9@*#?$!-]").match(
            self._text, self._at
        )
        if match is None:
            raise InvalidError(f"syntax error: bad substitution in {self._text!r}")
        name = match[0]
        self._at = match.end()
        if self._text.startswith("}", self._at):
            self._at += 1
            return self._get(name)
        operator = self._operator()
        word = self._until_brace()
        return self._modified(name, operator, word)

    def _operator(self) -> str:
        for operator in (":-", ":+", ":?", "##", "%%", "//", "-", "+", "?", "#", "%", "/"):
            if self._text.startswith(operator, self._at):
                self._at += len(operator)
                return operator
        if self._at >= len(self._text):
            raise InvalidError("syntax error: missing } of a variable")
        raise InvalidError(f"unsupported modifier ({self._text[self._at]}) in substitution")

    def _until_brace(self) -> str:
        """Return the text up to the brace that closes this variable, unexpanded."""
        depth, start = 0, self._at
        while self._at < len(self._text):
            char = self._text[self._at]
            if char == self._expander.escape:
                self._at += 1
            elif char == "$" and self._text.startswith("{", self._at + 1):
                depth += 1
                self._at += 1
            elif char == "}":
                if depth == 0:
                    self._at += 1
                    return self._text[start : self._at - 1]
                depth -= 1
            self._at += 1
        raise InvalidError("syntax error: missing } of a variable")

    def _modified(self, name: str, operator: str, word: str) -> str:
        value = self._expander.value(name)
        missing = value is None or (operator.startswith(":") and not value)
        match operator.removeprefix(":"):
            case "-":
                return self._expanded(word) if missing else str(value)
            case "+":
                return "" if missing else self._expanded(word)
            case "?":
                if missing:
                    message = self._expanded(word) or "is not set"
                    raise InvalidError(f"{name}: {message}")
                return str(value)
        if value is None:
            self._expander.unset.add(name)
            return ""
        if operator in ("/", "//"):
            pattern, _, replacement = _split_slash(word, self._expander.escape)
            return _replaced(
                value, self._raw(pattern), self._expanded(replacement), everywhere=operator == "//"
            )
        return _trimmed(value, self._raw(word), operator)

    def _expanded(self, word: str) -> str:
        return _Scan(self._expander, word, self._depth + 1).joined()

    def _raw(self, pattern: str) -> str:
        """Expand the variables of a pattern; its escapes stay, for they make * and ? plain."""
        escape = self._expander.escape
        kept = pattern.replace(escape, escape * 2) if escape in pattern else pattern
        return _Scan(self._expander, kept, self._depth + 1).joined()


def _split_slash(word: str, escape: str) -> tuple[str, str, str]:
    at = 0
    while at < len(word):
        if word[at] == escape:
            at += 1
        elif word[at] == "/":
            return word[:at], "/", word[at + 1 :]
        at += 1
    return word, "", ""


@lru_cache(maxsize=256)
def _pattern(glob: str, greedy: bool) -> re.Pattern[str]:
    """Return the expression of a shell pattern: `*`, `?`, and escaped characters."""
    star = ".*" if greedy else ".*?"
    found, at = "", 0
    while at < len(glob):
        char = glob[at]
        if char == "\\" and at + 1 < len(glob):
            at += 1
            found += re.escape(glob[at])
        else:
            found += {"*": star, "?": "."}.get(char, re.escape(char))
        at += 1
    return re.compile(found, re.DOTALL)


def _trimmed(value: str, glob: str, operator: str) -> str:
    """Remove the shortest (# %) or longest (## %%) match at the start or the end."""
    greedy = len(operator) == 2
    if operator[0] == "#":
        match = _pattern(glob, greedy).match(value)
        return value[match.end() :] if match else value
    expression = _pattern(glob, True)
    starts = range(len(value) + 1) if greedy else range(len(value), -1, -1)
    for start in starts:
        if expression.fullmatch(value, start):
            return value[:start]
    return value


def _replaced(value: str, glob: str, replacement: str, *, everywhere: bool) -> str:
    if not glob:
        return value
    return _pattern(glob, True).sub(lambda _: replacement, value, count=0 if everywhere else 1)
