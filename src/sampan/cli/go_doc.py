"""`sampan go doc nocgo`: what the standard library does differently without cgo."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from sampan.gobuild.core.nocgo import nocgo_json, nocgo_text, uses
from sampan.gobuild.shell.project import read_project

__all__ = ["main"]


def main(arguments: Sequence[str]) -> int:
    """Print the differences, and which files of the project they concern."""
    parser = argparse.ArgumentParser(
        prog="sampan go doc",
        description="What the standard library does differently with CGO_ENABLED=0, the safe "
        "alternatives, and whether the project touches it by its imports.",
    )
    parser.add_argument("topic", choices=("nocgo",))
    parser.add_argument("directory", nargs="?", default=".")
    parser.add_argument("--format", choices=("text", "json", "markdown"), default="text")
    flags = parser.parse_args(arguments)
    project, _ = read_project(flags.directory)
    found = uses(project.sources)
    if flags.format == "json":
        print(nocgo_json(found))
    else:
        print(nocgo_text(found, flags.format == "markdown"))
    return 0
