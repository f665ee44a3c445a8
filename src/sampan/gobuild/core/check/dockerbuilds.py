"""Which packages of the project the stages of a Dockerfile build.

What COPY and bind mounts bring tells which directory of the project a directory of the stage is.
The context of the build is not written in a Dockerfile: it is the directory of the file, or one
above, in which most of what is copied and built is found.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from sampan.base.diagnostic import DiagnosticsError
from sampan.base.record import changed, record
from sampan.dockerfile.instructions import Add, Copy, Instruction, Run, Workdir
from sampan.dockerfile.stages import Dockerfile, Stage, parse_dockerfile
from sampan.gobuild.core.check.commands import GoCommand, Shell
from sampan.gobuild.core.check.finding import SourceFile
from sampan.gobuild.core.check.gofiles import GoNeeds
from sampan.gobuild.core.check.modules import GoTree, joined
from sampan.gobuild.core.check.reach import Build, Reach, Scope, build_of

__all__ = ["docker_reach", "lineage", "stage_builds"]


_ELSEWHERE: Final = "//"
"""Stands for a directory of another project, of which nothing is said."""
_CLONED: Final = re.compile(
    r"\bgit clone\b[^;&|\n]*?\s((?:https?://|ssh://|git@)[^\s;&|]+)(?:\s+([^\s;&|-][^\s;&|]*))?"
)
_REPOSITORY: Final = re.compile(r"git@|[a-z]+://[^#]*\.git(?:#|$)")


@record
class _Command:
    """A command of Go in an instruction; its directory is one of the context, None: not known."""

    stage: int
    first: int
    last: int
    command: GoCommand


def lineage(parsed: Dockerfile, stage: Stage) -> list[Stage]:
    """Return a stage and those it is made from, the nearest first."""
    found = [stage]
    while parent := parsed.find(found[-1].start.base, found[-1].index):
        found.append(parent)
    return found


def stage_builds(parsed: Dockerfile, path: str, tree: GoTree) -> dict[int, list[Build]]:
    """Return the builds of each stage by its index, for a Dockerfile at a path."""
    commands: list[_Command] = []
    copied: list[str] = []
    for stage in parsed.stages:
        commands += _commands(parsed, stage)
        copied += [source for one in stage.instructions for source in _brought(one)]
    context = _context(path.rpartition("/")[0], commands, copied, tree)
    own = path.rpartition("/")[0]
    found: dict[int, list[Build]] = {}
    for one in commands:
        place = one.command.folder
        if place == _ELSEWHERE:
            build = Build(one.first, one.last, GoNeeds(), one.command.cgo, one.command.output)
            found.setdefault(one.stage, []).append(build)
            continue
        folder = own if place is None else joined(context, place)
        known = changed(one.command, folder=own if folder is None else folder)
        build = build_of(tree, known, one.first, one.last)
        if place is None or folder is None:
            # It may be a module that comes from elsewhere.
            build = changed(build, needs=changed(build.needs, go_version=""))
        found.setdefault(one.stage, []).append(build)
    return found


def docker_reach(source: SourceFile, tree: GoTree) -> Reach:
    """Return the builds of a Dockerfile; none when it cannot be parsed."""
    folder = source.path.rpartition("/")[0]
    try:
        parsed = parse_dockerfile(source.text, source.path)
    except DiagnosticsError:
        return Reach(source, (), (), tree.needs(folder))
    builds = [one for part in stage_builds(parsed, source.path, tree).values() for one in part]
    return Reach(source, builds, _scopes(parsed), tree.needs(folder))


def _scopes(parsed: Dockerfile) -> Iterator[Scope]:
    """Yield the lines of each stage, with those of the stages that are made from it."""
    places = {}
    for stage in parsed.stages:
        last = stage.instructions[-1].line.span if stage.instructions else stage.start.line.span
        places[stage.index] = (stage.start.line.span.line, max(last.line, last.end_line))
    for stage in parsed.stages:
        heirs = [one for one in parsed.stages if stage in lineage(parsed, one)[1:]]
        yield Scope(*places[stage.index], tuple(places[one.index] for one in heirs))


def _brought(one: Instruction) -> Sequence[str]:
    """The paths of the context that an instruction copies."""
    return one.sources if isinstance(one, Add) or (isinstance(one, Copy) and not one.from_) else ()


def _commands(parsed: Dockerfile, stage: Stage) -> Iterator[_Command]:
    workdir = "/"
    places: dict[str, str] = {}
    for part in reversed(lineage(parsed, stage)):
        for one in part.instructions:
            if isinstance(one, Workdir):
                workdir = _inside(workdir, one.path)
            elif isinstance(one, Copy | Add):
                places |= _placed(one, workdir)
            elif isinstance(one, Run):
                text = one.script.content if one.script else " ".join(one.command.words)
                for match in _CLONED.finditer(text):
                    name = match[2] or posixpath.basename(match[1]).removesuffix(".git")
                    places[_inside(workdir, name)] = _ELSEWHERE
                if part is stage:
                    around = places | _bound(one, workdir)
                    yield from _run(stage.index, one, text, workdir, around)


def _bound(one: Run, workdir: str) -> dict[str, str]:
    return {
        _inside(workdir, mount.target): _clean(mount.source)
        for mount in one.mounts
        if mount.type == "bind" and not mount.from_
    }


def _run(
    stage: int, one: Run, text: str, workdir: str, places: Mapping[str, str]
) -> Iterator[_Command]:
    shell = Shell(workdir.lstrip("/"), rooted=True)
    span = one.line.span
    for command in shell.run(text):
        inside = None if command.folder is None else f"/{command.folder}"
        folder = None if inside is None else _outside(inside, places)
        known = changed(command, folder=folder)
        yield _Command(stage, span.line, max(span.line, span.end_line), known)


def _inside(workdir: str, path: str) -> str:
    """A path of the stage; one that begins with a variable is taken as a name like others."""
    plain = path.replace("$", "/$", 1) if path.startswith("$") else path
    return posixpath.normpath(posixpath.join(workdir, plain))


def _clean(path: str) -> str:
    found = posixpath.normpath(path.lstrip("/") or ".")
    return "" if found == "." else found


def _placed(one: Copy | Add, workdir: str) -> dict[str, str]:
    """The directories of the stage that an instruction fills, and those of the context."""
    found: dict[str, str] = {}
    for source in _brought(one):
        name = source.rstrip("/").rpartition("/")[2]
        above = _clean(source[: len(source.rstrip("/")) - len(name)] or ".")
        if _REPOSITORY.match(source):
            found[_inside(workdir, one.target)] = _ELSEWHERE
        elif isinstance(one, Copy) and one.parents:
            found[_inside(_inside(workdir, one.target), source)] = _clean(source)
        elif ("." in name or "*" in name) and name.strip("."):
            if one.target.endswith(("/", ".")):
                found.setdefault(_inside(workdir, one.target), above)
        elif len(one.sources) == 1:
            found[_inside(workdir, one.target)] = _clean(source)
    return found


def _outside(inside: str, places: Mapping[str, str]) -> str | None:
    """The directory of the context that one of the stage was copied from."""
    rest = ""
    at = inside
    while True:
        if places.get(at) == _ELSEWHERE:
            return _ELSEWHERE
        if at in places:
            return _clean(posixpath.join(places[at], rest))
        if at == "/":
            return None
        at, name = posixpath.split(at)
        rest = posixpath.join(name, rest) if rest else name


def _context(own: str, commands: Sequence[_Command], copied: Sequence[str], tree: GoTree) -> str:
    """The directory that most of what is copied and built is found in, the nearest of them."""
    candidates = [own]
    while candidates[-1]:
        candidates.append(candidates[-1].rpartition("/")[0])
    wanted = [_clean(one) for one in copied if _clean(one)]
    for one in commands:
        folder = one.command.folder
        if folder is not None and folder != _ELSEWHERE:
            wanted += [
                path
                for name in (one.command.packages or ())
                if (path := joined(folder, name.removesuffix("...") or "."))
            ]
            wanted += [folder] if folder else []
    return max(candidates, key=lambda one: sum(tree.has(one, path) for path in wanted))
