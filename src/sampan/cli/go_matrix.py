"""`sampan go matrix`: a workflow that builds the project's targets, or a look at one."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence

from sampan.base.diagnostic import Severity
from sampan.base.errors import InvalidError
from sampan.base.record import changed
from sampan.gobuild.core.buildplan import plan_cells, split_targets
from sampan.gobuild.core.check.gofiles import read_gomod, summed
from sampan.gobuild.core.check.project import check_project
from sampan.gobuild.core.check.report import findings_text
from sampan.gobuild.core.cimatrix import WorkflowOptions, github_workflow, gitlab_pipeline
from sampan.gobuild.shell.catalogue import release_named
from sampan.gobuild.shell.project import read_project

__all__ = ["main"]


def main(arguments: Sequence[str]) -> int:
    """Print a workflow; with `--verify` the findings in an existing one, 1 when there are some."""
    parser = argparse.ArgumentParser(
        prog="sampan go matrix",
        description="Write a GitHub Actions or GitLab CI matrix of targets that exist.",
    )
    parser.add_argument("--target", default="", metavar="LIST", help="linux/arm64,linux/arm/v7,...")
    parser.add_argument("--for", dest="service", choices=("github", "gitlab"), default="github")
    parser.add_argument("--cgo", choices=("auto", "off", "zig", "gcc"), default="auto")
    parser.add_argument("--prove", action="store_true", help="run each under QEMU")
    parser.add_argument("--provenance", action="store_true", help="attest (GitHub)")
    parser.add_argument("--name", default="app", help="of the files")
    parser.add_argument("--go", default="", metavar="VERSION", help="else go.mod's")
    parser.add_argument("--verify", metavar="FILE", help="check an existing workflow")
    flags = parser.parse_args(arguments)
    project, _ = read_project(".")
    written, _ = read_gomod(project.gomod)
    if flags.verify:
        wanted = os.path.relpath(flags.verify).replace(os.sep, "/")
        files = tuple(one for one in project.files if one.path == wanted)
        if not files:
            raise InvalidError(f"{flags.verify}: no workflow of this project")
        found = check_project(changed(project, files=files), release_named(flags.go))
        print(findings_text(found, False))
        return int(any(one.diagnostic.severity is not Severity.NOTE for one in found))
    targets = split_targets(flags.target)
    if not targets:
        raise InvalidError("no target: give --target linux/arm64,linux/arm/v7,...")
    needed = bool(summed(project.sources, project.gomod).cgo)
    mode = ("zig" if needed else "") if flags.cgo == "auto" else flags.cgo.replace("off", "")
    release = release_named(flags.go)
    cells = plan_cells(targets, flags.name, release, bool(mode))
    version = flags.go.removeprefix("go") or written or release.version
    options = WorkflowOptions(version, mode, flags.prove, flags.provenance)
    write = github_workflow if flags.service == "github" else gitlab_pipeline
    print(write(cells, options), end="")
    return 0
