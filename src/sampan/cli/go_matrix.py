"""`sampan go matrix`: a workflow that builds the project's targets, or a look at one."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Sequence

from sampan.base.diagnostic import Severity
from sampan.base.errors import InvalidError
from sampan.base.record import changed
from sampan.gobuild.core.buildplan import plan_cells, split_targets
from sampan.gobuild.core.check.modules import GoTree
from sampan.gobuild.core.check.project import Project, check_project
from sampan.gobuild.core.check.report import findings_text
from sampan.gobuild.core.cimatrix import (
    WorkflowOptions,
    expanded_targets,
    github_workflow,
    gitlab_pipeline,
    without_excluded,
)
from sampan.gobuild.core.civerify import verify_targets
from sampan.gobuild.core.modfile import read_modfile
from sampan.gobuild.core.table import Release
from sampan.gobuild.shell.catalogue import release_named
from sampan.gobuild.shell.project import read_project

__all__ = ["main"]


def main(arguments: Sequence[str]) -> int:
    """Print a workflow; with `--verify` the findings in an existing one, 1 when there are some."""
    flags = _parser().parse_args(arguments)
    project, _ = read_project(".")
    if flags.verify:
        return _verified(project, flags)
    print(_written(project, flags), end="")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="sampan go matrix",
        description="Write a GitHub Actions or GitLab CI matrix of targets that exist. Lists have "
        "commas; in patterns, * and ? stand for parts of a name, and what is not written is any.",
    )
    parser.add_argument("--target", default="", metavar="LIST", help="linux/arm64,linux/arm/v7,...")
    parser.add_argument("--include", default="", metavar="LIST", help="patterns of further targets")
    parser.add_argument("--exclude", default="", metavar="LIST", help="patterns to leave out")
    parser.add_argument(
        "--allow", default="", metavar="LIST", help="what a manual run may ask for besides"
    )
    parser.add_argument("--for", dest="service", choices=("github", "gitlab"), default="github")
    parser.add_argument("--cgo", choices=("auto", "off", "zig", "gcc"), default="auto")
    parser.add_argument("--prove", action="store_true", help="run each under QEMU")
    parser.add_argument("--provenance", action="store_true", help="attest what is built")
    parser.add_argument("--name", default="app", help="of the files")
    parser.add_argument("--go", default="", metavar="VERSION", help="else go.mod's")
    parser.add_argument(
        "--verify", metavar="FILE", help="check an existing workflow, and compare it with --target"
    )
    return parser


def _verified(project: Project, flags: argparse.Namespace) -> int:
    wanted = os.path.relpath(flags.verify).replace(os.sep, "/")
    files = tuple(one for one in project.files if one.path == wanted)
    if not files:
        raise InvalidError(f"{flags.verify}: no workflow of this project")
    release = release_named(flags.go)
    found = check_project(changed(project, files=files), release)
    places = {(one.diagnostic.span.line, one.diagnostic.span.column) for one in found}
    targets = _targets(flags, release, _compiler(project, flags))
    # What cannot exist may have been found by its values already.
    found += verify_targets(files[0], targets, release, places)
    found.sort(key=lambda one: (one.diagnostic.span, one.diagnostic.rule))
    print(findings_text(found, False))
    return int(any(one.diagnostic.severity is not Severity.NOTE for one in found))


def _compiler(project: Project, flags: argparse.Namespace) -> str:
    """Return the C toolchain of the cells: `zig`, `gcc` or empty."""
    mode: str = flags.cgo
    if mode != "auto":
        return mode.replace("off", "")
    # Each job builds the package of the root.
    return "zig" if GoTree(project.sources, project.modules).needs("", (".",)).cgo else ""


def _targets(flags: argparse.Namespace, release: Release, compiler: str) -> list[str]:
    targets = split_targets(flags.target)
    targets += expanded_targets(split_targets(flags.include), release, compiler)
    if targets and (excluded := split_targets(flags.exclude)):
        return without_excluded(targets, excluded)
    return targets


def _written(project: Project, flags: argparse.Namespace) -> str:
    compiler = _compiler(project, flags)
    release = release_named(flags.go)
    version = flags.go.removeprefix("go") or read_modfile(project.gomod).go or release.version
    for name, value in (("--name", flags.name), ("--go", version)):
        if not re.fullmatch(r"\w[\w.-]*", value, re.ASCII):
            raise InvalidError(f"{name} {value!r}: letters, digits, dots and dashes are allowed")
    targets = _targets(flags, release, compiler)
    if not targets:
        raise InvalidError("no target: give --target linux/arm64,linux/arm/v7,...")
    cgo = bool(compiler)
    default = tuple(one.platform for one in plan_cells(targets, flags.name, release, cgo))
    allowed = expanded_targets(split_targets(flags.allow), release, compiler)
    cells = plan_cells([*targets, *allowed], flags.name, release, cgo)
    options = WorkflowOptions(version, compiler, flags.prove, flags.provenance, default)
    write = github_workflow if flags.service == "github" else gitlab_pipeline
    return write(cells, options)
