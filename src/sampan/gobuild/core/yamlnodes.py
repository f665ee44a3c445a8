"""YAML with the place of every value; aliases are never multiplied, depth and size are bounded."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

import yaml

from sampan.base.errors import InvalidError

__all__ = ["Node", "documents", "readable"]

_TEXT_LIMIT: Final = 1 << 20
_DEPTH_LIMIT: Final = 100
_NODES_LIMIT: Final = 100_000


class Node:
    """A value of a document: a scalar, a sequence or a mapping, and where it begins (from 1)."""

    __slots__ = ("_raw",)

    def __init__(self, raw: yaml.Node | None) -> None:
        self._raw = raw

    @property
    def line(self) -> int:
        """Its line."""
        return self._raw.start_mark.line + 1 if self._raw is not None else 1

    @property
    def column(self) -> int:
        """Its column; of a quoted scalar the one behind the quote."""
        if self._raw is None:
            return 1
        quoted = isinstance(self._raw, yaml.ScalarNode) and self._raw.style in ("'", '"')
        return self._raw.start_mark.column + 1 + int(quoted)

    @property
    def last_line(self) -> int:
        """The line that it ends in."""
        last, raw = self.line, self._raw
        while raw is not None:
            if isinstance(raw, yaml.ScalarNode):
                # The end of a block is the beginning of what follows it.
                return max(last, raw.end_mark.line + int(raw.style not in ("|", ">")))
            last = max(last, raw.start_mark.line + 1)
            inner = raw.value[-1] if raw.value else None
            raw = inner[1] if isinstance(inner, tuple) else inner
        return last

    @property
    def text(self) -> str:
        """The text of a scalar, empty for anything else."""
        return str(self._raw.value) if isinstance(self._raw, yaml.ScalarNode) else ""

    @property
    def folded(self) -> bool:
        """Whether its lines are not those of its text."""
        raw = self._raw
        return isinstance(raw, yaml.ScalarNode) and raw.style != "|" and self.last_line > self.line

    @property
    def block(self) -> bool:
        """Whether it is a text of several lines, which begins in the line behind it."""
        return isinstance(self._raw, yaml.ScalarNode) and self._raw.style in ("|", ">")

    def __bool__(self) -> bool:
        return self._raw is not None

    def items(self) -> Iterator[tuple[str, Node]]:
        """Yield keys and values of a mapping, nothing for anything else."""
        if isinstance(self._raw, yaml.MappingNode):
            for key, value in self._raw.value:
                if isinstance(key, yaml.ScalarNode):
                    yield str(key.value), Node(value)

    def values(self) -> Iterator[Node]:
        """Yield the values of a mapping, nothing for anything else."""
        if isinstance(self._raw, yaml.MappingNode):
            yield from (Node(value) for _, value in self._raw.value)

    def get(self, *path: str) -> Node:
        """Return the value behind keys, an empty node when there is none."""
        found = self
        for name in path:
            found = next((value for key, value in found.items() if key == name), Node(None))
        return found

    def __iter__(self) -> Iterator[Node]:
        if isinstance(self._raw, yaml.SequenceNode):
            yield from map(Node, self._raw.value)

    def walk(self) -> Iterator[Node]:
        """Yield every node below, each once however many aliases lead to it."""
        stack: list[yaml.Node | None] = [self._raw]
        seen: set[int] = set()
        while stack and len(seen) < _NODES_LIMIT:
            raw = stack.pop()
            if raw is None or id(raw) in seen:
                continue
            seen.add(id(raw))
            yield Node(raw)
            if isinstance(raw, yaml.MappingNode):
                stack += [value for pair in reversed(raw.value) for value in reversed(pair)]
            elif isinstance(raw, yaml.SequenceNode):
                stack += reversed(raw.value)


def documents(text: str) -> list[Node]:
    """Return the documents of a text; InvalidError when it is no YAML or beyond the bounds."""
    if len(text) > _TEXT_LIMIT:
        raise InvalidError("too large to be read")
    _bounded(text)
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        return [Node(one) for one in yaml.compose_all(text, loader) if one is not None]
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise InvalidError(" ".join(str(error).split())[:200]) from None


def readable(text: str) -> list[Node]:
    """Return the documents of a text; none when it is no YAML, which others judge."""
    try:
        return documents(text)
    except InvalidError:
        return []


def _bounded(text: str) -> None:
    """Refuse depths that no person writes, before a recursive parser sees them."""
    depth = 0
    for one in re.finditer(r"[\[\]{}]", text):
        depth = max(0, depth + (1 if one[0] in "[{" else -1))
        if depth > _DEPTH_LIMIT:
            raise InvalidError("nested too deeply to be read")
    if re.search(rf"^(?: {{{4 * _DEPTH_LIMIT}}}|(?:[ ]*[-?] ){{{_DEPTH_LIMIT}}})", text, re.M):
        raise InvalidError("nested too deeply to be read")
