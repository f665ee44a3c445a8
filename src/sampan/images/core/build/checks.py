"""Checks that need to know what is built: values of arguments, base images, what is left out."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Final

from sampan.base.diagnostic import Diagnostic, DiagnosticsError
from sampan.base.errors import InvalidError
from sampan.base.nearest import nearest
from sampan.dockerfile.checks import check_dockerfile
from sampan.dockerfile.ignore import IgnoreRules
from sampan.dockerfile.instructions import Add, Copy, Instruction, Workdir
from sampan.dockerfile.rules import CheckOptions, finding, parse_check_options
from sampan.dockerfile.source import Line
from sampan.dockerfile.stages import Dockerfile
from sampan.dockerfile.words import Expander
from sampan.images.core.build.request import BaseImage, BuildRequest, PlannedStage, Scope
from sampan.images.core.platform import platform_of, preferences
from sampan.images.core.reference import parse_reference

__all__ = [
    "check_options",
    "ignored_sources",
    "relative_workdir",
    "selected",
    "undefined",
    "wrong_platform",
]

_OPTIONS: Final = "BUILDKIT_DOCKERFILE_CHECK"


def check_options(dockerfile: Dockerfile, arguments: Mapping[str, str]) -> CheckOptions:
    """Return which checks are wanted: those of the build argument, else of the directive."""
    told = arguments.get(_OPTIONS, "")
    return parse_check_options(told) if told else dockerfile.directives.checks


def selected(
    dockerfile: Dockerfile, request: BuildRequest, scope: Scope, found: Collection[Diagnostic]
) -> list[Diagnostic]:
    """Return all findings that are wanted: these, and those that need nothing but the words.

    Raises DiagnosticsError with them when they are to be errors.
    """
    options = check_options(dockerfile, request.arguments)
    every = [*check_dockerfile(dockerfile), *_bases(dockerfile, request, scope), *found]
    wanted = options.select(every)
    if options.error and wanted:
        raise DiagnosticsError(wanted)
    return wanted


def _bases(dockerfile: Dockerfile, request: BuildRequest, scope: Scope) -> Iterator[Diagnostic]:
    escape = dockerfile.directives.escape
    declared = {name for one in dockerfile.arguments for name, _ in one.pairs}
    defaults = Scope(dockerfile, BuildRequest(request.platform, request.build_platform))
    for stage in dockerfile.stages:
        start = stage.start
        expander = scope.expander(escape)
        try:
            for text in (start.base, start.platform):
                expander.word(text)
            bare = defaults.expander(escape)
            base = bare.word(start.base)
        except InvalidError:
            continue  # told of when the stage is planned
        for name in sorted(expander.unset - declared):
            yield finding(
                "UndefinedArgInFrom",
                f"FROM uses {_shown(name, {*declared, *scope.automatic})}, which is not declared",
                start.line.span,
            )
        if "$" in start.base and not expander.unset - declared and not _is_name(base):
            summary = f"without build arguments the base {start.base} is {base or 'empty'!r}"
            yield finding("InvalidDefaultArgInFrom", summary, start.line.span)


def _is_name(base: str) -> bool:
    try:
        parse_reference(base)
    except InvalidError:
        return False
    return True


def _shown(name: str, known: Collection[str]) -> str:
    hint = nearest(name, known)
    return f"${name}" + (f" (did you mean ${hint}?)" if hint else "")


def undefined(expander: Expander, line: Line) -> Iterator[Diagnostic]:
    """Find variables that were used without a value."""
    for name in sorted(expander.unset):
        summary = f"the variable {_shown(name, expander.variables)} is not defined"
        yield finding("UndefinedVar", summary, line.span)


def relative_workdir(instruction: Workdir, path: str) -> Diagnostic:
    """Return the finding of a working directory that depends on the base image."""
    summary = f"WORKDIR {path} is relative, and no absolute one comes before it"
    return finding("WorkdirRelativePath", summary, instruction.line.span)


def ignored_sources(
    instruction: Instruction, expander: Expander, ignore: IgnoreRules | None
) -> Iterator[Diagnostic]:
    """Find sources of a copy that are not in the context because they are left out of it."""
    if ignore is None or not isinstance(instruction, Copy | Add):
        return
    if isinstance(instruction, Copy) and instruction.from_:
        return
    for source in map(expander.word, instruction.sources):
        path = source.strip("/").removeprefix("./")
        plain = path and path != "." and not any(sign in path for sign in "*?[:")
        if plain and ignore.ignored(path):
            summary = f"{instruction.line.keyword} of {source}, which .dockerignore leaves out"
            yield finding("CopyIgnoredFile", summary, instruction.line.span)


def wrong_platform(planned: PlannedStage, base: BaseImage) -> Iterator[Diagnostic]:
    """Find a base image for another platform than its stage's."""
    own = platform_of(base.document)
    if own is not None and base.known and not preferences(planned.platform, [own]):
        summary = f"{planned.base_image} is for {own}, not for {planned.platform}"
        yield finding("InvalidBaseImagePlatform", summary, planned.stage.start.line.span)
