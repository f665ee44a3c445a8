"""`sampan go inspect`: what executables, cores and images are and where they run, without Go."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any, Final

from sampan.base.diagnostic import Diagnostic, Severity
from sampan.base.errors import InvalidError
from sampan.gobuild.core.binary import macho
from sampan.gobuild.core.binary.inspection import Inspection, inspect_binary
from sampan.gobuild.core.binary.report import compared, inspection_document, inspection_text
from sampan.gobuild.core.devices import DEVICES
from sampan.gobuild.core.dump.corefile import is_core, read_core
from sampan.gobuild.core.dump.report import core_document, core_text
from sampan.gobuild.core.dump.story import Story, told
from sampan.gobuild.core.image.claims import Verdict
from sampan.gobuild.core.image.report import image_document, image_text
from sampan.gobuild.core.sarif import sarif
from sampan.gobuild.shell.binaries import mapped
from sampan.gobuild.shell.disassembly import disassembled
from sampan.gobuild.shell.imagefiles import inspect_images

__all__ = ["main"]

_EXECUTABLES: Final = (b"\x7fELF", *macho.MAGICS, *macho.FAT_MAGICS)


class Verdicts(list[Verdict]):
    """All platforms of one image."""


def main(arguments: Sequence[str]) -> int:
    """Print what files contain; 1 when one has a fault or does not run on the device asked for."""
    parser = argparse.ArgumentParser(
        prog="sampan go inspect",
        description="Platform, level, cgo, libraries, Go version and settings of executables, "
        "and the devices and base images that run them; core files; and images: archives, "
        "layouts and references, each platform's programs against what its index claims.",
    )
    parser.add_argument("files", nargs="+", metavar="FILE|IMAGE")
    parser.add_argument("--compare", action="store_true", help="two files side by side")
    parser.add_argument("--on", metavar="DEVICE", help="fail unless it runs there")
    parser.add_argument("--format", choices=("text", "json", "sarif", "markdown"), default="text")
    flags = parser.parse_args(arguments)
    if flags.compare and len(flags.files) != 2:
        raise InvalidError("--compare takes two files")
    if flags.on and flags.on not in (names := [one.name for one in DEVICES]):
        raise InvalidError(f"no device {flags.on!r}: there are {', '.join(names)}")
    found: list[Inspection | Story | Verdicts] = []
    failed = 0
    with ExitStack() as stack:
        for path in flags.files:
            try:
                found += _read(path, stack)
            except InvalidError as error:
                print(f"sampan go inspect: {error}", file=sys.stderr)
                failed = 2
        if flags.compare:
            programs = [one for one in found if isinstance(one, Inspection)]
            if not failed and len(programs) < len(found):
                raise InvalidError("--compare takes programs")
            if not failed:
                print(compared(programs[0], programs[-1], flags.format == "markdown"))
            return failed
        print(_shown(found, flags.format))
    return failed or int(any(_faulty(one, flags.on) for one in found))


def _read(path: str, stack: ExitStack) -> Sequence[Inspection | Story | Verdicts]:
    if _looks_like_image(path):
        from sampan.cli.go_images import opened_images

        return [Verdicts(inspect_images(stack.enter_context(opened_images(path))))]
    data = stack.enter_context(mapped(path))
    if is_core(data):
        return [told(read_core(path, data), disassembler=disassembled)]
    return inspect_binary(path, data)


def _looks_like_image(path: str) -> bool:
    """Cheaply: what begins as an executable needs nothing of images."""
    if os.path.isfile(path):
        try:
            with open(path, "rb") as file:
                if file.read(4) in _EXECUTABLES:
                    return False
        except OSError:
            return False
    from sampan.cli.go_images import looks_like_image

    return looks_like_image(path)


def _shown(found: Sequence[Inspection | Story | Verdicts], form: str) -> str:
    if form == "json":
        return json.dumps([_document(one) for one in found], indent=1)
    if form == "sarif":
        return sarif([finding for one in found for finding in _findings(one)])
    return "\n\n".join(_text(one, form == "markdown") for one in found)


def _document(one: Inspection | Story | Verdicts) -> dict[str, Any]:
    if isinstance(one, Verdicts):
        return image_document(one)
    return core_document(one) if isinstance(one, Story) else inspection_document(one)


def _text(one: Inspection | Story | Verdicts, markdown: bool) -> str:
    if isinstance(one, Verdicts):
        return image_text(one, markdown)
    return core_text(one, markdown) if isinstance(one, Story) else inspection_text(one, markdown)


def _findings(one: Inspection | Story | Verdicts) -> Sequence[Diagnostic]:
    if isinstance(one, Verdicts):
        return [finding for verdict in one for finding in verdict.findings]
    return () if isinstance(one, Story) else one.findings


def _faulty(one: Inspection | Story | Verdicts, device: str | None) -> bool:
    if isinstance(one, Story):
        return bool(device)  # it has run on one, and runs on none again
    if isinstance(one, Verdicts):
        return _image_faulty(one, device)
    if device:
        verdict = next((v for v in one.devices if v.name == device), None)
        if verdict is None or not verdict.runs:
            reason = verdict.reason if verdict else f"does not run {one.goos}/{one.goarch}"
            print(f"{one.path}: {device}: {reason}", file=sys.stderr)
            return True
    return any(finding.severity is not Severity.NOTE for finding in _findings(one))


def _image_faulty(one: Verdicts, device: str | None) -> bool:
    started = [
        program.inspection for verdict in one for program in verdict.programs if program.main
    ]
    if device and not any(v.name == device and v.runs for p in started for v in p.devices):
        print(
            f"{device}: no platform of the image starts a Go program that runs there",
            file=sys.stderr,
        )
        return True
    return any(finding.severity is not Severity.NOTE for finding in _findings(one))
