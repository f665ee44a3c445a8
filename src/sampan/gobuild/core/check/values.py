"""Values of Go's variables behind other variables, and where they are really written."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from sampan.base.record import changed, record
from sampan.gobuild.core.check.finding import Finding, SourceFile
from sampan.gobuild.core.check.settings import NAMES, Setting, check_pair, check_value
from sampan.gobuild.core.table import Release

__all__ = ["Lookup", "Value", "behind", "filled", "judged", "places_of"]

_BEHIND: Final = re.compile(
    rf"(?<![\w$.-])({'|'.join(NAMES)})\s*(?:::?=|\?=|=)\s*[\"']?"
    r"([\w.,+-]*\$(?:\(\w+\)|\{\w+(?::-[\w.,+-]*)?\}|\w+)[\w.,+-]*)(?=[\"'\s;&|)\\]|$)"
)


@record
class Value:
    """A literal text and where it is written; `direct`: in the command itself that it is for."""

    text: str
    source: SourceFile
    line: int
    column: int
    direct: bool = False


Lookup = Callable[[str], Value | None]


def behind(text: str) -> Iterator[tuple[str, str]]:
    """Yield Go's variables that a line sets by other variables, and how."""
    if "$" in text and "GO" in text:
        for match in _BEHIND.finditer(text):
            yield match[1], match[2]


def filled(text: str, names: re.Pattern[str], lookup: Lookup, place: Value) -> Value | None:
    """Return a text with variables put in; None when one is not known.

    `names` finds variables: their name, and as a second group a default. The value is said to stand
    where the first of its variables has its value, without any at `place`.
    """
    used: list[Value] = []
    missing = False

    def put(match: re.Match[str]) -> str:
        nonlocal missing
        found = lookup(match[1])
        if found is None and names.groups > 1 and match[2] is not None:
            return match[2]
        if found is None:
            missing = True
            return ""
        used.append(found)
        return found.text

    done = names.sub(put, text)
    if missing or re.search(r"[${}#%]", done):
        return None
    return changed(used[0], text=done, direct=False) if used else changed(place, text=done)


def places_of(values: Mapping[str, Value | None]) -> dict[str, Value]:
    """Return those of Go's variables that are known."""
    return {name: one for name, one in values.items() if one is not None and name in NAMES}


def judged(values: Mapping[str, Value | None], release: Release) -> Iterator[Finding]:
    """Yield what is wrong with values that are in force together; repairs are for people."""
    known = places_of(values)
    for name, one in known.items():
        if not one.direct and one.text:
            setting = Setting(name, one.text, one.line, one.column)
            for wrong in check_value(one.source, setting, release):
                yield changed(wrong, edit=None)
    goos, goarch = known.get("GOOS"), known.get("GOARCH")
    if goos and goarch and not (goos.direct and goarch.direct):
        at = goos if goarch.direct else goarch
        yield from check_pair(at.source, goos.text, goarch.text, at.line, at.column, release)
