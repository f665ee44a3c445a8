"""`sampan go inspect`: what executables are and where they run, without Go."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

from sampan.base.diagnostic import Severity
from sampan.base.errors import InvalidError
from sampan.gobuild.core.binary.inspection import Inspection, inspect_binary
from sampan.gobuild.core.binary.report import compared, inspection_document, inspection_text
from sampan.gobuild.core.devices import DEVICES
from sampan.gobuild.core.dump.corefile import is_core, read_core
from sampan.gobuild.core.dump.report import core_document, core_text
from sampan.gobuild.core.dump.story import Story, told
from sampan.gobuild.core.sarif import sarif
from sampan.gobuild.shell.binaries import mapped
from sampan.gobuild.shell.disassembly import disassembled

__all__ = ["main"]


def main(arguments: Sequence[str]) -> int:
    """Print what files contain; 1 when one has a fault or does not run on the device asked for."""
    parser = argparse.ArgumentParser(
        prog="sampan go inspect",
        description="Platform, level, cgo, libraries, Go version and settings of executables, "
        "and the devices and base images that run them.",
    )
    parser.add_argument("files", nargs="+", metavar="FILE")
    parser.add_argument("--compare", action="store_true", help="two files side by side")
    parser.add_argument("--on", metavar="DEVICE", help="fail unless it runs there")
    parser.add_argument("--format", choices=("text", "json", "sarif", "markdown"), default="text")
    flags = parser.parse_args(arguments)
    if flags.compare and len(flags.files) != 2:
        raise InvalidError("--compare takes two files")
    if flags.on and flags.on not in (names := [one.name for one in DEVICES]):
        raise InvalidError(f"no device {flags.on!r}: there are {', '.join(names)}")
    found: list[Inspection | Story] = []
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


def _read(path: str, stack: ExitStack) -> Sequence[Inspection | Story]:
    data = stack.enter_context(mapped(path))
    if is_core(data):
        return [told(read_core(path, data), disassembler=disassembled)]
    return inspect_binary(path, data)


def _shown(found: Sequence[Inspection | Story], form: str) -> str:
    if form == "json":
        return json.dumps([_document(one) for one in found], indent=1)
    if form == "sarif":
        return sarif([f for one in found if isinstance(one, Inspection) for f in one.findings])
    return "\n\n".join(_text(one, form == "markdown") for one in found)


def _document(one: Inspection | Story) -> dict[str, Any]:
    return core_document(one) if isinstance(one, Story) else inspection_document(one)


def _text(one: Inspection | Story, markdown: bool) -> str:
    return core_text(one, markdown) if isinstance(one, Story) else inspection_text(one, markdown)


def _faulty(one: Inspection | Story, device: str | None) -> bool:
    if isinstance(one, Story):
        return bool(device)  # it has run on one, and runs on none again
    if device:
        verdict = next((v for v in one.devices if v.name == device), None)
        if verdict is None or not verdict.runs:
            reason = verdict.reason if verdict else f"does not run {one.goos}/{one.goarch}"
            print(f"{one.path}: {device}: {reason}", file=sys.stderr)
            return True
    return any(finding.severity is not Severity.NOTE for finding in one.findings)
