"""An existing workflow against the targets that it should build."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

from sampan.base.diagnostic import Severity
from sampan.base.errors import InvalidError
from sampan.gobuild.core.check.finding import Finding, SourceFile, finding
from sampan.gobuild.core.citargets import AskedTarget, Place, workflow_targets
from sampan.gobuild.core.platforms import parse_selection
from sampan.gobuild.core.table import Release, rows
from sampan.gobuild.core.yamlnodes import Node, documents

__all__ = ["verify_targets"]

_PATHS: Final = (("strategy", "matrix"), ("parallel", "matrix"), ("jobs",))


def verify_targets(
    source: SourceFile, wanted: Sequence[str], release: Release, known: Collection[Place] = ()
) -> list[Finding]:
    """Return which targets of a workflow cannot exist, and how it differs from those wanted.

    Without wanted ones nothing is compared. What cannot exist is not said again where `known`
    places (line and column) are part of it. InvalidError when the file is no YAML, or a wanted
    target cannot exist.
    """
    read = documents(source.text)
    found: list[Finding] = []
    expected = {_exact(one, release): one for one in wanted}
    built: set[str] = set()
    workflow = workflow_targets(source, read, release)
    for one in workflow.asked:
        try:
            exact = _exact(one.target, release)
        except InvalidError as error:
            if not set(one.places) & set(known):
                found.append(_impossible(source, one, str(error)))
            continue
        built.add(exact)
        if expected and exact not in expected:
            found.append(_extra(source, one))
    if not expected:
        return found
    found += [_unread(source, place) for place in workflow.unread]
    place = _matrix_place(read)
    found += [
        _missing(source, name, place) for exact, name in expected.items() if exact not in built
    ]
    return found


def _exact(target: str, release: Release) -> str:
    """Return a target with its level; InvalidError when it cannot exist."""
    selection = parse_selection(target)
    if not selection.goos or not selection.goarch:
        raise InvalidError(f"{target!r} is no target: write GOOS/GOARCH or GOOS/GOARCH/LEVEL")
    for row in rows(release, selection):
        if selection.level or row.default_level:
            return f"{row.goos}/{row.goarch}/{row.level}"
    raise InvalidError(f"{target}: no such target in Go {release.version}")


def _impossible(source: SourceFile, one: AskedTarget, why: str) -> Finding:
    line, column = one.places[-1]
    remedy = "Leave it out, or write a target that `sampan go targets` lists."
    summary = f"{one.target} cannot be built: {why}"
    return finding(Severity.ERROR, "target-impossible", summary, source, line, column, remedy)


def _extra(source: SourceFile, one: AskedTarget) -> Finding:
    line, column = one.places[-1]
    summary = f"{one.target} is built and not among the targets"
    remedy = "Exclude it here, or add it to --target."
    return finding(Severity.ERROR, "target-extra", summary, source, line, column, remedy)


def _missing(source: SourceFile, name: str, place: Place) -> Finding:
    summary = f"{name} is not built"
    remedy = "Add a cell for it to the matrix."
    return finding(Severity.ERROR, "target-missing", summary, source, *place, remedy)


def _unread(source: SourceFile, place: Place) -> Finding:
    summary = "what this builds is known only when it runs"
    remedy = "It is left out of the comparison: look at it by hand."
    return finding(Severity.WARNING, "targets-unread", summary, source, *place, remedy)


def _matrix_place(read: Sequence[Node]) -> Place:
    """Where a cell would be added: at the matrix, else at the jobs."""
    for path in _PATHS:
        for document in read:
            for node in document.walk():
                if at := node.get(*path):
                    return at.line, at.column
    return 1, 1
