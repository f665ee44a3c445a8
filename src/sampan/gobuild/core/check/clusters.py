"""Kubernetes manifests: where pods are put against what their images are built for."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final

from sampan.base.diagnostic import Severity
from sampan.gobuild.core.check.finding import Edit, Finding, SourceFile, finding
from sampan.gobuild.core.yamlnodes import Node, readable

__all__ = ["check_manifest"]

_LABELS: Final = ("kubernetes.io/arch", "beta.kubernetes.io/arch")
_KNOWN: Final = ("amd64", "arm", "arm64", "386", "ppc64le", "riscv64", "s390x", "loong64")
_BETTER: Final = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "armv7": "arm"}
_SUFFIX: Final = re.compile(r"[-_.](amd64|x86_64|arm64v8|arm64|aarch64|armv7|armhf|arm32v7|386)$")


def check_manifest(
    source: SourceFile, platforms: Sequence[str], names: Sequence[str]
) -> Iterator[Finding]:
    """Yield what is wrong with the pods of a manifest.

    `platforms` are those that the project's own images, called `names`, are built for.
    """
    for document in readable(source.text):
        for node in document.walk():
            if node.get("containers"):
                yield from _pod(source, node, platforms, names)


def _pod(
    source: SourceFile, pod: Node, platforms: Sequence[str], names: Sequence[str]
) -> Iterator[Finding]:
    wanted = list(_wanted(pod))
    for node in wanted:
        if node.text not in _KNOWN:
            better = _BETTER.get(node.text.lower(), "")
            start = node.column - 1
            edit = Edit(source.path, node.line, start, start + len(node.text), better)
            yield finding(
                Severity.ERROR,
                "arch-label",
                f"no node has the architecture {node.text!r}: labels have Go's names",
                source,
                node.line,
                node.column,
                f"Write {better}." if better else f"Write one of {', '.join(_KNOWN)}.",
                "The pod stays pending.",
                edit if better else None,
            )
    machines = {node.text for node in wanted}
    built = {one.split("/")[1] for one in platforms if one.startswith("linux/")}
    for kind in ("initContainers", "containers"):
        for container in pod.get(kind):
            image = container.get("image")
            yield from _image(source, image, machines, built, names)


def _wanted(pod: Node) -> Iterator[Node]:
    for key, value in pod.get("nodeSelector").items():
        if key in _LABELS and value.text:
            yield value
    required = pod.get("affinity", "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution")
    for term in required.get("nodeSelectorTerms"):
        for expression in term.get("matchExpressions"):
            if expression.get("key").text in _LABELS and expression.get("operator").text == "In":
                yield from expression.get("values")


def _image(
    source: SourceFile, image: Node, machines: set[str], built: set[str], names: Sequence[str]
) -> Iterator[Finding]:
    reference = image.text.split("@")[0]
    suffix = _SUFFIX.search(reference)
    arch = ""
    if suffix:
        arch = {"x86_64": "amd64", "aarch64": "arm64", "arm64v8": "arm64"}.get(suffix[1], suffix[1])
        arch = "arm" if arch in ("armv7", "armhf", "arm32v7") else arch
    missing = sorted(machines & set(_KNOWN) - {arch}) if arch else []
    if not arch and built and _repository(reference) in names:
        missing = sorted(machines & set(_KNOWN) - built)
    if missing:
        yield finding(
            Severity.ERROR,
            "arch-not-built",
            f"put on {', '.join(missing)}, but {reference} is for "
            + (arch or ", ".join(sorted(built))),
            source,
            image.line,
            image.column,
            "Build the image for these platforms too, or select nodes of its own.",
            "The container dies with `exec format error`, or the pull finds no manifest.",
        )


def _repository(reference: str) -> str:
    last = reference.rpartition("/")[2]
    return reference[: len(reference) - len(last)] + last.split(":")[0]
