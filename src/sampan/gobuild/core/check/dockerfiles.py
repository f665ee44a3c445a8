"""Dockerfiles: where the target is lost between the platform asked for and `go build`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from sampan.base.diagnostic import DiagnosticsError, Severity
from sampan.dockerfile.instructions import Arg, Copy, Env, Instruction, Run
from sampan.dockerfile.stages import Stage, parse_dockerfile
from sampan.gobuild.core.baseimages import older_release
from sampan.gobuild.core.check.dockervalues import check_values
from sampan.gobuild.core.check.finding import Edit, Finding, SourceFile
from sampan.gobuild.core.check.jobimages import go_too_old
from sampan.gobuild.core.check.laststage import check_last
from sampan.gobuild.core.check.modules import GoTree
from sampan.gobuild.core.check.stages import (
    PLATFORM_ARGS,
    CheckedFile,
    Place,
    builds_go,
    command_of,
)
from sampan.gobuild.core.table import Release

__all__ = ["check_dockerfile"]


def check_dockerfile(
    source: SourceFile, release: Release, tree: GoTree, platforms: Sequence[str] = ()
) -> Iterator[Finding]:
    """Yield what is wrong with a Dockerfile that builds Go for `platforms`."""
    try:
        parsed = parse_dockerfile(source.text, source.path)
    except DiagnosticsError:
        # Its syntax is for the builder to judge.
        return
    checked = CheckedFile(source, parsed, tree, platforms)
    building = [stage for stage in parsed.stages if any(builds_go(i) for i in stage.instructions)]
    for stage in building:
        yield from _lost(checked, stage)
        yield from _target(checked, stage)
        yield from _variant(checked, stage)
        yield from _order(checked, stage)
        yield from _release(checked, stage)
    for stage in parsed.stages:
        yield from check_values(checked, stage, release)
    if building:
        yield from check_last(checked, building)


def _lost(checked: CheckedFile, stage: Stage) -> Iterator[Finding]:
    """Variables that are empty because their ARG is not declared in the stage."""
    known: set[str] = set()
    for ancestor in reversed(checked.lineage(stage)[1:]):
        for one in ancestor.instructions:
            known |= {name for name, _ in one.pairs} if isinstance(one, Arg | Env) else set()
    reported: set[str] = set()
    for one in stage.instructions:
        if isinstance(one, Arg | Env):
            text = "" if isinstance(one, Arg) else one.line.rest
        else:
            text = command_of(one)
        for name in re.findall(r"\$\{?([A-Z][A-Z0-9_]*)", text):
            lost = name in PLATFORM_ARGS or (
                name in checked.globals and name.startswith(("GO", "CGO"))
            )
            if not lost or name in known or name in reported:
                continue
            if re.search(rf"(?:^|[\s;&]){name}=", text):
                continue
            reported.add(name)
            start = stage.start.line.span
            end = max(start.line, start.end_line)
            yield checked.say(
                Severity.ERROR,
                "arg-lost",
                f"{name} is empty here: it is not declared in this stage",
                checked.place(one.line.span, name),
                f"Add `ARG {name}` to the stage, behind its FROM.",
                "An ARG ends with its stage, and one before FROM is for FROM only, so Go builds "
                "for the machine that builds.",
                _insert_behind(checked.source, end, f"ARG {name}"),
            )
        if isinstance(one, Arg | Env):
            known |= {name for name, _ in one.pairs}


def _insert_behind(source: SourceFile, line: int, text: str) -> Edit:
    length = len(source.lines[line - 1])
    return Edit(source.path, line, length, length, f"\n{text}")


def _target(checked: CheckedFile, stage: Stage) -> Iterator[Finding]:
    """Whether the compiler runs natively, and compiles for the target."""
    inherited = [one for part in checked.lineage(stage)[::-1] for one in part.instructions]
    body = [(one, command_of(one)) for one in inherited]
    text = "\n".join(part or (one.line.rest if isinstance(one, Env) else "") for one, part in body)
    passes = re.search(r"GOARCH=[\"']?\$\{?TARGETARCH", text) is not None
    fixed = re.search(r"GOARCH=[\"']?[a-z0-9]+", text) is not None
    tools = re.search(r"\bxx-go\b|goxx|\bgoreleaser\b|\bmake\b", text) is not None
    declared = any(
        isinstance(one, Arg) and any(n == "TARGETARCH" for n, _ in one.pairs) for one, _ in body
    )
    origin = checked.lineage(stage)[-1].start
    native = "BUILDPLATFORM" in origin.platform
    build = next(one for one in stage.instructions if builds_go(one))
    at = checked.place(build.line.span, "go ")
    if native and not passes and not fixed and not tools:
        yield checked.say(
            Severity.ERROR,
            "target-ignored",
            "compiles for the machine that builds, whatever platform is asked for",
            at,
            "Write `GOOS=$TARGETOS GOARCH=$TARGETARCH go build`, and declare both ARGs.",
            "The stage runs on $BUILDPLATFORM and nothing tells Go the target.",
        )
    if native or origin.platform or not checked.several:
        return
    # Which file is built for the platforms of CI is not known, unless it is the project's own.
    own = checked.source.path == "Dockerfile" and len(set(checked.platforms)) > 1
    emulated = own or declared or passes
    if emulated and not fixed and "golang" in checked.base(stage):
        line = origin.line.span
        word = checked.place(line, origin.base)
        edit = None
        if passes and not checked.needs(stage).cgo:
            edit = Edit(
                checked.source.path,
                word.line,
                word.column - 1,
                word.column - 1,
                "--platform=$BUILDPLATFORM ",
            )
        yield checked.say(
            Severity.WARNING,
            "build-platform",
            "the compiler is emulated for every foreign platform",
            word,
            "Write `FROM --platform=$BUILDPLATFORM ...` and cross-compile by GOOS and GOARCH.",
            "Under QEMU Go is slow and may crash (lfstack.push, signal 11).",
            edit,
        )


def _variant(checked: CheckedFile, stage: Stage) -> Iterator[Finding]:
    """Whether the variant of arm comes to GOARM."""
    text = "\n".join(
        command_of(one) or one.line.rest
        for part in checked.lineage(stage)
        for one in part.instructions
    )
    for one in stage.instructions:
        match = re.search(r"GOARM=[\"']?\$(?:\{TARGETVARIANT\}|TARGETVARIANT\b)", one.line.rest)
        if match and not isinstance(one, Arg):
            written = re.search(r"\$(?:\{TARGETVARIANT\}|TARGETVARIANT\b)", match[0])
            at = checked.place(one.line.span, match[0])
            column = at.column + (written.start() if written else 0)
            edit = None
            if written and isinstance(one, Run):
                start = column - 1
                edit = Edit(
                    checked.source.path,
                    at.line,
                    start,
                    start + len(written[0]),
                    "${TARGETVARIANT#v}",
                )
            yield checked.say(
                Severity.ERROR,
                "variant-not-level",
                "GOARM gets `v7`, which is no level",
                Place(at.line, column),
                "Write GOARM=${TARGETVARIANT#v}.",
                "The variant of a platform begins with v, GOARM does not.",
                edit,
            )
    mapped = "GOARM" in text or "xx-go" in text
    wanted = [one for one in checked.platforms if one in ("linux/arm/v5", "linux/arm/v6")]
    declared = next(
        (
            one
            for one in stage.instructions
            if isinstance(one, Arg) and any(name == "TARGETVARIANT" for name, _ in one.pairs)
        ),
        None,
    )
    unused = declared is not None and not re.search(r"\$\{?TARGETVARIANT", text)
    if not mapped and (wanted or unused) and "TARGETARCH" in text:
        build = next(one for one in stage.instructions if builds_go(one))
        line = declared.line.span if declared else build.line.span
        yield checked.say(
            Severity.ERROR if wanted else Severity.WARNING,
            "variant-unmapped",
            f"built for {wanted[0]} with GOARM=7"
            if wanted
            else "TARGETVARIANT never becomes GOARM",
            checked.place(line, "TARGETVARIANT" if declared else "go "),
            "Write `GOARM=${TARGETVARIANT#v} go build`, and declare ARG TARGETVARIANT.",
            "Cross compiling for arm means level 7, which dies of SIGILL on ARMv6.",
        )


def _order(checked: CheckedFile, stage: Stage) -> Iterator[Finding]:
    """What defeats the build cache."""
    whole: Instruction | None = None
    modules = target = False
    for one in stage.instructions:
        if isinstance(one, Copy) and not one.from_:
            modules |= any("go.mod" in source for source in one.sources)
            if any(source in (".", "./") for source in one.sources) and not modules:
                whole = whole or one
        if isinstance(one, Arg):
            target |= any(name.startswith("TARGET") for name, _ in one.pairs)
        if not isinstance(one, Run) or "go mod download" not in command_of(one) or one.mounts:
            continue
        at = checked.place(one.line.span, "go mod download")
        if whole is not None:
            yield checked.say(
                Severity.NOTE,
                "cache-order",
                "modules are downloaded again after every change of a source file",
                at,
                "COPY go.mod and go.sum, RUN go mod download, and then COPY the rest.",
            )
        elif target and checked.several:
            yield checked.say(
                Severity.NOTE,
                "cache-order",
                "modules are downloaded once for every platform",
                at,
                "Declare ARG TARGETOS and TARGETARCH behind `go mod download`.",
            )


def _release(checked: CheckedFile, stage: Stage) -> Iterator[Finding]:
    """Whether the image of a stage has a Go that its module accepts."""
    origin = checked.lineage(stage)[-1].start
    wanted = checked.needs(stage).go_version
    inherited = [one for part in checked.lineage(stage) for one in part.instructions]
    older = older_release(origin.base, wanted)
    if older and not any("GOTOOLCHAIN" in one.line.rest for one in inherited):
        at = checked.place(origin.line.span, origin.base)
        yield go_too_old(checked.source, older, wanted, at.line, at.column)
