"""Checks of a Dockerfile as it is written: casing, names of stages, forms that will surprise.

What needs values of variables, the base images or the context is checked where they are known:
`sampan.images.core.build`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final

from sampan.base.diagnostic import Diagnostic
from sampan.dockerfile.instructions import (
    Arg,
    Cmd,
    Entrypoint,
    Env,
    Expose,
    Healthcheck,
    Instruction,
    Label,
    Maintainer,
    Shell,
)
from sampan.dockerfile.rules import finding
from sampan.dockerfile.source import Line
from sampan.dockerfile.stages import Dockerfile, Stage
from sampan.dockerfile.words import shell_words

__all__ = ["check_dockerfile"]

_RESERVED: Final = ("context", "scratch")
_SECRETS: Final = frozenset(
    "apikey auth credential credentials key passwd password pword secret token".split()
)
_PUBLIC: Final = "public"
_TARGET_PLATFORM: Final = ("$TARGETPLATFORM", "${TARGETPLATFORM}")
_ONCE: Final = (Cmd, Entrypoint, Healthcheck)


def check_dockerfile(dockerfile: Dockerfile) -> list[Diagnostic]:
    """Return all findings of all rules, wanted or not."""
    found = [*dockerfile.warnings, *_casing(dockerfile), *_stage_names(dockerfile.stages)]
    for argument in dockerfile.arguments:
        found += _argument(argument)
    for stage in dockerfile.stages:
        found += _start(stage)
        found += _only_last_counts(stage)
        has_shell = False
        for instruction in stage.instructions:
            has_shell = has_shell or isinstance(instruction, Shell)
            found += _instruction(instruction, has_shell=has_shell)
    return found


def _lines(dockerfile: Dockerfile) -> Iterator[Line]:
    yield from (one.line for one in dockerfile.arguments)
    for stage in dockerfile.stages:
        yield stage.start.line
        yield from (one.line for one in stage.instructions)


def _casing(dockerfile: Dockerfile) -> Iterator[Diagnostic]:
    """Find instructions that are not written as most of the others are."""
    lines = list(_lines(dockerfile))
    small = sum(line.written.islower() for line in lines)
    capitals = sum(line.written.isupper() for line in lines)
    wanted, name = (str.lower, "small letters") if small > capitals else (str.upper, "capitals")
    for line in lines:
        if line.written != wanted(line.written):
            summary = f"{line.written} is not written in {name}, as most instructions here are"
            yield finding("ConsistentInstructionCasing", summary, line.span)


def _stage_names(stages: Sequence[Stage]) -> Iterator[Diagnostic]:
    seen: dict[str, Stage] = {}
    for stage in stages:
        name, span = stage.start.name, stage.start.line.span
        if not name:
            continue
        if name in seen:
            line = seen[name].start.line.span.line
            summary = f"the stage name {name!r} stands already in line {line}"
            yield finding("DuplicateStageName", summary, span)
        if name in _RESERVED:
            yield finding("ReservedStageName", f"{name!r} is a reserved name", span)
        seen.setdefault(name, stage)


def _start(stage: Stage) -> Iterator[Diagnostic]:
    start = stage.start
    span, words = start.line.span, shell_words(start.line.rest)
    if start.name:
        keyword, name = words[-2:]
        if name != name.lower():
            summary = f"the stage name {name!r} is not in small letters"
            yield finding("StageNameCasing", summary, span)
        if keyword != ("as" if start.line.written.islower() else "AS"):
            summary = f"{start.line.written} and {keyword} are written differently"
            yield finding("FromAsCasing", summary, span)
        yield from _description(start.line, "stage", name)
    if start.platform in _TARGET_PLATFORM:
        summary = f"--platform={start.platform} is what holds without it"
        yield finding("RedundantTargetPlatform", summary, span)
    elif start.platform and "$" not in start.platform and not _named_after(start.platform, stage):
        summary = f"--platform={start.platform} is a fixed platform"
        yield finding("FromPlatformFlagConstDisallowed", summary, span)


def _named_after(platform: str, stage: Stage) -> bool:
    """Tell whether a stage says by its name that it is for one platform: `build-arm64`."""
    return platform.rpartition("/")[2].lower() in re.split(r"[-_.]", stage.start.name)


def _description(line: Line, what: str, name: str) -> Iterator[Diagnostic]:
    if line.comment and not any(one.startswith(f"{name} ") for one in line.comment):
        summary = f"the comment above the {what} {name} does not begin with its name"
        yield finding("InvalidDefinitionDescription", summary, line.span)


def _only_last_counts(stage: Stage) -> Iterator[Diagnostic]:
    for kind in _ONCE:
        several = [one for one in stage.instructions if isinstance(one, kind)]
        for unused in several[:-1]:
            summary = f"this {unused.line.keyword} is replaced by the one in line "
            summary += str(several[-1].line.span.line)
            yield finding("MultipleInstructionsDisallowed", summary, unused.line.span)


def _instruction(instruction: Instruction, *, has_shell: bool) -> Iterator[Diagnostic]:
    line = instruction.line
    match instruction:
        case Cmd(_, command) | Entrypoint(_, command):
            if command.shell and command.words[0] and not has_shell:
                yield finding("JSONArgsRecommended", f"{line.keyword} is run by a shell", line.span)
        case Maintainer():
            yield finding("MaintainerDeprecated", "MAINTAINER is deprecated", line.span)
        case Env(_, pairs):
            yield from _secrets(line, [name for name, _ in pairs])
            yield from _legacy(line)
        case Label():
            yield from _legacy(line)
        case Arg():
            yield from _argument(instruction)
        case Expose(_, ports):
            yield from _ports(line, ports)


def _argument(argument: Arg) -> Iterator[Diagnostic]:
    names = [name for name, _ in argument.pairs]
    yield from _secrets(argument.line, names)
    if len(names) == 1:
        yield from _description(argument.line, "argument", names[0])


def _secrets(line: Line, names: Sequence[str]) -> Iterator[Diagnostic]:
    for name in names:
        words = re.split(r"[_\-.]", name.lower())
        if _SECRETS.intersection(words) and _PUBLIC not in words:
            summary = f"{line.keyword} {name} looks like a secret"
            yield finding("SecretsUsedInArgOrEnv", summary, line.span)


def _legacy(line: Line) -> Iterator[Diagnostic]:
    words = shell_words(line.rest)
    if words and "=" not in words[0]:
        summary = f"{line.keyword} {words[0]} has no equals sign before its value"
        yield finding("LegacyKeyValueFormat", summary, line.span)


def _ports(line: Line, ports: Sequence[str]) -> Iterator[Diagnostic]:
    for port in ports:
        number, _, protocol = port.partition("/")
        if "$" not in protocol and protocol != protocol.lower():
            summary = f"the protocol of {port} is not in small letters"
            yield finding("ExposeProtoCasing", summary, line.span)
        if ":" in re.sub(r"\$\{[^}]*\}", "", number):
            summary = f"{port} has an address or a port of the host"
            yield finding("ExposeInvalidFormat", summary, line.span)
