"""Assignments of Go's variables in shell commands, Makefiles, Dockerfiles and YAML."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

from sampan.base.diagnostic import Severity
from sampan.base.nearest import nearest
from sampan.base.record import record
from sampan.gobuild.core.check.finding import (
    Edit,
    Finding,
    SourceFile,
    finding,
    logical_lines,
)
from sampan.gobuild.core.check.gofiles import GoNeeds
from sampan.gobuild.core.levels import LEVELS, level_problem
from sampan.gobuild.core.table import Release

NeedsAt = Callable[[int], GoNeeds]
__all__ = [
    "NAMES",
    "NeedsAt",
    "Setting",
    "cgo_off",
    "check_pair",
    "check_settings",
    "check_value",
    "settings_of",
]

_LEVEL_NAMES: Final = sorted({one.variable for one in LEVELS.values()}, key=len, reverse=True)
NAMES: Final = ("GOOS", "GOARCH", *_LEVEL_NAMES, "CGO_ENABLED")
_ASSIGNED: Final = re.compile(
    rf"(?<![\w$.{{-])({'|'.join(NAMES)})(?:\s*[:?]?=\s*|:[ \t]+)([\"']?)([A-Za-z0-9_.,+-]+)\2"
    r"(?=[\"'\s;&|)\\]|$)"
)
_OTHER_NAMES: Final[Mapping[str, Mapping[str, str]]] = {
    "GOARCH": {
        "x86_64": "amd64",
        "x86-64": "amd64",
        "x64": "amd64",
        "aarch64": "arm64",
        "arm64v8": "arm64",
        "i386": "386",
        "i686": "386",
        "x86": "386",
        "armhf": "arm",
        "armv6": "arm",
        "armv7": "arm",
        "armv7l": "arm",
        "ppc64el": "ppc64le",
        "loongarch64": "loong64",
    },
    "GOOS": {"macos": "darwin", "osx": "darwin", "mac": "darwin", "win": "windows"},
}
_SAME: Final = frozenset({"x86_64", "x86-64", "x64", "aarch64", "arm64v8", "macos", "osx"})


@record
class Setting:
    """A literal value of a variable and where the value stands (from 1)."""

    name: str
    value: str
    line: int
    column: int


def settings_of(source: SourceFile) -> Iterator[tuple[str, list[Setting]]]:
    """Yield logical lines that set something, with what they set; not comments and messages."""
    for group in logical_lines(source.lines):
        held = [
            Setting(m[1], m[3], number, m.start(3) + 1)
            for number, line in group
            if "GO" in line
            for m in _ASSIGNED.finditer(line)
        ]
        if held:
            yield "".join(line.rstrip("\\") for _, line in group), held


def check_value(
    source: SourceFile, one: Setting, release: Release, goarch: str = ""
) -> Iterator[Finding]:
    """Yield what is wrong with a single value."""

    def wrong(rule: str, summary: str, remedy: str, better: str = "") -> Finding:
        edit = None
        if better:
            start = one.column - 1
            edit = Edit(source.path, one.line, start, start + len(one.value), better)
        return finding(
            Severity.ERROR, rule, summary, source, one.line, one.column, remedy, "", edit
        )

    if one.name in ("GOOS", "GOARCH"):
        known = {port.goos if one.name == "GOOS" else port.goarch for port in release.ports}
        if one.value in known:
            return
        better = _OTHER_NAMES[one.name].get(one.value.lower(), "")
        if not better and one.value.lower() in known:
            better = one.value.lower()
        guess = better or nearest(one.value.lower(), sorted(known)) or ""
        safe = one.value.lower() in _SAME or better == one.value.lower()
        yield wrong(
            "platform-unknown",
            f"Go has no {one.name}={one.value}",
            f"Write {one.name}={guess}." if guess else f"Values: {', '.join(sorted(known))}.",
            better if safe else "",
        )
    elif one.name == "CGO_ENABLED":
        if one.value not in ("0", "1"):
            better = {"false": "0", "off": "0", "no": "0", "true": "1", "on": "1"}.get(
                one.value.lower(), ""
            )
            yield wrong(
                "cgo-value",
                f"CGO_ENABLED={one.value} is neither 0 nor 1",
                f"Write CGO_ENABLED={better or '0'}.",
                better,
            )
    else:
        arch = next(name for name, setting in LEVELS.items() if setting.variable == one.name)
        if problem := level_problem(arch, one.value):
            lower = one.value.lower()
            options = (lower, lower.removeprefix("v"), f"v{lower}", f"{lower}.0")
            better = next((v for v in options if level_problem(arch, v) is None), "")
            yield wrong(
                "level-invalid",
                problem,
                (f"Write {one.name}={better}. " if better else "")
                + "Go may build without a word and generate code of the default level.",
                better if better.lower() == lower or one.name == "GOARM" else "",
            )


def check_pair(
    source: SourceFile, goos: str, goarch: str, line: int, column: int, release: Release
) -> Iterator[Finding]:
    """Yield a finding when a system and an architecture that exist do not exist together."""
    ports = {(port.goos, port.goarch) for port in release.ports}
    if goos not in {one for one, _ in ports} or goarch not in {one for _, one in ports}:
        return
    if (goos, goarch) not in ports:
        having = ", ".join(sorted(arch for system, arch in ports if system == goos))
        yield finding(
            Severity.ERROR,
            "platform-missing",
            f"Go has no {goos}/{goarch}",
            source,
            line,
            column,
            f"Leave this combination out; {goos} has {having}.",
        )


def check_settings(
    source: SourceFile,
    release: Release,
    needs_at: NeedsAt,
    native: Sequence[str] = ("linux", "amd64"),
) -> Iterator[Finding]:
    """Yield what is wrong with the values of a file, and with those of one command together.

    `needs_at` says what the builds need that a line is for.
    """
    listed = list(settings_of(source))
    disabled = any(_turns_off(one) for _, held in listed for one in held)
    enabled = re.search(r"CGO_ENABLED\s*[:?]?[=:]\s*[\"']?1", source.text) is not None
    compiler = re.search(
        r"\bCC(?:_FOR_TARGET)?\b\s*[:?]?[=:]|--cc=|xx-go|xx-clang|\bzig\b", source.text
    )
    for text, held in listed:
        for one in held:
            yield from check_value(source, one, release)
        values = {one.name: one for one in held}
        goos, goarch, cgo = (values.get(name) for name in ("GOOS", "GOARCH", "CGO_ENABLED"))
        if goos and goarch:
            yield from check_pair(
                source, goos.value, goarch.value, goarch.line, goarch.column, release
            )
        off = next(filter(_turns_off, held), None)
        if off and (needs := needs_at(off.line)).cgo:
            yield cgo_off(source, off, needs)
        building = re.search(r"\bgo\s+(?:build|install|test|run)\b", text)
        cross = (goos and goos.value != native[0]) or (goarch and goarch.value != native[1])
        where = goarch or goos
        if not (cross and building and where) or compiler:
            continue
        if cgo and cgo.value == "1":
            yield finding(
                Severity.WARNING,
                "cgo-without-compiler",
                "cgo for another platform without a C compiler for it",
                source,
                where.line,
                where.column,
                "Set CC to a cross compiler (CC='zig cc -target ...' or ...-linux-gnu-gcc).",
                "The compiler of the build machine does not know the target's instructions.",
            )
        elif not enabled and not disabled and (needs := needs_at(where.line)).cgo:
            yield finding(
                Severity.WARNING,
                "cgo-unset",
                f"cross compiling turns cgo off, but {needs.cgo}",
                source,
                where.line,
                where.column,
                "Set CGO_ENABLED=1 and CC"
                + (f", or {needs.cgo_remedy}." if needs.cgo_remedy else "."),
            )


def _turns_off(one: Setting) -> bool:
    return one.name == "CGO_ENABLED" and one.value == "0"


def cgo_off(source: SourceFile, at: Setting, needs: GoNeeds) -> Finding:
    """Say that cgo is turned off where it is needed."""
    return finding(
        Severity.ERROR,
        "cgo-off",
        f"CGO_ENABLED=0, but {needs.cgo}",
        source,
        at.line,
        at.column,
        "Set CGO_ENABLED=1 and give a C compiler for the target"
        + (f", or {needs.cgo_remedy}." if needs.cgo_remedy else "."),
        "It compiles and fails when it runs, or a package is left without files.",
    )
