"""The jobs of GitHub workflows and GitLab pipelines: what they run, where, with which variables.

Source: the workflow syntax of GitHub Actions, the keyword reference of GitLab CI.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from sampan.base.record import record
from sampan.gobuild.core.yamlnodes import Node

__all__ = ["Job", "Script", "jobs_of"]

_NO_JOBS: Final = frozenset(
    "stages variables default include workflow image services cache spec before_script "
    "after_script pages".split()
)
_EXTENDS_LIMIT: Final = 10


@record
class Script:
    """Shell that runs as one: `line` is where its text begins, `first` to `last` its step.

    `environment` has the mappings of variables around it, the outermost first.
    """

    text: str
    line: int
    first: int
    last: int
    folder: str
    environment: tuple[Node, ...]
    condition: str = ""
    folded: bool = False


@record
class Job:
    """A job, its matrix (an empty node without) and what it runs.

    `lineage` has a job of GitLab and what it extends, the nearest first.
    """

    node: Node
    first: int
    last: int
    matrix: Node
    environment: tuple[Node, ...]
    scripts: tuple[Script, ...]
    steps: tuple[Node, ...] = ()
    gitlab: bool = False
    lineage: tuple[Node, ...] = ()


def jobs_of(document: Node) -> list[Job]:
    """Return the jobs of a workflow or pipeline, whichever it is."""
    if document.get("jobs"):
        return [_github(document, node) for _, node in document.get("jobs").items()]
    return list(_gitlab(document))


def _github(document: Node, node: Node) -> Job:
    around = tuple(one for one in (document.get("env"), node.get("env")) if one)
    default = (
        node.get("defaults", "run", "working-directory").text
        or document.get("defaults", "run", "working-directory").text
    )
    steps = tuple(node.get("steps"))
    checkout = next(
        (s.get("with", "path").text for s in steps if "actions/checkout" in s.get("uses").text), ""
    )
    scripts = []
    for step in steps:
        command = step.get("run")
        if not command.text:
            continue
        folder = step.get("working-directory").text or default
        if checkout and (folder == checkout or folder.startswith(f"{checkout}/")):
            folder = folder[len(checkout) :].lstrip("/")
        scripts.append(
            Script(
                command.text,
                command.line + int(command.block),
                step.line,
                step.last_line,
                folder,
                (*around, *([step.get("env")] if step.get("env") else [])),
                step.get("if").text,
                command.folded,
            )
        )
    first, last = node.line, node.last_line
    matrix = node.get("strategy", "matrix")
    return Job(node, first, last, matrix, around, tuple(scripts), steps)


def _gitlab(document: Node) -> Iterator[Job]:
    for name, node in document.items():
        if name in _NO_JOBS or not list(node.items()):
            continue
        lineage = _lineage(document, node)
        around = [document.get("variables"), *(one.get("variables") for one in reversed(lineage))]
        environment = tuple(one for one in around if one)
        parts: list[Node] = []
        for key in ("before_script", "script"):
            holders = [*lineage, document.get("default"), document]
            parts += next((_lines(one.get(key)) for one in holders if one.get(key)), [])
        matrix = next((m for one in lineage if (m := one.get("parallel", "matrix"))), Node(None))
        first, last = node.line, node.last_line
        # All lines of a job are of one shell; those of a template stand elsewhere.
        scripts = tuple(
            Script(
                part.text,
                part.line + int(part.block),
                part.line,
                part.last_line,
                "",
                environment,
                folded=part.folded,
            )
            for part in parts
        )
        yield Job(node, first, last, matrix, environment, scripts, (), True, tuple(lineage))


def _lines(node: Node) -> list[Node]:
    return [node] if node.text else [one for one in node.walk() if one.text]


def _lineage(document: Node, node: Node) -> Sequence[Node]:
    """A job and the templates that it extends or merges, the nearest first."""
    found = [node]
    for one in found:
        extended = one.get("extends")
        names = [extended.text] if extended.text else [part.text for part in extended]
        merged = one.get("<<")
        found += [document.get(name) for name in reversed(names)]
        found += [merged] if merged.get("script") or merged.get("variables") else []
        if len(found) > _EXTENDS_LIMIT:
            break
    return [one for one in found if one]
