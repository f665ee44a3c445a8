"""Dockerfiles: what Go's variables are when ARG and ENV bring their values.

A build argument may get another value from the caller; its default is what a plain build has. The
arguments of the platform are the builder's, and never known.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from sampan.dockerfile.instructions import Arg, Env, Run
from sampan.dockerfile.stages import Stage
from sampan.gobuild.core.check.commands import Shell
from sampan.gobuild.core.check.finding import Finding
from sampan.gobuild.core.check.settings import NAMES
from sampan.gobuild.core.check.stages import PLATFORM_ARGS, CheckedFile, command_of
from sampan.gobuild.core.check.values import Value, behind, filled, judged
from sampan.gobuild.core.table import Release

__all__ = ["check_values"]

_NAMES: Final = re.compile(r"\$\{?(\w+)(?::-([^{}$]*)(?=\}))?\}?")

_Known = dict[str, Value | None]


def check_values(checked: CheckedFile, stage: Stage, release: Release) -> Iterator[Finding]:
    """Yield what is wrong with values of Go's variables that others bring into a stage."""
    defaults: _Known = {}
    for argument in checked.parsed.arguments:
        for name, default in argument.pairs:
            defaults[name] = _value(checked, argument, name, default, defaults)
    known: _Known = {}
    fixed: set[str] = set()
    for part in reversed(checked.lineage(stage)):
        for one in part.instructions:
            if isinstance(one, Arg | Env):
                _take(checked, one, known, defaults, fixed)
            if part is not stage:
                continue
            if isinstance(one, Arg | Env):
                for name, _ in one.pairs:
                    yield from judged({name: known.get(name)}, release)
            elif isinstance(one, Run):
                yield from _run(checked, one, known, release)


def _take(
    checked: CheckedFile, one: Arg | Env, known: _Known, defaults: _Known, fixed: set[str]
) -> None:
    """Put what an instruction sets into `known`; what ENV has set, ARG does not change."""
    before = dict(known)
    for name, text in one.pairs:
        if isinstance(one, Arg):
            if name not in fixed:
                own = _value(checked, one, name, text, before)
                known[name] = defaults.get(name) if text is None else own
        else:
            fixed.add(name)
            known[name] = _value(checked, one, name, text, before)


def _value(
    checked: CheckedFile, one: Arg | Env, name: str, text: str | None, known: _Known
) -> Value | None:
    if text is None or name in PLATFORM_ARGS:
        return None
    at = checked.place(one.line.span, f"{name}=")
    line = checked.lines[at.line - 1] if at.line <= len(checked.lines) else ""
    column = at.column + len(name) + 1
    column += int(line[column - 1 : column] in ('"', "'"))
    place = Value(text, checked.source, at.line, column)
    return filled(text, _NAMES, known.get, place)


def _run(checked: CheckedFile, one: Run, known: _Known, release: Release) -> Iterator[Finding]:
    text = one.script.content if one.script else command_of(one)
    at = checked.place(one.line.span, "go ")
    place = Value("", checked.source, at.line, at.column, True)

    def value(raw: str) -> Value | None:
        return filled(raw, _NAMES, known.get, place)

    for name, raw in behind(text):
        yield from judged({name: value(raw)}, release)
    around = {name: known[name] for name in known if name in NAMES}
    for command in Shell("").run(text):
        yield from judged(around | {name: value(raw) for name, raw in command.settings}, release)
