"""Which targets an existing workflow builds: by its matrices, environments and commands."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

from sampan.base.record import record
from sampan.gobuild.core.buildplan import split_targets
from sampan.gobuild.core.check.commands import BUILDING
from sampan.gobuild.core.check.finding import SourceFile
from sampan.gobuild.core.check.settings import settings_of
from sampan.gobuild.core.cimatrices import MatrixCell, github_cells, gitlab_cells
from sampan.gobuild.core.levels import LEVELS
from sampan.gobuild.core.table import Release
from sampan.gobuild.core.yamlnodes import Node

__all__ = ["AskedTarget", "WorkflowTargets", "workflow_targets"]

_VARIABLES: Final = ("GOOS", "GOARCH", *sorted({one.variable for one in LEVELS.values()}))
_EXPRESSION: Final = re.compile(r"\$\{\{\s*(matrix|env)\.([\w.-]+)\s*\}\}")
_SHELL: Final = re.compile(r"\$(?:\{(\w+)\}|(\w+))")
_BUILDS: Final = re.compile(rf"(?<!sampan ){BUILDING.pattern}")
_LISTED: Final = re.compile(
    r"\bsampan\s+go\s+build\b[^\n;&|]*?--target[= ]+(\"[^\"\n]*\"|'[^'\n]*'|\S+)"
)
_TARGET: Final = re.compile(r"([a-z0-9]+)/[\w-]+(?:/[\w.,]+)?")
_ANCESTORS_LIMIT: Final = 100
_TEXT_LIMIT: Final = 1 << 16
_VALUE_LIMIT: Final = 400

Place = tuple[int, int]


@record
class AskedTarget:
    """A target that a workflow builds, and the places (line, column from 1) that say so."""

    target: str
    places: tuple[Place, ...]


@record
class WorkflowTargets:
    """All that is built; `unread` are places behind which there may be more."""

    asked: tuple[AskedTarget, ...]
    unread: tuple[Place, ...]


@record
class _Value:
    """A text with what it stands for, and where that is written."""

    text: str
    place: Place


_Values = Mapping[str, _Value]


def workflow_targets(
    source: SourceFile, documents: Iterable[Node], release: Release
) -> WorkflowTargets:
    """Return what the documents of a GitHub or GitLab file build, each target once."""
    systems = {port.goos for port in release.ports}
    found: list[AskedTarget] = []
    unread: list[Place] = []
    for document in documents:
        reader = _Reader(source, systems)
        if document.get("jobs"):
            reader.github(document)
        else:
            reader.gitlab(document)
        if reader.unread and (listed := reader.offered(document)):
            # The list that a run is asked with stands for what its jobs are made of.
            found += listed
        else:
            unread += reader.unread
        found += reader.found
    once: dict[str, AskedTarget] = {}
    for one in found:
        once.setdefault(one.target, one)
    return WorkflowTargets(tuple(once.values()), tuple(dict.fromkeys(unread)))


class _Reader:
    """Goes through the jobs of one document and gathers what they build."""

    def __init__(self, source: SourceFile, systems: set[str]) -> None:
        self._source = source
        self._systems = systems
        self.found: list[AskedTarget] = []
        self.unread: list[Place] = []

    def github(self, document: Node) -> None:
        for job in document.get("jobs").values():
            matrix = job.get("strategy", "matrix")
            expressions = [matrix, *matrix.values()]
            self.unread += [_place(one) for one in expressions if "${{" in one.text]
            for cell in github_cells(matrix) or [{}]:
                before = len(self.found)
                outer = _values([document.get("env"), job.get("env")], cell)
                for step in job.get("steps"):
                    own = any(name in _VARIABLES for name, _ in step.get("env").items())
                    values = _values([step.get("env")], cell, outer)
                    self._commands(values, cell, [step.get("run")], own)
                self._cell_itself(outer, cell, before)

    def gitlab(self, document: Node) -> None:
        shared = document.get("variables")
        for name, job in document.items():
            if name.startswith(".") or name in ("variables", "default", "workflow"):
                continue
            matrix = _inherited(document, job, "parallel").get("matrix")
            variables = [shared, *_ancestry(document, job, "variables")]
            scripts: list[Node] = []
            for key in ("before_script", "script"):
                script = _inherited(document, job, key)
                scripts += list(script) or ([script] if script else [])
            if not scripts and not matrix:
                continue
            for cell in gitlab_cells(matrix) or [{}]:
                before = len(self.found)
                # The variables of a matrix are those of its jobs.
                own = {key: _Value(node.text, _place(node)) for key, node in cell.items()}
                values = {**_values(variables, cell), **own}
                self._commands(values, cell, scripts)
                self._cell_itself(values, cell, before)

    def offered(self, document: Node) -> list[AskedTarget]:
        """Return the lists of targets that a run by hand is asked with."""
        inputs = document.get("on", "workflow_dispatch", "inputs")
        nodes = [one.get("default") for one in inputs.values()]
        nodes += [one.get("value") or one for one in document.get("variables").values()]
        return [
            AskedTarget(target, (_place(node),))
            for node in nodes
            if (targets := split_targets(node.text)) and all(map(self._is_target, targets))
            for target in targets
        ]

    def _is_target(self, text: str) -> bool:
        match = _TARGET.fullmatch(text)
        return match is not None and match[1] in self._systems

    def _commands(
        self, values: _Values, cell: MatrixCell, scripts: Iterable[Node], own: bool = False
    ) -> None:
        """Gather what commands build in an environment; `own` when it is made for them."""
        present = dict(values)
        built = commands = 0
        for script in scripts:
            text = _resolved(script.text, values, cell)
            commands += len(_BUILDS.findall(text))
            for line, held in settings_of(SourceFile(self._source.path, text)):
                given = {
                    one.name: _Value(
                        one.value,
                        _origin(cell, one.value) or self._place_in(script, one.line, one.name),
                    )
                    for one in held
                }
                if _BUILDS.search(line):
                    built += self._built({**present, **given})
                else:
                    present |= given
                    own = True
            for match in _LISTED.finditer(text):
                number = text.count("\n", 0, match.start(1)) + 1
                wanted = match[1].strip("\"'")
                place = _origin(cell, wanted) or self._place_in(script, number, "--target")
                self._listed(wanted, place)
        if commands > built or (own and not built):
            self._built(present)

    def _built(self, values: _Values) -> int:
        """Take down the target that an environment means, if it says one; how many that are."""
        given = {name: values[name] for name in _VARIABLES if name in values}
        goos, goarch = given.get("GOOS"), given.get("GOARCH")
        said = [one for one in (goos, goarch) if one and one.text]
        if not said:
            return 0
        if any("$" in one.text for one in said):
            self.unread += [one.place for one in said if "$" in one.text]
            return 1
        system = goos.text if goos and goos.text else "linux"
        machine = goarch.text if goarch and goarch.text else "amd64"
        setting = LEVELS.get(machine)
        level = given.get(setting.variable) if setting else None
        target = f"{system}/{machine}"
        if level and level.text and "$" not in level.text:
            target += f"/{level.text}"
            said.append(level)
        self.found.append(AskedTarget(target, tuple(one.place for one in said)))
        return 1

    def _listed(self, text: str, place: Place) -> None:
        if "$" in text:
            self.unread.append(place)
        self.found += [AskedTarget(one, (place,)) for one in split_targets(text) if "$" not in one]

    def _cell_itself(self, outer: _Values, cell: MatrixCell, before: int) -> None:
        """Where no command says what a job builds, take its environment, its keys, its values."""
        if len(self.found) > before or self._built(outer):
            return
        named = {
            key.upper(): _Value(node.text, _place(node))
            for key, node in cell.items()
            if key.upper() in _VARIABLES
        }
        if not self._built(named):
            for node in cell.values():
                if self._is_target(node.text):
                    self.found.append(AskedTarget(node.text, (_place(node),)))

    def _place_in(self, script: Node, line: int, word: str) -> Place:
        """Where a word of a script's line stands in the file."""
        number = script.line + line - (0 if script.block else 1)
        lines = self._source.lines
        text = lines[number - 1] if number <= len(lines) else ""
        return number, text.find(word) + 1 or script.column


def _origin(cell: MatrixCell, text: str) -> Place | None:
    """Where a value of a command stands in the matrix, None when it is not from there."""
    nodes = [inner for node in cell.values() for inner in (node, *node.values())]
    return next((_place(node) for node in nodes if node.text == text), None)


def _place(node: Node) -> Place:
    return node.line, node.column


def _values(
    layers: Iterable[Node], cell: MatrixCell, outer: _Values | None = None
) -> dict[str, _Value]:
    """The variables of environments, later ones first in rank, with what they stand for."""
    found = dict(outer or {})
    for layer in layers:
        for name, node in layer.items():
            plain = node.get("value") or node
            found[name] = _value(plain, found, cell)
    return found


def _value(node: Node, values: _Values, cell: MatrixCell) -> _Value:
    """What a node stands for; the place is the matrix's where it comes from there."""
    match = _EXPRESSION.fullmatch(node.text.strip())
    if match and match[1] == "matrix" and (origin := _in_cell(cell, match[2])):
        return _Value(origin.text, _place(origin))
    shell = _SHELL.fullmatch(node.text.strip())
    if shell and (named := cell.get(shell[1] or shell[2])):
        return _Value(named.text, _place(named))
    return _Value(_resolved(node.text, values, cell), _place(node))


def _in_cell(cell: MatrixCell, path: str) -> Node:
    first, *rest = path.split(".")
    return cell.get(first, Node(None)).get(*rest)


def _resolved(text: str, values: _Values, cell: MatrixCell) -> str:
    """A text with all that is known put in; what is not known stays as it is."""
    if len(text) > _TEXT_LIMIT:
        return text

    def known(value: str, match: re.Match[str]) -> str:
        # A line stays a line, so that places can be told.
        return match[0] if len(value) > _VALUE_LIMIT else " ".join(value.split())

    def expression(match: re.Match[str]) -> str:
        if match[1] == "env":
            return known(values[match[2]].text, match) if match[2] in values else match[0]
        return known(_in_cell(cell, match[2]).text, match) if cell else match[0]

    def variable(match: re.Match[str]) -> str:
        name = match[1] or match[2]
        return known(values[name].text, match) if name in values else match[0]

    return _SHELL.sub(variable, _EXPRESSION.sub(expression, text))


def _parents(document: Node, job: Node) -> list[Node]:
    extended, merged = job.get("extends"), job.get("<<")
    names = list(extended) or [extended]
    return [*(list(merged) or [merged]), *(document.get(name.text) for name in names)]


def _ancestry(document: Node, job: Node, key: str) -> list[Node]:
    """A key of a job and of those that it extends, the job's own last."""
    found: list[Node] = []
    waiting = [job]
    while waiting and len(found) < _ANCESTORS_LIMIT:
        one = waiting.pop()
        if one:
            found.append(one.get(key))
            waiting += _parents(document, one)
    return found[::-1]


def _inherited(document: Node, job: Node, key: str) -> Node:
    return next((one for one in reversed(_ancestry(document, job, key)) if one), Node(None))
