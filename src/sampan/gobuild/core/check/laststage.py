"""The last stage of a Dockerfile: what it lacks of what the program needs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final

from sampan.base.diagnostic import Severity
from sampan.dockerfile.instructions import Copy, Run
from sampan.dockerfile.stages import Stage
from sampan.gobuild.core.baseimages import BaseImage, base_image, version_key
from sampan.gobuild.core.check.finding import Edit, Finding
from sampan.gobuild.core.check.stages import BUILD, CheckedFile, Place, builds_go, command_of

__all__ = ["check_last"]

_DEBIAN_OF_GO: Final = {"1.25": "2.41", "1.26": "2.41", "1.27": "2.41"}
_STATIC: Final = re.compile(
    r"-extldflags[ =]+['\"]?[^'\"]*-static|\bosusergo\b.*\bnetgo\b|\bnetgo\b.*\bosusergo\b"
)


def check_last(checked: CheckedFile, building: Sequence[Stage]) -> Iterator[Finding]:
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
    at = Place(last.start.line.span.line, last.start.line.span.column)
    needs = checked.copied_needs(source_stage, last) if source_stage else checked.needs(*building)
    if needs.tls_client and not image.certificates:
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
    if needs.zones and not image.zones:
        if not re.search(r"tzdata|zoneinfo", text + lineage) and "timetzdata" not in everything:
            yield checked.say(
                Severity.WARNING,
                "zones-missing",
                f"{image.name} has no time zones, and the program loads some",
                at,
                "Build with -tags timetzdata, or COPY /usr/share/zoneinfo, or install tzdata.",
                "It fails with `unknown time zone`.",
            )


def _final_platform(checked: CheckedFile, last: Stage) -> Iterator[Finding]:
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


def _copied_from(checked: CheckedFile, last: Stage, building: Sequence[Stage]) -> Stage | None:
    """The stage that builds the program which the last one copies."""
    for one in last.instructions:
        if isinstance(one, Copy) and one.from_:
            stage = checked.parsed.find(one.from_, last.index)
            for ancestor in checked.lineage(stage) if stage else ():
                if ancestor in building:
                    return ancestor
    return None


def _libc(checked: CheckedFile, stage: Stage, last: Stage, image: BaseImage) -> Iterator[Finding]:
    """Whether the program of a stage finds its loader and libc in the last one."""
    text = "\n".join(
        command_of(one) or one.line.rest
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
    needs = checked.copied_needs(stage, last)
    uses = needs.cgo or (not cross and needs.libc_names)
    if not uses or "golang" not in base or (cross and "CGO_ENABLED=1" not in text):
        return
    libc = "musl" if musl else "glibc"
    build = next(one for one in stage.instructions if builds_go(one))
    at = checked.place(build.line.span, "go ")
    if image.libc != libc:
        line = checked.source.lines[at.line - 1]
        edit = None
        if not needs.cgo and isinstance(build, Run) and build.command.shell:
            match = BUILD.search(line)
            if match:
                edit = Edit(
                    checked.source.path, at.line, match.start(), match.start(), "CGO_ENABLED=0 "
                )
                at = Place(at.line, match.start() + 1)
        yield checked.say(
            Severity.ERROR,
            "cgo-runtime",
            f"linked with {libc} by cgo, and copied to {image.name}, which has "
            + ("no libc" if image.libc == "none" else image.libc),
            at,
            "Build with CGO_ENABLED=0."
            if not needs.cgo
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
