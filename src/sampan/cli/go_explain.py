"""`sampan go explain`: from the words of a failure, or its core file, to the cause."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from contextlib import ExitStack

from sampan.gobuild.core.dump.corefile import is_core, read_core
from sampan.gobuild.core.dump.report import core_document, core_text
from sampan.gobuild.core.dump.story import Story, diagnosed, told
from sampan.gobuild.core.explain.diagnosis import Diagnosis, diagnose
from sampan.gobuild.core.explain.report import diagnosis_json, diagnosis_text
from sampan.gobuild.shell.binaries import inspected, mapped
from sampan.gobuild.shell.disassembly import disassembled
from sampan.gobuild.shell.logs import read_log

__all__ = ["main"]


def main(arguments: Sequence[str]) -> int:
    """Print the causes; 1 when the text does not decide."""
    parser = argparse.ArgumentParser(
        prog="sampan go explain",
        description="Find the cause of a failure in a log, a trace, kernel lines, the text of "
        "kubectl describe, or a core file.",
    )
    parser.add_argument("log", nargs="?", default="-", help="a file, or - for standard input")
    parser.add_argument(
        "--binary", metavar="FILE", help="the program, which confirms or contradicts"
    )
    parser.add_argument("--format", choices=("text", "json", "markdown"), default="text")
    flags = parser.parse_args(arguments)
    with ExitStack() as stack:
        binary = stack.enter_context(inspected(flags.binary))[0] if flags.binary else None
        if _holds_core(flags.log):
            data = stack.enter_context(mapped(flags.log))
            story = told(read_core(flags.log, data), binary, disassembled)
            return _shown(diagnosed(story, binary), flags.format, story)
        text = read_log(flags.log)
        return _shown(diagnose(text, binary, None, disassembled), flags.format)


def _holds_core(path: str) -> bool:
    """Whether a file is a core; what cannot be opened is refused by who reads it."""
    if path == "-" or not os.path.isfile(path):
        return False
    try:
        with open(path, "rb") as file:
            return is_core(file.read(18))
    except OSError:
        return False


def _shown(one: Diagnosis, form: str, story: Story | None = None) -> int:
    if form == "json":
        document = json.loads(diagnosis_json(one))
        if story:
            document["core"] = core_document(story)
        print(json.dumps(document, indent=1))
    else:
        if story:
            print(core_text(story, form == "markdown"), end="\n\n")
        print(diagnosis_text(one, form == "markdown"))
    return int(not one.known)
