"""What an index and a configuration claim of an image, against the programs that are in it."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from sampan.base.diagnostic import Diagnostic, Severity, Span
from sampan.base.record import record
from sampan.gobuild.core.baseimages import version_key
from sampan.gobuild.core.binary.inspection import Inspection
from sampan.gobuild.core.image.tree import Node, Tree
from sampan.gobuild.core.levels import LEVELS, arm64_version

__all__ = ["Claim", "Program", "Verdict", "command_paths", "judged", "libc_of"]

_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_LOADERS: Final = re.compile(r"ld-musl-[^/]+\.so\.1|ld-linux[^/]*\.so\.\d|ld64\.so\.\d|ld\.so\.1")
_LIBRARIES: Final = re.compile(r"(?:usr/)?(?:local/)?lib[^/]*/(?:[^/]+/)?[^/]+")


@record
class Claim:
    """A platform by its parts; empty when the document does not say."""

    os: str
    architecture: str
    variant: str = ""

    def __str__(self) -> str:
        return "/".join(one for one in (self.os, self.architecture, self.variant) if one) or "none"


@record
class Program:
    """A Go program of an image; `main` when it is what a container starts."""

    path: str
    inspection: Inspection
    size_bytes: int
    main: bool = False


@record
class Verdict:
    """One platform of an image with its programs and what is wrong with it.

    `index` is None when no index says anything of it. `main` is the file that is started, and
    what it is.
    """

    name: str
    index: Claim | None
    config: Claim
    command: tuple[str, ...]
    main: str
    libc: str
    programs: tuple[Program, ...]
    findings: tuple[Diagnostic, ...]


def command_paths(config: Mapping[str, Any], tree: Tree) -> tuple[tuple[str, ...], list[str]]:
    """Return what a container starts, and where that may be in the image."""
    words = [*_words(config, "Entrypoint"), *_words(config, "Cmd")]
    if not words:
        return (), []
    first = words[0]
    if "/" in first:
        folder = str(config.get("WorkingDir") or "/")
        return tuple(words), [posixpath.join(folder, first)]
    path = next((one[5:] for one in _words(config, "Env") if one.startswith("PATH=")), _PATH)
    return tuple(words), [f"{folder}/{first}" for folder in path.split(":") if folder]


def _words(config: Mapping[str, Any], key: str) -> list[str]:
    found = config.get(key)
    return [str(word) for word in found] if isinstance(found, list) else []


def libc_of(tree: Tree) -> str:
    """Return `glibc`, `musl` or `none` by the loaders that are there."""
    names = {path.rpartition("/")[2] for path, _ in tree.files()}
    loaders = {one for one in names if _LOADERS.fullmatch(one)}
    if any("musl" in one for one in loaders):
        return "musl"
    return "glibc" if loaders else "none"


def judged(
    name: str,
    index: Claim | None,
    document: Mapping[str, Any],
    tree: Tree,
    programs: Sequence[Program],
    glibc: str,
) -> Verdict:
    """Return the verdict on one platform. `glibc` is the version that is there, empty without."""
    config = Claim(*(str(document.get(key) or "") for key in ("os", "architecture", "variant")))
    run = document.get("config")
    command, places = command_paths(run if isinstance(run, Mapping) else {}, tree)
    main = next((found for one in places if (found := tree.resolve(one))), None)
    libc = libc_of(tree)
    findings = [
        *_documents(name, index, config),
        *_command(name, index or config, command, main),
        *(f for one in programs for f in _program(name, index or config, one, tree, libc, glibc)),
        *(f for one in programs for f in one.inspection.findings),
    ]
    shown = f"{libc} {glibc}".strip() if libc == "glibc" else libc
    return Verdict(
        name,
        index,
        config,
        command,
        _described(main) if command else "",
        shown,
        tuple(programs),
        tuple(findings),
    )


def _made(severity: Severity, rule: str, name: str, summary: str, detail: str) -> Diagnostic:
    return Diagnostic(severity, rule, summary, Span(name, 1), detail)


def _described(main: tuple[str, Node] | None) -> str:
    if main is None:
        return "not in the image"
    path, node = main
    kind = f"{node.format} for {node.goarch}" if node.goarch else node.format or "a file"
    return f"/{path} ({kind}{', Go' if node.go else ''})"


def _usual(one: Claim) -> Claim:
    """A platform whose usual variant is left out."""
    usual = {"arm64": "v8", "amd64": "v1", "arm": "v7"}.get(one.architecture)
    return Claim(one.os, one.architecture, "" if one.variant == usual else one.variant)


def _documents(name: str, index: Claim | None, config: Claim) -> Iterator[Diagnostic]:
    if index is not None and _usual(index) != _usual(config):
        yield _made(
            Severity.ERROR,
            "image-config",
            name,
            f"the index says {index}, the configuration says {config}",
            "Engines choose by the index, and some refuse what its configuration contradicts.",
        )


def _command(
    name: str, claim: Claim, command: tuple[str, ...], main: tuple[str, Node] | None
) -> Iterator[Diagnostic]:
    if command and main is None:
        yield _made(
            Severity.ERROR,
            "command-missing",
            name,
            f"{claim}: {command[0]} is not in the image",
            "A container of it does not start. A link may lead nowhere, or a stage was not copied.",
        )
    elif main and main[1].goarch and not main[1].go and main[1].goarch != claim.architecture:
        yield _made(
            Severity.ERROR,
            "image-architecture",
            name,
            f"{claim}: /{main[0]} is for {main[1].goarch}",
            "It ends with `exec format error` on the platform that the image claims.",
        )


def _program(
    name: str, claim: Claim, one: Program, tree: Tree, libc: str, glibc: str
) -> Iterator[Diagnostic]:
    seen, where = one.inspection, f"{claim}: /{one.path}"
    if seen.goarch != claim.architecture or (seen.goos and seen.goos != claim.os):
        yield _made(
            Severity.ERROR,
            "image-architecture" if seen.goarch != claim.architecture else "image-system",
            name,
            f"{where} is for {seen.goos or 'unknown'}/{seen.goarch}",
            "It ends with `exec format error` on the platform that the image claims: TARGETOS and "
            "TARGETARCH did not reach the compiler.",
        )
        return
    if why := _above(claim, seen):
        yield _made(
            Severity.ERROR if claim.architecture == "arm" else Severity.WARNING,
            "image-variant",
            name,
            f"{where} {why}",
            "The platform promises that it runs on older machines, where it dies of an illegal "
            "instruction. Lower the level, or say the variant in the index.",
        )
    yield from _linked(name, where, seen, tree, libc, glibc)


def _above(claim: Claim, seen: Inspection) -> str:
    """Why the code needs more than the variant has; empty when it does not."""
    known = LEVELS.get(seen.goarch)
    level = seen.level.level
    if known is None or not level or seen.level.sure == "unknown":
        return ""
    has, needs = claim.variant or {"arm": "v7"}.get(seen.goarch, ""), level.split(",")[0]
    if seen.goarch == "arm":
        above = int(needs) > int(has[1:]) if has[1:].isdigit() else False
    elif seen.goarch == "amd64":
        above = needs > (has or "v1")
    elif seen.goarch == "arm64":
        above = arm64_version(needs) > arm64_version(has if "." in has else "v8.0")
        above = above or ("lse" in level and "." not in has)
    else:
        return ""
    return f"is of {known.variable}={level}, above {claim}" if above else ""


def _linked(
    name: str, where: str, seen: Inspection, tree: Tree, libc: str, glibc: str
) -> Iterator[Diagnostic]:
    file = seen.executable
    if file.format != "ELF" or not (file.interpreter or file.needed):
        return
    if file.interpreter and tree.resolve(file.interpreter) is None:
        yield _made(
            Severity.ERROR,
            "loader-missing",
            name,
            f"{where} asks for {file.interpreter}, which is not in the image (libc: {libc})",
            "A container says `no such file or directory`. Build with CGO_ENABLED=0, or "
            "statically, or use a base image with this libc.",
        )
        return
    there = {path.rpartition("/")[2] for path, _ in tree.files() if _LIBRARIES.fullmatch(path)}
    if missing := [one for one in file.needed if one not in there]:
        yield _made(
            Severity.WARNING,
            "library-missing",
            name,
            f"{where} needs {', '.join(missing)}, not in the library directories of the image",
            "Install the packages that have them in the last stage.",
        )
    if seen.glibc and glibc and version_key(glibc) < version_key(seen.glibc):
        yield _made(
            Severity.ERROR,
            "glibc-older",
            name,
            f"{where} needs glibc {seen.glibc}, the image has {glibc}",
            "Build on a base that is as old as the last stage, or with zig for an older glibc.",
        )
