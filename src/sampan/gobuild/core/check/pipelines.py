"""GitHub Actions, GitLab CI and goreleaser: matrices, platforms, and values given to Go."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import product
from typing import Final

from sampan.base.diagnostic import Severity
from sampan.base.record import changed
from sampan.gobuild.core.check.finding import Finding, SourceFile, finding
from sampan.gobuild.core.check.gofiles import GoNeeds
from sampan.gobuild.core.check.settings import NeedsAt, Setting, check_pair, check_value
from sampan.gobuild.core.check.values import Value
from sampan.gobuild.core.levels import LEVELS
from sampan.gobuild.core.table import Release
from sampan.gobuild.core.yamlnodes import Node, readable

__all__ = ["check_goreleaser", "check_pipeline", "platforms_in", "platforms_of"]

_VARIABLES: Final = {"goos": "GOOS", "goarch": "GOARCH", "cgo_enabled": "CGO_ENABLED"} | {
    one.variable.lower(): one.variable for one in LEVELS.values()
}
_PLATFORMS: Final = re.compile(
    r"(?:--platform[= ]|^\s*platforms:\s*)[\"']?(linux/[\w/,. ]+|windows/[\w/,. ]+)", re.M
)
_BEHIND: Final = re.compile(r"--platform[= ][\"']?\$[({]?(\w+)")
_LISTED: Final = r"[ \t]*(?:[:?]?=|:)[ \t]*[\"']?((?:linux|windows)/[\w/,. ]+)"
_VARIANTS: Final = frozenset(
    "linux/386 linux/amd64 linux/amd64/v2 linux/amd64/v3 linux/amd64/v4 linux/arm linux/arm/v5 "
    "linux/arm/v6 linux/arm/v7 linux/arm/v8 linux/arm64 linux/arm64/v8 linux/arm64/v9 "
    "linux/ppc64le linux/riscv64 linux/s390x linux/loong64 linux/mips64le linux/mips64 "
    "linux/mips linux/mipsle windows/amd64 windows/arm64".split()
)

_OTHER_NAMES: Final = {
    "x86_64": "amd64",
    "x86-64": "amd64",
    "aarch64": "arm64",
    "i386": "386",
    "armhf": "arm/v7",
    "armel": "arm/v6",
}


def platforms_in(source: SourceFile) -> tuple[list[str], list[Finding]]:
    """Return the container platforms that a CI file or Makefile builds for, and the wrong ones."""
    found: list[str] = []
    wrong: list[Finding] = []
    matches = [*_PLATFORMS.finditer(source.text)]
    for name in sorted({*_BEHIND.findall(source.text)}):
        matches += re.finditer(rf"^[ \t]*(?:export[ ]+)?{name}{_LISTED}", source.text, re.M)
    for match in matches:
        line = source.text.count("\n", 0, match.start(1)) + 1
        column = match.start(1) - source.text.rfind("\n", 0, match.start(1))
        names, problems = platforms_of(Value(match[1], source, line, column))
        found += names
        wrong += problems
    return found, wrong


def platforms_of(value: Value) -> tuple[list[str], list[Finding]]:
    """Return the container platforms of a list, and those that do not exist."""
    found: list[str] = []
    wrong: list[Finding] = []
    for part in re.finditer(r"[\w/.]+", value.text):
        name = _normal(part[0].lower())
        if name in _VARIANTS:
            found.append(name)
        elif "/" in name and not name.endswith("/"):
            wrong.append(
                finding(
                    Severity.ERROR,
                    "platform-unknown",
                    f"{part[0]} is no platform of containers",
                    value.source,
                    value.line,
                    value.column + part.start(),
                    "Write linux/amd64, linux/arm64, linux/arm/v7 and so on.",
                )
            )
    return found, wrong


def _normal(name: str) -> str:
    """A platform as container tools understand it: `linux/aarch64` and `linux/arm/7` are known."""
    parts = name.split("/")
    if len(parts) > 1:
        parts[1] = _OTHER_NAMES.get(parts[1], parts[1])
    if len(parts) == 3 and parts[2] in ("5", "6", "7", "8"):
        parts[2] = f"v{parts[2]}"
    return "/".join(parts)


def check_pipeline(source: SourceFile, release: Release) -> Iterator[Finding]:
    """Yield what is wrong in the matrices and variables of a GitHub or GitLab file."""
    for document in readable(source.text):
        for node in document.walk():
            matrix = node.get("strategy", "matrix") or node.get("parallel", "matrix")
            for one in [matrix, *matrix] if matrix else ():
                yield from _matrix(source, one, release)


def _values(node: Node) -> list[Node]:
    return list(node) or ([node] if node.text else [])


def _literal(node: Node) -> bool:
    return bool(node.text) and "$" not in node.text


def _setting(variable: str, node: Node) -> Setting:
    return Setting(variable, node.text, node.line, node.column)


def _matrix(source: SourceFile, matrix: Node, release: Release) -> Iterator[Finding]:
    axes: dict[str, list[Node]] = {}
    for key, value in matrix.items():
        variable = _VARIABLES.get(key.lower())
        if variable:
            axes[variable] = [one for one in _values(value) if _literal(one)]
    for variable, nodes in axes.items():
        for node in nodes:
            yield from _by_hand(check_value(source, _setting(variable, node), release))
    excluded = [_cell(one) for one in matrix.get("exclude")]
    for goos, goarch in product(axes.get("GOOS", ()), axes.get("GOARCH", ())):
        cell = {"GOOS": goos.text, "GOARCH": goarch.text}
        # An exclusion by other keys may or may not be meant for all cells: believe it.
        if any(all(cell.get(k, v) == v for k, v in one.items()) for one in excluded if one):
            continue
        yield from check_pair(source, goos.text, goarch.text, goarch.line, goarch.column, release)
    for one in matrix.get("include"):
        cells = {_VARIABLES.get(k.lower(), ""): v for k, v in one.items() if _literal(v)}
        cells.pop("", None)
        for variable, node in cells.items():
            yield from _by_hand(check_value(source, _setting(variable, node), release))
        if "GOOS" in cells and "GOARCH" in cells:
            at = cells["GOARCH"]
            yield from check_pair(source, cells["GOOS"].text, at.text, at.line, at.column, release)


def _by_hand(found: Iterator[Finding]) -> Iterator[Finding]:
    """Leave the repair to people: exclusions and steps may refer to a value of a matrix."""
    for one in found:
        yield changed(one, edit=None)


def _cell(node: Node) -> Mapping[str, str]:
    return {
        _VARIABLES[key.lower()]: value.text
        for key, value in node.items()
        if key.lower() in _VARIABLES
    }


def check_goreleaser(source: SourceFile, release: Release, needs_at: NeedsAt) -> Iterator[Finding]:
    """Yield what is wrong with the builds of a goreleaser configuration."""
    for document in readable(source.text):
        for build in document.get("builds"):
            for key, value in build.items():
                if variable := _VARIABLES.get(key.lower()):
                    for node in _values(value):
                        if _plain(node):
                            yield from check_value(source, _setting(variable, node), release)
            for node in build.get("targets"):
                goos, _, rest = node.text.partition("_")
                goarch = rest.split("_")[0]
                if goarch and not node.text.startswith("go_"):
                    yield from check_pair(source, goos, goarch, node.line, node.column, release)
            yield from _never_built(source, build, release)
            yield from _goreleaser_cgo(source, build, needs_at(build.line))


def _never_built(source: SourceFile, build: Node, release: Release) -> Iterator[Finding]:
    """Architectures and systems listed that go with none of the others.

    goreleaser leaves out pairs that do not exist without a word, so single ones are no fault.
    """
    ports = {(port.goos, port.goarch) for port in release.ports}
    systems = _values(build.get("goos"))
    machines = _values(build.get("goarch"))
    if build.get("targets") or not all(map(_plain, (*systems, *machines))):
        return
    names = [one.text for one in systems] or ["linux", "darwin", "windows"]
    for node in machines:
        if not any((name, node.text) in ports for name in names):
            yield from check_pair(source, names[0], node.text, node.line, node.column, release)
    listed = [one.text for one in machines] or ["386", "amd64", "arm64"]
    for node in systems:
        if not any((node.text, name) in ports for name in listed):
            yield from check_pair(source, node.text, listed[0], node.line, node.column, release)


def _plain(node: Node) -> bool:
    return _literal(node) and "{{" not in node.text


def _goreleaser_cgo(source: SourceFile, build: Node, needs: GoNeeds) -> Iterator[Finding]:
    environment = [node.text.replace(" ", "") for node in build.get("env")]
    compiler = any(text.startswith("CC=") for text in environment) or bool(build.get("overrides"))
    machines = [node.text for node in build.get("goarch")] or ["amd64", "arm64", "386"]
    foreign = [name for name in machines if name != "amd64"]
    if compiler or not foreign or build.get("builder").text not in ("", "go"):
        return
    if "CGO_ENABLED=1" in environment or (needs.cgo and "CGO_ENABLED=0" not in environment):
        at = build.get("env") or build
        yield finding(
            Severity.WARNING,
            "cgo-without-compiler",
            f"cgo for {', '.join(foreign)} without a C compiler for it"
            + (f"; {needs.cgo}" if needs.cgo else ""),
            source,
            at.line,
            at.column,
            "Set CC for each target in `overrides`, or CGO_ENABLED=0.",
        )
