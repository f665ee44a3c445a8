"""`sampan go targets`: the reference table, without Go."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from sampan.gobuild.core.platforms import Selection, parse_selection
from sampan.gobuild.core.table import rows
from sampan.gobuild.core.targetreport import targets_json, targets_text
from sampan.gobuild.shell.catalogue import release_named

__all__ = ["main"]


def main(arguments: Sequence[str]) -> int:
    """Print the table; see `--help`."""
    parser = argparse.ArgumentParser(
        prog="sampan go targets",
        description="Every GOOS, GOARCH, level and CGO_ENABLED: what compiles, what it needs, "
        "how it behaves, and where it runs.",
    )
    parser.add_argument("platform", nargs="?", default="", help="GOOS[/GOARCH[/LEVEL]]")
    parser.add_argument("--go", default="", metavar="VERSION", help="Go release, as 1.26")
    parser.add_argument("--cgo", choices=("0", "1"), help="rows of this CGO_ENABLED only")
    parser.add_argument("--all", action="store_true", help="every level of every platform")
    parser.add_argument("--format", choices=("text", "json", "markdown"), default="text")
    flags = parser.parse_args(arguments)
    cgo = None if flags.cgo is None else flags.cgo == "1"
    release = release_named(flags.go)
    wanted = parse_selection(flags.platform, cgo) if flags.platform else Selection(cgo=cgo)
    found = rows(release, wanted)
    if flags.format == "json":
        print(targets_json(release.version, found))
    else:
        single = bool(flags.all or wanted.goarch)
        print(targets_text(found, single, flags.format == "markdown"))
    return 0
