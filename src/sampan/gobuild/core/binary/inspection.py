"""All that is known of a program, put together: headers, build info, code, and where it runs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from sampan.base.diagnostic import Diagnostic, Severity, Span
from sampan.base.record import changed, record
from sampan.gobuild.core.baseimages import BASE_IMAGES, image_refusal, version_key
from sampan.gobuild.core.binary import elf, macho, pe
from sampan.gobuild.core.binary.buildinfo import BuildInfo, read_buildinfo
from sampan.gobuild.core.binary.codelevel import CodeLevel, code_level
from sampan.gobuild.core.binary.executable import Executable
from sampan.gobuild.core.binary.window import BinaryError, Buffer, Window
from sampan.gobuild.core.devices import DEVICES, refusal
from sampan.gobuild.core.levels import LEVELS, level_problem

__all__ = ["Inspection", "Verdict", "inspect_binary"]

_LIBC_CALLS: Final = ("getaddrinfo", "getpwuid_r", "getpwnam_r", "getgrouplist", "res_search")
_CGO_MARKS: Final = (b"_Cfunc_", b"_C2func_", b"x_cgo_init")
_UPX_WITHIN: Final = 8192


@record
class Verdict:
    """Whether a program runs on a device or in an image, and why not."""

    name: str
    runs: bool
    reason: str = ""


@record
class Inspection:
    """One program of a file. `level` is what the code needs, as far as it can be told."""

    path: str
    executable: Executable
    build: BuildInfo | None
    goos: str
    goarch: str
    variable: str
    recorded_level: str
    level: CodeLevel
    cgo: str
    cgo_evidence: tuple[str, ...]
    linking: str
    glibc: str
    packed: bool
    devices: tuple[Verdict, ...]
    images: tuple[Verdict, ...]
    findings: tuple[Diagnostic, ...]


def inspect_binary(path: str, data: Buffer) -> list[Inspection]:
    """Return what a file contains, a universal binary one entry an architecture.

    BinaryError when it is no executable or damaged.
    """
    window = Window(data)
    magic = window.take(0, 4)
    if magic in macho.FAT_MAGICS:
        return [_inspect(path, macho.read_macho(part)) for part in macho.slices(window)]
    if magic == elf.MAGIC:
        return [_inspect(path, elf.read_elf(window))]
    if magic in macho.MAGICS:
        return [_inspect(path, macho.read_macho(window))]
    if magic[:2] == pe.MAGIC:
        return [_inspect(path, pe.read_pe(window))]
    what = "empty" if not magic else "a script" if magic[:2] == b"#!" else "of an unknown format"
    raise BinaryError(f"the file is {what}: no ELF, PE or Mach-O")


def _inspect(path: str, file: Executable) -> Inspection:
    build = read_buildinfo(file)
    goos = (build.setting("GOOS") if build else "") or file.goos
    known = LEVELS.get(file.goarch)
    recorded = (build.setting(known.variable) or "") if known and build else ""
    # Without build info it may be C, of which the runtime's marks say nothing.
    level = code_level(file) if build else CodeLevel("", "unknown")
    if known and build and level.sure == "unknown":
        fine = not recorded or level_problem(file.goarch, recorded) is None
        level = CodeLevel(
            (recorded or known.default) if fine else known.default,
            "recorded" if fine and recorded else "unknown",
            (f"the build info says {known.variable}={recorded}",) if recorded else (),
        )
    elif recorded and level_problem(file.goarch, recorded) is None:
        level = _refined(file.goarch, recorded, level)
    cgo, evidence = _cgo(file, build)
    glibc = max(
        (text[6:] for text in file.versions if re.fullmatch(r"GLIBC_\d[\d.]*", text)),
        key=version_key,
        default="",
    )
    dynamic = bool(file.interpreter or file.needed)
    packed = build is None and 0 <= file.window.find(b"UPX!", 0, _UPX_WITHIN)
    made = Inspection(
        path,
        file,
        build,
        goos,
        file.goarch,
        known.variable if known else "",
        recorded,
        level,
        cgo,
        evidence,
        "dynamic" if dynamic else "static",
        glibc,
        packed,
        tuple(_devices(file, goos, level.level)),
        tuple(_images(file, goos, glibc)),
        (),
    )
    return _with_findings(made)


def _refined(goarch: str, recorded: str, seen: CodeLevel) -> CodeLevel:
    """The recorded level where the code agrees: LSE says v8.1 as well as v8.2."""
    if goarch == "arm64":
        from_lse = "lse" in seen.level
        wants = recorded.startswith("v9") or "lse" in recorded or recorded[:4] > "v8.0"
        agrees = from_lse == wants
    elif goarch == "riscv64":
        agrees = (recorded == "rva20u64") == (seen.level == "rva20u64")
    else:
        agrees = recorded.split(",")[0] == seen.level.split(",")[0]
    if not agrees:
        return seen
    sure = "certain" if seen.sure == "certain" else "likely"
    return CodeLevel(recorded, sure, (*seen.evidence, "the build info agrees"))


def _cgo(file: Executable, build: BuildInfo | None) -> tuple[str, tuple[str, ...]]:
    """`yes`, `no` or `unknown`, by what is linked and not by what was set."""
    evidence = [
        f"symbol {mark.decode()} at {at:#x}" for mark in _CGO_MARKS if (at := file.find(mark)) >= 0
    ]
    if file.format == "ELF":
        if file.interpreter:
            evidence.append(f"interpreter {file.interpreter}")
        evidence += [f"needs {name}" for name in file.needed]
        evidence += [f"imports {name}" for name in _LIBC_CALLS if name in file.imports]
    if build is None and not evidence:
        return "unknown", ()
    setting = build.setting("CGO_ENABLED") if build else None
    marked = any(one.startswith("symbol") for one in evidence)
    linked = file.format == "ELF" and bool(file.interpreter or file.needed)
    if file.goos in ("openbsd", "solaris", "android") or file.format != "ELF":
        linked = False
    if setting == "0" and not marked:
        return "no", (*evidence, "the build info says CGO_ENABLED=0")
    if marked or linked:
        return "yes", tuple(evidence)
    if setting == "1":
        evidence.append("CGO_ENABLED=1 was set, but nothing of C is in the program")
    return "no", tuple(evidence)


def _devices(file: Executable, goos: str, level: str) -> Iterator[Verdict]:
    for device in DEVICES:
        if goos not in device.systems or file.goarch not in device.levels:
            continue
        reason = refusal(device, goos, file.goarch, level)
        page = device.page_kib * 1024
        if reason is None and file.format == "ELF" and 0 < file.alignment < page:
            if file.goarch == "arm64":
                reason = (
                    f"segments aligned to {file.alignment} bytes do not load on its kernels with "
                    f"pages of {device.page_kib} KiB"
                )
        yield Verdict(device.name, reason is None, reason or "")


def _images(file: Executable, goos: str, glibc: str) -> Iterator[Verdict]:
    if goos != "linux" or file.format != "ELF":
        return
    for image in BASE_IMAGES:
        reason = image_refusal(image, file.interpreter, file.needed, glibc)
        yield Verdict(image.name, reason is None, reason or "")


def _with_findings(one: Inspection) -> Inspection:
    return changed(one, findings=tuple(_findings(one)))


def _findings(one: Inspection) -> Iterator[Diagnostic]:
    def made(severity: Severity, rule: str, summary: str, detail: str) -> Diagnostic:
        return Diagnostic(severity, rule, summary, Span(one.path, 1), detail)

    if one.recorded_level:
        if problem := level_problem(one.goarch, one.recorded_level):
            yield made(
                Severity.ERROR,
                "level-invalid",
                f"the recorded level is none: {problem}",
                f"Go built it without a word; the code is {one.variable}={one.level.level}. "
                "Set a level that exists.",
            )
        elif (
            one.level.sure == "certain"
            and one.recorded_level.split(",")[0] != (one.level.level.split(",")[0])
        ):
            yield made(
                Severity.WARNING,
                "level-differs",
                f"the build info says {one.variable}={one.recorded_level}, "
                f"the code is {one.level.level}",
                "; ".join(one.level.evidence),
            )
    for key, recorded, told in _claims(one):
        if recorded and told and recorded != told:
            yield made(
                Severity.ERROR,
                "platform-differs",
                f"the build info says {key}={recorded}, the file is for {told}",
                "The file was changed after it was built, or is damaged.",
            )
    if one.packed:
        yield made(
            Severity.WARNING,
            "packed",
            "packed with UPX: nothing can be said of the program inside",
            "UPX aligns segments to 4 KiB, so it does not load on kernels with larger pages. "
            "Unpack it with `upx -d`, or do not pack it.",
        )
    if one.goarch == "arm64" and one.executable.format == "ELF":
        if 0 < one.executable.alignment < 0x10000 and one.goos in ("linux", ""):
            yield made(
                Severity.WARNING,
                "small-pages",
                f"segments are aligned to {one.executable.alignment} bytes: it does not load on "
                "kernels with larger pages",
                "Many arm64 servers have pages of 64 KiB, a Raspberry Pi 5 of 16 KiB. "
                "Go aligns to 64 KiB by itself: drop -R from -ldflags, "
                "-z max-page-size from the linker's flags, and UPX.",
            )


def _claims(one: Inspection) -> Iterator[tuple[str, str, str]]:
    """What was recorded and what the headers tell; illumos and others look like their parents."""
    if one.build is None:
        return
    file = one.executable
    yield "GOARCH", one.build.setting("GOARCH") or "", file.goarch
    goos = one.build.setting("GOOS") or ""
    if goos not in ("illumos", "android", "ios"):
        yield "GOOS", goos, file.goos
