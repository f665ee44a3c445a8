"""`sampan go build`: a matrix of targets, each validated, built, inspected and, if wanted, run."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from typing import Any

from sampan.base.errors import InvalidError
from sampan.gobuild.core.buildplan import CGO_MODES, plan_cells, split_targets
from sampan.gobuild.core.check.modules import GoTree
from sampan.gobuild.core.explain.report import diagnosis_text
from sampan.gobuild.core.modfile import read_modfile
from sampan.gobuild.shell.building import Built, Matrix, build_matrix, cgo_compiler
from sampan.gobuild.shell.catalogue import release_named
from sampan.gobuild.shell.project import read_project

__all__ = ["main"]


def main(arguments: Sequence[str]) -> int:
    """Build the matrix; 1 when a cell failed, is not as asked for, or did not run well."""
    flags = _parser().parse_args(arguments)
    project, _ = read_project(".")
    needs = GoTree(project.sources, project.modules).needs("", (flags.package,))
    compiler = cgo_compiler(flags.cgo, bool(needs.cgo))
    targets = split_targets(flags.target)
    if not targets:
        raise InvalidError("no target: give --target linux/arm64,linux/arm/v7,...")
    name = flags.name or _name(flags.package, project.gomod)
    cells = plan_cells(targets, name, release_named(flags.go), bool(compiler))
    extra = [*(["-trimpath"] if flags.trimpath else []), *(f"-tags={t}" for t in [flags.tags] if t)]
    matrix = Matrix(
        flags.package, flags.output, tuple(cells), compiler, flags.glibc, tuple(extra), flags.prove
    )
    if compiler:
        print(f"cgo by {compiler}: {needs.cgo or 'asked for'}", file=sys.stderr)
    results = build_matrix(
        matrix,
        flags.jobs,
        lambda built: print(_line(built), file=sys.stderr),
        lambda cell, step: print(f"  ...  {cell.platform}: {step}", file=sys.stderr),
    )
    if flags.format == "json":
        print(json.dumps([_document(one) for one in results], indent=1))
    return int(not all(one.fine for one in results))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="sampan go build",
        description="Cross-build the package for several targets, and look at what came out.",
    )
    parser.add_argument("package", nargs="?", default=".")
    parser.add_argument("--target", default="", metavar="LIST", help="linux/arm64,linux/arm/v7,...")
    parser.add_argument("--cgo", choices=CGO_MODES, default="auto", help="auto: when it is needed")
    parser.add_argument("--glibc", default="", metavar="VERSION", help="floor for zig, not musl")
    parser.add_argument("--prove", action="store_true", help="run each on its oldest device")
    parser.add_argument("--output", default="dist", metavar="DIR")
    parser.add_argument("--name", default="", help="of the files; the package's by default")
    parser.add_argument("--jobs", type=int, default=max(1, (os.cpu_count() or 2) // 2))
    parser.add_argument("--tags", default="", help="passed to go build")
    parser.add_argument("--no-trimpath", dest="trimpath", action="store_false")
    parser.add_argument("--go", default="", metavar="VERSION", help="release of the table")
    parser.add_argument("--format", choices=("text", "json"), default="text")
    return parser


def _name(package: str, gomod: str) -> str:
    if package not in (".", "./"):
        return package.rstrip("/").rpartition("/")[2]
    return read_modfile(gomod).module.rpartition("/")[2] or "app"


def _line(one: Built) -> str:
    if not one.problems:
        text = f"built  {one.cell.platform}: {one.path} ({one.facts})"
    else:
        text = f"FAILED {one.cell.platform}: {'; '.join(one.problems)}"
        text += "".join(f"\n  | {line}" for line in one.output.splitlines()[-10:])
    if one.proof:
        how = "runs" if one.proof.fine else f"{one.proof.outcome} {one.proof.signal}"
        text += f"; {how} on {one.proof.device} ({one.proof.model.processor})"
    diagnosis = one.diagnosis or (one.proof.diagnosis if one.proof else None)
    if diagnosis and diagnosis.causes:
        text += "\n" + diagnosis_text(diagnosis, False)
    return text


def _document(one: Built) -> dict[str, Any]:
    return {
        "target": one.cell.platform,
        "file": one.path,
        "fine": one.fine,
        "problems": one.problems,
        "facts": one.facts,
        "proved_on": one.proof.device if one.proof else None,
        "outcome": one.proof.outcome if one.proof else None,
    }
