"""`sampan go doc nocgo`: what the standard library does differently without cgo."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence

from sampan.gobuild.core.nocgo import Unread, nocgo_json, nocgo_text, uses
from sampan.gobuild.shell.modules import ModuleSources, module_cache
from sampan.gobuild.shell.project import read_project

__all__ = ["main"]


def main(arguments: Sequence[str]) -> int:
    """Print the differences, and which files of the project they concern."""
    parser = argparse.ArgumentParser(
        prog="sampan go doc",
        description="What the standard library does differently with CGO_ENABLED=0, the safe "
        "alternatives, and whether the project touches it, by itself or by what it imports: from "
        "vendor/ or the module cache, without Go.",
    )
    parser.add_argument("topic", choices=("nocgo",))
    parser.add_argument("directory", nargs="?", default=".")
    parser.add_argument("--format", choices=("text", "json", "markdown"), default="text")
    flags = parser.parse_args(arguments)
    project, _ = read_project(flags.directory)
    sources = ModuleSources(flags.directory, module_cache(os.environ))
    own = sources.own({one.path.rpartition("/")[0] for one in project.sources})
    found = uses(own, sources.load)
    unread = Unread(tuple(sources.missing), sources.complete)
    if flags.format == "json":
        print(nocgo_json(found, unread))
    else:
        print(nocgo_text(found, unread, flags.format == "markdown"))
    return 0
