"""`.dockerignore`: what of a context is left out.

Patterns are Go's `filepath.Match` with `**` for any number of directories; a later pattern wins,
and one that begins with "!" takes files back in. A pattern that matches a directory
matches all below.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from sampan.base.errors import InvalidError

__all__ = ["IgnoreRules", "parse_ignore"]

_LIMIT: Final = 1 << 20
_PATTERNS_LIMIT: Final = 20_000


@dataclass(frozen=True, slots=True)
class _Pattern:
    expression: re.Pattern[str]
    takes_back: bool


class IgnoreRules:
    """The patterns of one file."""

    def __init__(self, patterns: Sequence[_Pattern]) -> None:
        self._patterns = tuple(patterns)
        self._takes_back = any(one.takes_back for one in patterns)
        self._cached = lru_cache(maxsize=65_536)(self._decide)

    def ignored(self, path: str) -> bool:
        """Tell whether a path of the context (relative, with slashes) is left out."""
        return self._cached(path)

    def skipped(self, directory: str) -> bool:
        """Tell whether nothing below a directory can be in: it need not be read."""
        return not self._takes_back and self.ignored(directory)

    def _decide(self, path: str) -> bool:
        ignored = False
        for pattern in self._patterns:
            if pattern.takes_back == ignored and pattern.expression.match(path):
                ignored = not pattern.takes_back
        return ignored


def parse_ignore(text: str) -> IgnoreRules:
    """Return the rules of a file's text; InvalidError names a malformed pattern and its line."""
    if len(text) > _LIMIT:
        raise InvalidError(f".dockerignore is larger than {_LIMIT >> 20} MiB")
    patterns = []
    for number, line in enumerate(text.removeprefix("\ufeff").splitlines(), 1):
        if line.startswith("#") or not line.strip():
            continue
        word = line.strip()
        takes_back = word.startswith("!")
        cleaned = _clean(word[1:].strip() if takes_back else word)
        if not cleaned:
            if takes_back:
                raise InvalidError(f'.dockerignore:{number}: illegal exclusion pattern: "!"')
            continue
        try:
            patterns.append(_Pattern(_expression(cleaned), takes_back))
        except (InvalidError, re.error) as error:
            raise InvalidError(f".dockerignore:{number}: bad pattern {word!r}: {error}") from None
    if len(patterns) > _PATTERNS_LIMIT:
        raise InvalidError(f".dockerignore has more than {_PATTERNS_LIMIT} patterns")
    return IgnoreRules(patterns)


def _clean(pattern: str) -> str:
    """Return the shortest form, without a slash in front: `/a/./b/../c` is `a/c`."""
    parts: list[str] = []
    for part in pattern.split("/"):
        if part in ("", "."):
            continue
        if part == ".." and parts and parts[-1] != "..":
            parts.pop()
        elif part != "..":
            parts.append(part)
    return "/".join(parts)


def _expression(pattern: str) -> re.Pattern[str]:
    found, at = "", 0
    while at < len(pattern):
        char = pattern[at]
        if pattern.startswith("**", at):
            at += 2
            if pattern.startswith("/", at):
                at += 1
                found += r"(?:.*/)?"
            else:
                found += ".*"
            continue
        if char == "*":
            found += "[^/]*"
        elif char == "?":
            found += "[^/]"
        elif char == "[":
            end = pattern.find("]", at + 2)
            if end < 0:
                raise InvalidError("the brackets are not closed")
            body = pattern[at + 1 : end]
            found += "[" + ("^" if body[:1] == "^" else "") + _class(body.removeprefix("^")) + "]"
            at = end
        elif char == "\\":
            at += 1
            if at >= len(pattern):
                raise InvalidError("nothing follows the backslash")
            found += re.escape(pattern[at])
        else:
            found += re.escape(char)
        at += 1
    return re.compile(rf"{found}(?:/.*)?\Z", re.DOTALL)


def _class(body: str) -> str:
    return re.sub(r"[\\\[\]^&~|]", lambda match: "\\" + match[0], body)
