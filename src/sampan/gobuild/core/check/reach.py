"""Which builds a line of a file decides about, and so what it has to do with cgo.

A line with a command of Go is for that command. A setting that stands alone is for all commands in
its step, job, stage, target or file, but for those that have another one nearer to them.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Final

from sampan.base.record import changed, record
from sampan.gobuild.core.check.commands import BUILDING, GoCommand, Shell
from sampan.gobuild.core.check.finding import SourceFile, logical_lines
from sampan.gobuild.core.check.gofiles import GoNeeds
from sampan.gobuild.core.check.jobs import Job, jobs_of
from sampan.gobuild.core.check.matrices import cells_of, in_cells
from sampan.gobuild.core.check.modules import GoTree, joined, together
from sampan.gobuild.core.check.settings import settings_of
from sampan.gobuild.core.yamlnodes import readable

__all__ = ["Build", "Reach", "Scope", "build_of", "job_builds", "reach_of"]

_SETTINGS_LIMIT: Final = 500
_IF: Final = re.compile(r"^[ \t@]*(?:if|case|ifeq|ifneq|ifdef|ifndef)(?=[ \t(])")
_FI: Final = re.compile(r"(?:^|[;\s])(?:fi|esac|endif)\b")
_NAMES: Final = r"[\w./%$(){}-]+(?:[ ]+[\w./%$(){}-]+)*"
_VARIABLE: Final = re.compile(r"[ ]*(?:export[ ]+|define[ ]+)?[\w.-]+[ ]*[:?+]*=")
_OF_TARGET: Final = re.compile(rf"({_NAMES})[ ]*:[ ]*(?:export\s+)?\w+\s*[:?]?=")


@record
class Build:
    """A command of Go from line to line, and what it needs; `cgo` as its own line sets it.

    `output` is the name that what is built is given, empty when Go chooses it.
    """

    first: int
    last: int
    needs: GoNeeds
    cgo: str = ""
    output: str = ""


@record
class Scope:
    """The lines from `first` to `last`, where a setting is for builds in them and in `also`."""

    first: int
    last: int
    also: tuple[tuple[int, int], ...] = ()

    def reaches(self, build: Build) -> bool:
        """Tell whether a build begins in it."""
        parts = ((self.first, self.last), *self.also)
        return any(first <= build.first <= last for first, last in parts)


class Reach:
    """The builds of a file; `rest` is what is needed when a setting reaches none of them.

    `settings` are lines that set CGO_ENABLED in a way that only the syntax of the file tells.
    """

    def __init__(
        self,
        source: SourceFile,
        builds: Sequence[Build],
        scopes: Iterable[Scope],
        rest: GoNeeds,
        settings: Collection[int] = (),
    ) -> None:
        self._builds = builds
        self._rest = rest
        self._scopes = [*scopes, Scope(0, len(source.lines) + 1)]
        lines = {*_settings(source), *settings}
        # More than people write are not looked at.
        self._readable = len(lines) <= _SETTINGS_LIMIT
        alone = lines if self._readable else ()
        self._alone = {self._scope(one) for one in alone if not self._here(one)}
        self._chosen = _chosen(source)

    def at(self, line: int) -> GoNeeds:
        """Return what the builds need that a setting in a line is for."""
        if not self._readable or line in self._chosen:
            return GoNeeds()
        if here := self._here(line):
            return together(one.needs for one in here if one.cgo != "1")
        scope = self._scope(line)
        builds = [one for one in self._builds if scope.reaches(one)]
        if not builds:
            return self._rest
        nearer = [one for one in self._alone if _within(one, scope)]
        return together(
            one.needs
            for one in builds
            if not one.cgo and not any(inner.reaches(one) for inner in nearer)
        )

    def _here(self, line: int) -> list[Build]:
        return [one for one in self._builds if one.first <= line <= one.last]

    def _scope(self, line: int) -> Scope:
        around = [one for one in self._scopes if one.first <= line <= one.last]
        return min(around, key=lambda one: one.last - one.first)


def _chosen(source: SourceFile) -> set[int]:
    """The lines in conditions that set CGO_ENABLED, in a file that has both values in them."""
    inside: set[int] = set()
    depth = 0
    for number, line in enumerate(source.lines, 1):
        depth += len(_IF.findall(line))
        inside |= {number} if depth > 0 else set()
        depth = max(0, depth - len(_FI.findall(line)))
    every = [one for _, held in settings_of(source) for one in held if one.name == "CGO_ENABLED"]
    among = [one for one in every if one.line in inside]
    return {one.line for one in among} if len({one.value for one in among}) > 1 else set()


def _settings(source: SourceFile) -> list[int]:
    """The lines that set CGO_ENABLED."""
    every = (one for _, held in settings_of(source) for one in held)
    return [one.line for one in every if one.name == "CGO_ENABLED"]


def _within(inner: Scope, outer: Scope) -> bool:
    return inner.last - inner.first < outer.last - outer.first


def reach_of(source: SourceFile, kind: str, tree: GoTree) -> Reach:
    """Return the builds of a script, pipeline or goreleaser configuration."""
    folder = source.path.rpartition("/")[0]
    if kind == "pipeline":
        return _pipeline(source, tree)
    if kind == "goreleaser":
        return _goreleaser(source, tree)
    rest = tree.needs(folder)
    if source.path.endswith((".sh", ".bash")):
        return _script(source, tree, folder, rest)
    return _makefile(source, tree, folder, rest)


def _builds(
    shell: Shell, tree: GoTree, lines: Iterable[str], first: int, fresh: bool = False
) -> Iterator[Build]:
    """The builds of lines that a shell runs; `fresh`: each line by a shell of its own."""
    home = shell.folder
    for group in logical_lines(lines, first):
        if fresh:
            shell.folder = home
        for one in shell.run("".join(line.rstrip("\\") for _, line in group)):
            yield build_of(tree, one, group[0][0], group[-1][0])


def build_of(tree: GoTree, command: GoCommand, first: int, last: int) -> Build:
    """Return a command's build; what is not in a known directory may be a module of others."""
    needs = tree.needs(command.folder, command.packages)
    if command.folder is None or command.folder not in tree.folders:
        needs = changed(needs, go_version="")
    return Build(first, last, needs, command.cgo, command.output)


def _script(source: SourceFile, tree: GoTree, folder: str, rest: GoNeeds) -> Reach:
    builds = list(_builds(Shell(_home(source, tree, folder)), tree, source.lines, 1))
    # A setting holds until the next one.
    inside = {line for one in builds for line in range(one.first, one.last + 1)}
    starts = [line for line in _settings(source) if line not in inside]
    ends = [*(one - 1 for one in starts[1:]), len(source.lines)]
    scopes = [Scope(first, max(first, last)) for first, last in zip(starts, ends, strict=False)]
    return Reach(source, builds, scopes, rest)


def _home(source: SourceFile, tree: GoTree, folder: str) -> str:
    """The directory that a script is for: its own, or the one above in which most is found."""
    candidates = [folder]
    while candidates[-1]:
        candidates.append(candidates[-1].rpartition("/")[0])
    text = [line for line in source.lines if BUILDING.search(line) or "cd " in line]

    def found(home: str) -> int:
        shell = Shell(home)
        commands = [one for line in text for one in shell.run(line)]
        paths = [
            (one.folder, path.removesuffix("...") or ".")
            for one in commands
            if one.folder is not None
            for path in one.packages or (".",)
        ]
        return sum(tree.has(place, path) for place, path in paths)

    return max(candidates, key=found) if folder else folder


def _makefile(source: SourceFile, tree: GoTree, folder: str, rest: GoNeeds) -> Reach:
    lines = source.lines
    builds = [
        # What a variable begins, the recipes that use it go on with.
        changed(one, needs=rest) if _VARIABLE.match(lines[one.first - 1]) else one
        for one in _builds(Shell(folder), tree, lines, 1, fresh=True)
    ]
    return Reach(source, builds, _targets(source), rest)


def _targets(source: SourceFile) -> Iterator[Scope]:
    """Variables of targets, which are for the recipes of these targets."""
    recipes: dict[str, list[tuple[int, int]]] = {}
    special: list[tuple[int, list[str]]] = []
    for number, line in enumerate(source.lines, 1):
        match = _OF_TARGET.match(line)
        if match:
            special.append((number, match[1].split()))
        elif ":" in line and not line.startswith(("\t", " ", "#", ".")) and ":=" not in line:
            last = number
            while last < len(source.lines) and source.lines[last].startswith(("\t", "#")):
                last += 1
            for name in line.partition(":")[0].split():
                recipes.setdefault(name, []).append((number, last))
    for number, names in special:
        also = [part for name in names for part in recipes.get(name, ())]
        if also:
            yield Scope(number, number, tuple(also))


def _pipeline(source: SourceFile, tree: GoTree) -> Reach:
    builds: list[Build] = []
    scopes: list[Scope] = []
    lines_set: set[int] = set()
    for document in readable(source.text):
        for job in jobs_of(document):
            lines = tuple((one.first, one.last) for one in job.scripts)
            scopes.append(Scope(job.first, job.last, lines))
            if not job.gitlab:
                scopes += (Scope(first, last) for first, last in lines)
            builds += job_builds(job, tree)
            lines_set |= {
                value.line
                for script in job.scripts
                for layer in (*job.environment, *script.environment)
                for key, value in layer.items()
                if key == "CGO_ENABLED"
            }
    return Reach(source, builds, scopes, tree.needs(""), lines_set)


def job_builds(job: Job, tree: GoTree) -> Iterator[Build]:
    """Yield the builds of a job, in all cells of its matrix."""
    shell = Shell("")
    cells = [] if job.gitlab else cells_of(job)
    for script in job.scripts:
        for folder, text in in_cells((script.folder, script.text), cells):
            shell = shell if job.gitlab else Shell(_folder(folder))
            for one in _builds(shell, tree, text.split("\n"), script.line):
                whole = changed(one, first=script.first, last=script.last)
                yield whole if script.folded else one


def _folder(path: str) -> str | None:
    return None if "$" in path else joined("", path or ".")


def _goreleaser(source: SourceFile, tree: GoTree) -> Reach:
    builds: list[Build] = []
    scopes: list[Scope] = []
    for document in readable(source.text):
        for build in document.get("builds"):
            folder = _folder(build.get("dir").text)
            main = build.get("main").text or "."
            main = main if main.startswith(".") else f"./{main}"
            scopes.append(Scope(build.line, build.last_line))
            builds.append(
                Build(
                    build.line,
                    build.line - 1,
                    tree.needs(folder, None if "{{" in main else (main,)),
                )
            )
    return Reach(source, builds, scopes, tree.needs(""))
