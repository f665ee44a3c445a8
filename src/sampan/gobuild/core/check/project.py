"""The whole project: which rules are for which file, and what files say about each other."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from typing import Final

from sampan.base.record import record
from sampan.gobuild.core.check.clusters import check_manifest
from sampan.gobuild.core.check.dockerbuilds import docker_reach
from sampan.gobuild.core.check.dockerfiles import check_dockerfile
from sampan.gobuild.core.check.finding import Finding, SourceFile
from sampan.gobuild.core.check.gofiles import GoNeeds, GoSource
from sampan.gobuild.core.check.jobimages import check_job_images
from sampan.gobuild.core.check.makefiles import check_makefile
from sampan.gobuild.core.check.modules import GoTree
from sampan.gobuild.core.check.pipelines import (
    check_goreleaser,
    check_pipeline,
    platforms_in,
    platforms_of,
)
from sampan.gobuild.core.check.reach import reach_of
from sampan.gobuild.core.check.settings import NeedsAt, check_settings
from sampan.gobuild.core.check.workflows import check_runs, runs_of
from sampan.gobuild.core.table import Release

__all__ = ["Project", "check_project", "kind_of"]

_IMAGE: Final = re.compile(
    r"(?:-t|--tag|tags:|images?:)[ =]+[\"']?([a-z0-9][\w./-]*/?[\w.-]+)(?::|\s|$)", re.M
)

_DOCKERFILE: Final = re.compile(r"(?:docker|container)file(?:[._-].+)?|.+\.dockerfile")
_NO_DOCKERFILE: Final = (".md", ".go", ".py", ".dockerignore", ".json", ".yml", ".yaml")


@record
class Project:
    """The files of a project that matter, and what its Go sources use."""

    files: tuple[SourceFile, ...]
    sources: tuple[GoSource, ...]
    modules: tuple[SourceFile, ...] = ()
    """Every go.mod and go.work."""

    @property
    def gomod(self) -> str:
        """The go.mod of the root, empty without one."""
        return next((one.text for one in self.modules if one.path == "go.mod"), "")


def kind_of(path: str) -> str:
    """Return what a file is by its path, empty when it does not matter.

    `manifest` is any other YAML; whether it is for Kubernetes is seen by its content.
    """
    name = path.rpartition("/")[2]
    lower = name.lower()
    if _DOCKERFILE.fullmatch(lower) and not lower.endswith(_NO_DOCKERFILE):
        return "dockerfile"
    if name in ("go.mod", "go.work"):
        return "module"
    if lower in ("makefile", "gnumakefile", "justfile") or lower.endswith((".mk", ".sh", ".bash")):
        return "script"
    if not lower.endswith((".yml", ".yaml")):
        return ""
    if "/.github/workflows/" in f"/{path}" or "gitlab-ci" in lower:
        return "pipeline"
    if lower.lstrip(".").startswith("goreleaser"):
        return "goreleaser"
    return "script" if lower.startswith("taskfile") else "manifest"


def check_project(project: Project, release: Release) -> list[Finding]:
    """Return all findings, by file and line; nothing for a project that is well configured."""
    tree = GoTree(project.sources, project.modules)
    kinds = {source.path: kind_of(source.path) or "script" for source in project.files}
    platforms: list[str] = []
    names: list[str] = []
    found: list[Finding] = []
    others = {one.path: one for one in project.files if kinds[one.path] == "pipeline"}
    runs = {path: list(runs_of(source, others)) for path, source in others.items()}
    for source in project.files:
        if kinds[source.path] in ("pipeline", "script"):
            lists = [platforms_in(source)]
            for run in runs.get(source.path, ()):
                lists += map(platforms_of, run.platforms())
            for listed, wrong in lists:
                platforms += [one for one in listed if one not in platforms]
                found += wrong
            names += _IMAGE.findall(source.text)
    for source in project.files:
        kind = kinds[source.path]
        needs_at = _needs_at(source, kind, tree)
        if kind != "manifest":
            found += check_settings(source, release, needs_at)
        if kind == "dockerfile":
            found += check_dockerfile(source, release, tree, platforms)
        elif kind == "script" and not source.path.endswith((".sh", ".bash")):
            found += check_makefile(source, release)
        elif kind == "pipeline":
            found += check_pipeline(source, release)
            found += check_job_images(source, tree)
            found += check_runs(source, runs[source.path], release, needs_at)
        elif kind == "goreleaser":
            found += check_goreleaser(source, release, needs_at)
        elif kind == "manifest":
            found += check_manifest(source, platforms, names)
    return sorted(_once(found), key=lambda one: (one.diagnostic.span, one.diagnostic.rule))


def _needs_at(source: SourceFile, kind: str, tree: GoTree) -> NeedsAt:
    """What the builds need that a line of a file is for; looked up when it first matters."""
    if not tree.cgo:
        return lambda _: GoNeeds()
    if kind == "dockerfile":
        reach = cache(lambda: docker_reach(source, tree))
    else:
        reach = cache(lambda: reach_of(source, kind, tree))
    return lambda line: reach().at(line)


def _once(found: Iterable[Finding]) -> Iterator[Finding]:
    """Leave out what two rules say of the same place."""
    seen: set[Sequence[object]] = set()
    for one in found:
        key = (one.diagnostic.rule, one.diagnostic.span)
        if key not in seen:
            seen.add(key)
            yield one
