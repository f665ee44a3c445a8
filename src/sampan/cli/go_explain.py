"""`sampan go explain`: from the words of a failure to its cause."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from sampan.gobuild.core.explain.diagnosis import Diagnosis, diagnose
from sampan.gobuild.core.explain.report import diagnosis_json, diagnosis_text
from sampan.gobuild.shell.binaries import inspected
from sampan.gobuild.shell.disassembly import disassembled
from sampan.gobuild.shell.logs import read_log

__all__ = ["main"]


def main(arguments: Sequence[str]) -> int:
    """Print the causes; 1 when the text does not decide."""
    parser = argparse.ArgumentParser(
        prog="sampan go explain",
        description="Find the cause of a failure in a log, a trace, kernel lines or the text of "
        "kubectl describe.",
    )
    parser.add_argument("log", nargs="?", default="-", help="a file, or - for standard input")
    parser.add_argument(
        "--binary", metavar="FILE", help="the program, which confirms or contradicts"
    )
    parser.add_argument("--format", choices=("text", "json", "markdown"), default="text")
    flags = parser.parse_args(arguments)
    text = read_log(flags.log)
    if flags.binary:
        with inspected(flags.binary) as found:
            return _shown(diagnose(text, found[0], None, disassembled), flags.format)
    return _shown(diagnose(text, disassembler=disassembled), flags.format)


def _shown(one: Diagnosis, form: str) -> int:
    print(diagnosis_json(one) if form == "json" else diagnosis_text(one, form == "markdown"))
    return int(not one.known)
