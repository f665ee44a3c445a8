"""The images that jobs run in: whether their Go is new enough for what is built there."""

from __future__ import annotations

from collections.abc import Iterator

from sampan.base.diagnostic import Severity
from sampan.gobuild.core.baseimages import older_release
from sampan.gobuild.core.check.finding import Finding, SourceFile, finding
from sampan.gobuild.core.check.jobs import Job, jobs_of
from sampan.gobuild.core.check.modules import GoTree, together
from sampan.gobuild.core.check.reach import job_builds
from sampan.gobuild.core.yamlnodes import Node, readable

__all__ = ["check_job_images", "go_too_old"]


def check_job_images(source: SourceFile, tree: GoTree) -> Iterator[Finding]:
    """Yield jobs whose image has an older Go than a module that they build."""
    if "golang:" not in source.text or "GOTOOLCHAIN" in source.text:
        return
    for document in readable(source.text):
        for job in jobs_of(document):
            image = _image(document, job)
            wanted = together(one.needs for one in job_builds(job, tree)).go_version
            if older := older_release(image.text, wanted):
                yield go_too_old(source, older, wanted, image.line, image.column)


def _image(document: Node, job: Job) -> Node:
    if not job.gitlab:
        return job.node.get("container", "image") or job.node.get("container")
    holders = (*job.lineage, document.get("default"), document)
    found = next((image for one in holders if (image := one.get("image"))), Node(None))
    return found.get("name") or found


def go_too_old(source: SourceFile, older: str, wanted: str, line: int, column: int) -> Finding:
    """Say that the Go of an image does not build a module."""
    return finding(
        Severity.ERROR,
        "go-too-old",
        f"Go {older} builds a module that asks for go {wanted}",
        source,
        line,
        column,
        f"Use golang:{wanted}, or lower `go` in go.mod.",
        "The image sets GOTOOLCHAIN=local, so that no newer Go is fetched.",
    )
