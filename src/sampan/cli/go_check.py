"""`sampan go check`: what in a project cannot work or will surprise on another machine."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from sampan.base.diagnostic import Severity
from sampan.base.record import changed
from sampan.gobuild.core.check.finding import Finding, edited, shown_diff
from sampan.gobuild.core.check.project import check_project
from sampan.gobuild.core.check.report import findings_json, findings_text
from sampan.gobuild.core.sarif import sarif
from sampan.gobuild.shell.catalogue import release_named
from sampan.gobuild.shell.project import environment_file, read_project, replace_files

__all__ = ["main"]


def main(arguments: Sequence[str]) -> int:
    """Print the findings; 1 when there are errors or warnings, notes alone are no failure."""
    parser = argparse.ArgumentParser(
        prog="sampan go check",
        description="Read go.mod, sources, Makefiles, Dockerfiles, CI files, goreleaser and "
        "Kubernetes manifests, and report what is lost between the target and the program.",
    )
    parser.add_argument("directory", nargs="?", default=".")
    parser.add_argument("--go", default="", metavar="VERSION", help="Go release, as 1.26")
    parser.add_argument("--fix", action="store_true", help="apply the safe repairs, show them")
    parser.add_argument("--diff", action="store_true", help="show the safe repairs only")
    parser.add_argument("--format", choices=("text", "json", "sarif", "markdown"), default="text")
    flags = parser.parse_args(arguments)
    release = release_named(flags.go)
    project, unread = read_project(flags.directory)
    if environment := environment_file(os.environ):
        project = changed(project, files=(*project.files, environment))
    found = check_project(project, release)
    for name in unread:
        print(f"sampan go check: {name}: not read: unreadable or too large", file=sys.stderr)
    if flags.fix or flags.diff:
        files = {source.path: source for source in project.files}
        texts = edited(files, [one for one in found if one.diagnostic.span.file != "environment"])
        print(shown_diff(files, texts), end="")
        if flags.diff:
            return int(bool(texts))
        replace_files(flags.directory, texts)
        found = [one for one in found if one.edit is None]
    print(_shown(found, flags.format))
    return int(any(one.diagnostic.severity is not Severity.NOTE for one in found))


def _shown(found: Sequence[Finding], form: str) -> str:
    if form == "json":
        return findings_json(found)
    if form == "sarif":
        return sarif([one.diagnostic for one in found])
    return findings_text(found, form == "markdown")
