"""Dockerfiles: where the target is lost between the platform asked for and `go build`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final

from sampan.base.diagnostic import DiagnosticsError, Severity, Span
from sampan.base.record import record
from sampan.dockerfile.instructions import Arg, Copy, Env, Instruction, Run
from sampan.dockerfile.stages import Dockerfile, Stage, parse_dockerfile
from sampan.gobuild.core.baseimages import BaseImage, base_image, version_key
from sampan.gobuild.core.check.finding import Edit, Finding, SourceFile, finding
from sampan.gobuild.core.check.gofiles import GoNeeds

__all__ = ["check_dockerfile"]

_PLATFORM_ARGS: Final = (
    "TARGETPLATFORM",
    "TARGETOS",
    "TARGETARCH",
    "TARGETVARIANT",
    "BUILDPLATFORM",
    "BUILDOS",
    "BUILDARCH",
    "BUILDVARIANT",
)
_BUILD: Final = re.compile(r"\bgo\s+(?:build|install)\b")
_DEBIAN_OF_GO: Final = {"1.25": "2.41", "1.26": "2.41", "1.27": "2.41"}
_STATIC: Final = re.compile(
    r"-extldflags[ =]+['\"]?[^'\"]*-static|\bosusergo\b.*\bnetgo\b|\bnetgo\b.*\bosusergo\b"
)


@record
class _Place:
    """A word in a file, from 1."""

    line: int
    column: int


class _Checked:
    """One Dockerfile while its rules run."""

    def __init__(
        self, source: SourceFile, parsed: Dockerfile, needs: GoNeeds, platforms: Sequence[str]
    ):
        self.source = source
        self.parsed = parsed
        self.needs = needs
        self.platforms = platforms
        self.globals = {name for arg in parsed.arguments for name, _ in arg.pairs}
        self.several = len(set(platforms)) > 1 or "TARGETARCH" in source.text

    def place(self, span: Span, word: str) -> _Place:
        """Where a word stands in an instruction; its beginning when it cannot be found."""
        lines = self.source.lines
        for number in range(span.line, max(span.line, span.end_line) + 1):
            at = lines[number - 1].find(word) if number <= len(lines) else -1
            if at >= 0:
                return _Place(number, at + 1)
        return _Place(span.line, span.column)

    def say(
        self,
        severity: Severity,
        rule: str,
        summary: str,
        at: _Place,
        remedy: str,
        why: str = "",
        edit: Edit | None = None,
    ) -> Finding:
        return finding(severity, rule, summary, self.source, at.line, at.column, remedy, why, edit)

    def lineage(self, stage: Stage) -> list[Stage]:
        """A stage and those it is made from, the nearest first."""
        found = [stage]
        while parent := self.parsed.find(found[-1].start.base, found[-1].index):
            found.append(parent)
        return found

    def base(self, stage: Stage) -> str:
        """The image that a stage comes from in the end, with defaults of arguments put in."""
        reference = self.lineage(stage)[-1].start.base
        defaults = {n: v or "" for arg in self.parsed.arguments for n, v in arg.pairs}
        return re.sub(
            r"\$\{?(\w+)(?::-([^}]*))?\}?",
            lambda m: defaults.get(m[1]) or m[2] or "",
            reference,
        )


def check_dockerfile(
    source: SourceFile, needs: GoNeeds, platforms: Sequence[str] = ()
) -> Iterator[Finding]:
    """Yield what is wrong with a Dockerfile that builds Go for `platforms`."""
    try:
        parsed = parse_dockerfile(source.text, source.path)
    except DiagnosticsError:
        # Its syntax is for the builder to judge.
        return
    checked = _Checked(source, parsed, needs, platforms)
    building = [stage for stage in parsed.stages if any(_builds(i) for i in stage.instructions)]
    for stage in building:
        yield from _lost(checked, stage)
        yield from _target(checked, stage)
        yield from _variant(checked, stage)
        yield from _order(checked, stage)
    if building:
        yield from _final(checked, building)


def _command(one: Instruction) -> str:
    return " ".join(one.command.words) if isinstance(one, Run) else ""


def _builds(one: Instruction) -> bool:
    return isinstance(one, Run) and bool(_BUILD.search(_command(one)))


def _lost(checked: _Checked, stage: Stage) -> Iterator[Finding]:
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
            text = _command(one)
        for name in re.findall(r"\$\{?([A-Z][A-Z0-9_]*)", text):
            lost = name in _PLATFORM_ARGS or (
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


def _target(checked: _Checked, stage: Stage) -> Iterator[Finding]:
    """Whether the compiler runs natively, and compiles for the target."""
    inherited = [one for part in checked.lineage(stage)[::-1] for one in part.instructions]
    body = [(one, _command(one)) for one in inherited]
    text = "\n".join(part or (one.line.rest if isinstance(one, Env) else "") for one, part in body)
    passes = re.search(r"GOARCH=[\"']?\$\{?TARGETARCH", text) is not None
    fixed = re.search(r"GOARCH=[\"']?[a-z0-9]+", text) is not None
    tools = re.search(r"\bxx-go\b|goxx|\bgoreleaser\b|\bmake\b", text) is not None
    declared = any(
        isinstance(one, Arg) and any(n == "TARGETARCH" for n, _ in one.pairs) for one, _ in body
    )
    origin = checked.lineage(stage)[-1].start
    native = "BUILDPLATFORM" in origin.platform
    build = next(one for one in stage.instructions if _builds(one))
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
        if passes and not checked.needs.cgo:
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


def _variant(checked: _Checked, stage: Stage) -> Iterator[Finding]:
    """Whether the variant of arm comes to GOARM."""
    text = "\n".join(
        _command(one) or one.line.rest
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
                _Place(at.line, column),
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
        build = next(one for one in stage.instructions if _builds(one))
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


def _order(checked: _Checked, stage: Stage) -> Iterator[Finding]:
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
        if not isinstance(one, Run) or "go mod download" not in _command(one) or one.mounts:
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


def _final(checked: _Checked, building: Sequence[Stage]) -> Iterator[Finding]:
    """What the last stage lacks of what the program needs."""
    last = checked.parsed.stages[-1]
    yield from _final_platform(checked, last)
    image = base_image(checked.base(last))
    if image is None or checked.base(last).startswith("golang"):
        return
    text = "\n".join(one.line.rest for one in last.instructions)
    lineage = "\n".join(
        one.line.rest for stage in checked.lineage(last) for one in stage.instructions
    )
    source_stage = _copied_from(checked, last, building)
    if source_stage is not None:
        yield from _libc(checked, source_stage, last, image)
    at = _Place(last.start.line.span.line, last.start.line.span.column)
    if checked.needs.tls_client and not image.certificates:
        if not re.search(r"ca-certificates|/ssl|ca-bundle|certs", lineage):
            yield checked.say(
                Severity.WARNING,
                "certificates-missing",
                f"{image.name} has no root certificates, and the program speaks TLS to others",
                at,
                "COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/, or install "
                "ca-certificates.",
                "It fails with `x509: certificate signed by unknown authority`.",
            )
    everything = "\n".join(
        one.line.rest for stage in checked.parsed.stages for one in stage.instructions
    )
    if checked.needs.zones and not image.zones:
        if not re.search(r"tzdata|zoneinfo", text + lineage) and "timetzdata" not in everything:
            yield checked.say(
                Severity.WARNING,
                "zones-missing",
                f"{image.name} has no time zones, and the program loads some",
                at,
                "Build with -tags timetzdata, or COPY /usr/share/zoneinfo, or install tzdata.",
                "It fails with `unknown time zone`.",
            )


def _final_platform(checked: _Checked, last: Stage) -> Iterator[Finding]:
    platform = last.start.platform
    if not platform:
        return
    at = checked.place(last.start.line.span, platform)
    if "BUILDPLATFORM" in platform:
        yield checked.say(
            Severity.ERROR,
            "final-build-platform",
            "the last stage is an image of the machine that builds",
            at,
            "Remove --platform from the last FROM.",
            "Its base and the program are of different platforms: exec format error.",
        )
    elif "$" not in platform and any(one != platform for one in checked.platforms):
        yield checked.say(
            Severity.ERROR,
            "platform-pinned",
            f"the last stage is always {platform}, but is built for {', '.join(checked.platforms)}",
            at,
            "Remove --platform from the last FROM.",
        )


def _copied_from(checked: _Checked, last: Stage, building: Sequence[Stage]) -> Stage | None:
    """The stage that builds the program which the last one copies."""
    for one in last.instructions:
        if isinstance(one, Copy) and one.from_:
            stage = checked.parsed.find(one.from_, last.index)
            for ancestor in checked.lineage(stage) if stage else ():
                if ancestor in building:
                    return ancestor
    return None


def _libc(checked: _Checked, stage: Stage, last: Stage, image: BaseImage) -> Iterator[Finding]:
    """Whether the program of a stage finds its loader and libc in the last one."""
    text = "\n".join(
        _command(one) or one.line.rest
        for ancestor in checked.lineage(stage)
        for one in ancestor.instructions
    )
    if re.search(r"CGO_ENABLED[= ][\"']?0", text) or _STATIC.search(text):
        return
    base = checked.base(stage)
    musl = "alpine" in base
    if musl and not re.search(r"\b(?:gcc|build-base|clang|musl-dev)\b", text):
        return  # Without a C compiler Go turns cgo off.
    cross = re.search(r"GOARCH=[\"']?\$", text) and "BUILDPLATFORM" in stage.start.platform
    uses = checked.needs.cgo or (not cross and checked.needs.libc_names)
    if not uses or "golang" not in base or (cross and "CGO_ENABLED=1" not in text):
        return
    libc = "musl" if musl else "glibc"
    build = next(one for one in stage.instructions if _builds(one))
    at = checked.place(build.line.span, "go ")
    if image.libc != libc:
        line = checked.source.lines[at.line - 1]
        edit = None
        if not checked.needs.cgo and isinstance(build, Run) and build.command.shell:
            match = _BUILD.search(line)
            if match:
                edit = Edit(
                    checked.source.path, at.line, match.start(), match.start(), "CGO_ENABLED=0 "
                )
                at = _Place(at.line, match.start() + 1)
        yield checked.say(
            Severity.ERROR,
            "cgo-runtime",
            f"linked with {libc} by cgo, and copied to {image.name}, which has "
            + ("no libc" if image.libc == "none" else image.libc),
            at,
            "Build with CGO_ENABLED=0."
            if not checked.needs.cgo
            else f"Link statically (musl), or use a base image with {libc}.",
            "It fails with `no such file or directory` though the file is there.",
            edit,
        )
    elif libc == "glibc" and (newer := _glibc_of(base)):
        if version_key(newer) > version_key(image.libc_version):
            yield checked.say(
                Severity.WARNING,
                "glibc-newer",
                f"built on glibc {newer}, runs on {image.name} with {image.libc_version}",
                at,
                "Build on the older distribution (golang:...-bookworm), or with CGO_ENABLED=0.",
                "It may fail with `version GLIBC_... not found`.",
            )


def _glibc_of(base: str) -> str:
    tag = base.partition(":")[2]
    known = base_image(base)
    if known is not None and known.libc == "glibc":
        return known.libc_version
    match = re.match(r"(\d+\.\d+)", tag)
    return _DEBIAN_OF_GO.get(match[1], "") if match else ""
