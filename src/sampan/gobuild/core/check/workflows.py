"""CI jobs cell by cell: what Go's variables and platforms are where matrices bring them.

A step with a condition of its own, and commands behind one of the shell, are taken as right. Inputs
of a workflow have their defaults, and the values of each job of the project that calls it by path.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from sampan.base.record import record
from sampan.gobuild.core.check.commands import Shell
from sampan.gobuild.core.check.finding import Finding, SourceFile, logical_lines
from sampan.gobuild.core.check.jobs import Job, Script, jobs_of
from sampan.gobuild.core.check.matrices import cells_of
from sampan.gobuild.core.check.settings import NAMES, NeedsAt, Setting, cgo_off
from sampan.gobuild.core.check.values import Value, behind, filled, judged
from sampan.gobuild.core.cimatrices import MatrixCell
from sampan.gobuild.core.table import Release
from sampan.gobuild.core.yamlnodes import Node, readable

__all__ = ["Run", "check_runs", "runs_of"]

_EXPRESSION: Final = re.compile(r"\$\{\{\s*([\w.-]+)\s*\}\}")
_VARIABLE: Final = re.compile(r"\$\{?([A-Za-z_]\w*)(?::-([^{}$]*)(?=\}))?\}?")
_GUARD: Final = re.compile(r"^\s*(?:if|case|for|while|\[\[?)\s|\|\|", re.M)
_PLATFORM: Final = re.compile(r"--platform[= ][\"']?([^\s\"'\\]+)")
_CONDITION: Final = re.compile(r"\b(?:matrix|inputs|env)\b")
_SET_BY_EXPRESSION: Final = re.compile(
    rf"\b({'|'.join(NAMES)})=[\"']?([\w.-]*\$\{{\{{[^}}]*\}}\}}[\w.-]*)"
)
_STEPS_LIMIT: Final = 2000
"""Of a job in all its cells: more than people write are not looked at."""
_CALLED: Final = "./.github/workflows/"

Inputs = Mapping[str, Value | None]


@record
class _Line:
    """What a logical line of a script sets by others (`loose`), and for its commands of Go."""

    number: int
    loose: tuple[tuple[str, str], ...]
    commands: tuple[tuple[tuple[str, str], ...], ...]


_Lines = tuple[tuple[_Line, ...], ...]


@record
class Run:
    """A job in one cell of its matrix: what expressions and variables stand for there."""

    source: SourceFile
    job: Job
    lines: _Lines
    cell: MatrixCell
    inputs: Inputs

    def settings(self) -> Iterator[Inputs]:
        """Yield Go's variables as they are together: around each step, and for its commands."""
        for script, lines in zip(self.job.scripts, self.lines, strict=True):
            if _CONDITION.search(script.condition):
                continue
            around = self._environment(script.environment)
            mine = {name: one for name, one in around.items() if name in NAMES}
            yield mine
            for line in lines:
                place = Value("", self.source, line.number, 1, True)
                for name, raw in line.loose:
                    yield {name: self._shell(raw, around, place)}
                for command in line.commands:
                    yield mine | {name: self._shell(raw, around, place) for name, raw in command}

    def platforms(self) -> Iterator[Value]:
        """Yield the lists of container platforms that expressions or variables bring."""
        found: list[Value | None] = []
        for step in self.job.steps:
            node = step.get("with", "platforms")
            found += [self.expression(node)] if "{{" in node.text else []
        for script in self.job.scripts:
            around = self._environment(script.environment)
            for match in _PLATFORM.finditer(_EXPRESSION.sub(r"${{\1}}", script.text)):
                place = Value("", self.source, script.line, 1, True)
                found += [self._shell(match[1], around, place)] if "$" in match[1] else []
        yield from (one for one in found if one and one.text.startswith(("linux/", "windows/")))

    def expression(self, node: Node) -> Value | None:
        """Return a value of the file with its expressions put in; None when one is not known."""
        place = Value(node.text, self.source, node.line, node.column)
        if "{{" in node.text:
            return filled(node.text, _EXPRESSION, self._looked_up, place)
        return None if "$" in node.text else place

    def _looked_up(self, name: str) -> Value | None:
        kind, _, rest = name.partition(".")
        if kind == "inputs":
            return self.inputs.get(rest)
        first, *others = rest.split(".")
        node = Node(None)
        if kind == "env":
            found = (layer.get(rest) for layer in reversed(self.job.environment))
            node = next((one for one in found if one), node)
        elif kind == "matrix" and first in self.cell:
            node = self.cell[first].get(*others)
        if kind == "env" and "env." in node.text:
            return None
        return self.expression(node) if node.text else None

    def _environment(self, layers: Sequence[Node]) -> dict[str, Value | None]:
        """The variables of mappings, the innermost last; None for what is not known."""
        nodes = {name: node for layer in layers for name, node in layer.items()}
        if not self.job.gitlab:
            return {name: self.expression(one) if one.text else None for name, one in nodes.items()}
        nodes |= self.cell
        written: dict[str, Value] = {}
        for name, node in nodes.items():
            at = node if node.text else node.get("value")
            written[name] = Value(at.text, self.source, at.line, at.column)
        return {name: _spread(written, one) for name, one in written.items()}

    def _shell(self, text: str, around: Inputs, place: Value) -> Value | None:
        if "{{" in text:
            return filled(text, _EXPRESSION, self._looked_up, place)
        return filled(text, _VARIABLE, around.get, place)


def _lines(script: Script) -> tuple[_Line, ...]:
    if _GUARD.search(script.text):
        return ()
    shell = Shell("")
    found = []
    for group in logical_lines(script.text.split("\n"), script.line):
        text = "".join(line.rstrip("\\") for _, line in group)
        commands = tuple(one.settings for one in shell.run(text))
        expressions = ((one[1], one[2]) for one in _SET_BY_EXPRESSION.finditer(text))
        found.append(_Line(group[0][0], (*behind(text), *expressions), commands))
    return tuple(found)


def _spread(found: Mapping[str, Value], one: Value) -> Value | None:
    """A variable of GitLab with the literal ones that it names."""

    def literal(name: str) -> Value | None:
        other = found.get(name)
        return other if other and other is not one and "$" not in other.text else None

    return filled(one.text, _VARIABLE, literal, one)


def runs_of(source: SourceFile, others: Mapping[str, SourceFile]) -> Iterator[Run]:
    """Yield each job of a CI file in each cell, and the jobs of workflows that it calls by path."""
    for document in readable(source.text):
        inputs = _defaults(source, document)
        for job, lines in _parsed(document):
            path = job.node.get("uses").text
            called = others.get(path.removeprefix("./")) if path.startswith(_CALLED) else None
            inner = [
                (file, *one, _defaults(file, document))
                for file in ([called] if called else [])
                for document in readable(file.text)
                for one in _parsed(document)
            ]
            for run in _cells(source, job, lines, inputs):
                yield run
                given = {name: run.expression(one) for name, one in job.node.get("with").items()}
                for file, below, texts, defaults in inner:
                    yield from _cells(file, below, texts, defaults | given)


def _parsed(document: Node) -> Iterator[tuple[Job, _Lines]]:
    for job in jobs_of(document):
        yield job, tuple(_lines(script) for script in job.scripts)


def _cells(source: SourceFile, job: Job, lines: _Lines, inputs: Inputs) -> Iterator[Run]:
    cells = cells_of(job)
    most = max(1, _STEPS_LIMIT // max(1, len(job.scripts)))
    for cell in cells[:most] or [{}]:
        yield Run(source, job, lines, cell, inputs)


def _defaults(source: SourceFile, document: Node) -> dict[str, Value | None]:
    found: dict[str, Value | None] = {}
    for event in ("workflow_dispatch", "workflow_call"):
        for name, node in document.get("on", event, "inputs").items():
            at = node.get("default")
            found[name] = Value(at.text, source, at.line, at.column) if at.text else None
    return found


def check_runs(
    source: SourceFile, runs: Iterable[Run], release: Release, needs_at: NeedsAt
) -> Iterator[Finding]:
    """Yield what is wrong with Go's variables in the jobs of a file, and in those it calls."""
    seen: set[Sequence[object]] = set()
    for run in runs:
        for settings in run.settings():
            places = [(name, one) for name, one in settings.items() if one and name in NAMES]
            key = tuple((name, one.text, one.line, one.source.path) for name, one in places)
            if key in seen:
                continue
            seen.add(key)
            yield from judged(settings, release)
            cgo = settings.get("CGO_ENABLED")
            if cgo and cgo.text == "0" and not cgo.direct and cgo.source is source:
                if (needs := needs_at(cgo.line)).cgo:
                    yield cgo_off(source, Setting("CGO_ENABLED", "0", cgo.line, cgo.column), needs)
