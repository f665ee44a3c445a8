"""Makefiles: what Go's variables are when their values stand in other variables.

A variable with several literal values may have each of them; one that a function, a command or the
caller alone decides is not known, and taken as right.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from sampan.base.record import changed
from sampan.gobuild.core.check.commands import BUILDING, Shell
from sampan.gobuild.core.check.finding import Finding, SourceFile, logical_lines
from sampan.gobuild.core.check.settings import NAMES
from sampan.gobuild.core.check.values import Value, behind, judged
from sampan.gobuild.core.table import Release

__all__ = ["check_makefile"]

_ASSIGNED: Final = re.compile(
    r"[ ]*((?:(?:export|override|unexport)[ ]+)*)([\w.-]+)[ ]*(::?:?=|\?=|\+=|!=|=)[ \t]*(.*)"
)
_OF_TARGET: Final = re.compile(
    r"([^\s:#=][^:#=]*?)[ ]*:[ ]*(?=(?:(?:export|override)[ ]+)*[\w.-]+[ ]*[:?+!]?=)"
)
_RULE: Final = re.compile(r"([^\s:#=][^:#=]*?)[ ]*::?(?!=)([^=#]*)$")
_REFERENCE: Final = re.compile(r"\$(?:\((\w+)\)|\{(\w+)\})")
_LITERAL: Final = re.compile(r"[\w.,+$(){}-]*")
_BOUND: Final = 4
"""How deep variables are followed, and how many values of one."""

_Group = list[tuple[int, str]]


class _Makefile:
    """Variables, rules and recipes of a file."""

    def __init__(self, source: SourceFile) -> None:
        self.source = source
        self.variables: dict[str, list[Value | None]] = {}
        self.of_target: dict[str, dict[str, Value | None]] = {}
        self.exported: set[str] = set()
        self.tested: set[str] = set()
        self.needed: dict[str, list[str]] = {}
        self.recipes: dict[str, list[_Group]] = {}
        targets: list[str] = []
        for group in logical_lines(source.lines):
            number, line = group[0]
            if line.startswith("\t"):
                for target in targets:
                    self.recipes[target].append(group)
            elif line.strip():
                targets = self._declared(number, line, targets)

    def _declared(self, number: int, line: str, targets: list[str]) -> list[str]:
        """Take a line that is no recipe; return the targets whose recipe follows."""
        if match := _OF_TARGET.match(line):
            for target in match[1].split():
                own = self.of_target.setdefault(target, {})
                own |= dict(self._assignment(number, line, match.end()))
            return []
        if match := _ASSIGNED.match(line):
            for name, value in self._assignment(number, line, 0):
                self.variables.setdefault(name, []).append(value)
            return []
        words = line.split()
        if words[0] == "export":
            self.exported |= set(words[1:]) or set(NAMES)
        if words[0].startswith(("if", "else")):
            self.tested |= {one[1] or one[2] for one in _REFERENCE.finditer(line)}
        if words[0].startswith(("if", "else", "endif", "export", "include", "-include")):
            return targets
        match = _RULE.match(line.partition(";")[0])
        found = match[1].split() if match else []
        for target in found:
            self.needed.setdefault(target, []).extend(match[2].split() if match else [])
            self.recipes.setdefault(target, [])
        return found

    def _assignment(self, number: int, line: str, start: int) -> Iterator[tuple[str, Value | None]]:
        match = _ASSIGNED.match(line, start)
        if match is None:
            return
        if "export" in match[1].split():
            self.exported.add(match[2])
        text = re.split(r"\s+#", match[4])[0].rstrip()
        quoted = int(len(text) > 1 and text[0] == text[-1] and text[0] in "\"'")
        text = text[quoted : len(text) - quoted]
        literal = match[3] in ("=", ":=", "::=", ":::=", "?=") and _LITERAL.fullmatch(text)
        value = Value(text, self.source, number, match.start(4) + 1 + quoted)
        yield match[2], value if literal else None

    def possible(
        self, text: str, own: Mapping[str, Value | None], above: tuple[str, ...] = ()
    ) -> list[Value] | None:
        """Return what a text may be, with places; None when that is not known.

        `above` are the variables that it is put into. A text without variables is `direct`.
        """
        match = _REFERENCE.search(text)
        if match is None:
            return None if "$" in text else [Value(text, self.source, 0, 0, True)]
        name, before = match[1] or match[2], text[: match.start()]
        held = [own[name]] if name in own else self.variables.get(name, [None])
        if len(held) > 1 and name in self.tested:
            # It is set anew where it has another value, as `uname -m` is translated.
            return None
        if name in above or "$" in before or max(len(above), len(held)) > _BOUND:
            return None
        inside = (*above, name)
        found: list[Value] = []
        for one in held:
            inner = self.possible(one.text, own, inside) if one else None
            rest = self.possible(text[match.end() :], own, (*above, "")) if inner else None
            if one is None or inner is None or rest is None:
                return None
            for part in inner:
                place = one if part.direct else part
                found += [
                    changed(place, text=before + part.text + end.text, direct=False) for end in rest
                ]
        return found if len(found) <= _BOUND * _BOUND else None

    def contexts(self) -> Iterator[tuple[Mapping[str, Value | None], list[_Group]]]:
        """Yield variables of targets with the recipes that they are for; none for all others."""
        special: set[str] = set()
        for target, own in self.of_target.items():
            reached = [target]
            for one in reached:
                reached += [part for part in self.needed.get(one, ()) if part not in reached]
            special.add(target)
            yield own, [group for one in reached for group in self.recipes.get(one, ())]
        others = [groups for one, groups in self.recipes.items() if one not in special]
        yield {}, [group for groups in others for group in groups]


def check_makefile(source: SourceFile, release: Release) -> Iterator[Finding]:
    """Yield what is wrong with values of Go's variables that other variables bring."""
    if "GO" not in source.text:
        return
    parsed = _Makefile(source)
    for name in NAMES:
        # A variable of Go by itself is checked where it is set.
        for value in parsed.possible(f"$({name})", {}) or ():
            yield from judged({name: value}, release)
    for own, groups in parsed.contexts():
        for name, given in own.items():
            values = parsed.possible(given.text, own, (name,)) if given else None
            for one in values or ():
                yield from judged({name: one}, release)
        for group in groups:
            yield from _recipe(parsed, own, group, release)


def _recipe(
    parsed: _Makefile, own: Mapping[str, Value | None], group: _Group, release: Release
) -> Iterator[Finding]:
    text = "".join(line.rstrip("\\") for _, line in group)
    for name, raw in behind(text):
        for value in parsed.possible(raw, own) or ():
            yield from judged({name: value}, release)
    if not BUILDING.search(text):
        return
    for command in Shell("").run(text):
        settings = {name: _only(parsed.possible(raw, own)) for name, raw in command.settings}
        for name in (*own, *parsed.variables):
            if name in NAMES and name in parsed.exported and name not in settings:
                settings[name] = _only(parsed.possible(f"$({name})", own))
        yield from judged(settings, release)


def _only(values: Sequence[Value] | None) -> Value | None:
    """The value when there is no other; together with another's several ones none is certain."""
    return values[0] if values and len(values) == 1 else None
