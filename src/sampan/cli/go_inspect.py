"""`sampan go inspect`: what executables are and where they run, without Go."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from contextlib import ExitStack

from sampan.base.diagnostic import Severity
from sampan.base.errors import InvalidError
from sampan.gobuild.core.binary.inspection import Inspection
from sampan.gobuild.core.binary.report import compared, inspection_json, inspection_text
from sampan.gobuild.core.devices import DEVICES
from sampan.gobuild.core.sarif import sarif
from sampan.gobuild.shell.binaries import inspected

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
    found: list[Inspection] = []
    failed = 0
    with ExitStack() as stack:
        for path in flags.files:
            try:
                found += stack.enter_context(inspected(path))
            except InvalidError as error:
                print(f"sampan go inspect: {error}", file=sys.stderr)
                failed = 2
        if flags.compare:
            if not failed:
                print(compared(found[0], found[-1], flags.format == "markdown"))
            return failed
        print(_shown(found, flags.format))
    return failed or int(any(_faulty(one, flags.on) for one in found))


def _shown(found: Sequence[Inspection], form: str) -> str:
    if form == "json":
        return inspection_json(found)
    if form == "sarif":
        return sarif([finding for one in found for finding in one.findings])
    return "\n\n".join(inspection_text(one, form == "markdown") for one in found)


def _faulty(one: Inspection, device: str | None) -> bool:
    if device:
        verdict = next((v for v in one.devices if v.name == device), None)
        if verdict is None or not verdict.runs:
            reason = verdict.reason if verdict else f"does not run {one.goos}/{one.goarch}"
            print(f"{one.path}: {device}: {reason}", file=sys.stderr)
            return True
    return any(finding.severity is not Severity.NOTE for finding in one.findings)
