"""The steps of a build: each makes a root file system of others.

What a step yields depends on its operation and on the contents of its inputs alone, so these two
together are the key to its cached result. `Graph` keeps one object for all steps that do the same
with the same inputs, whichever stage or platform they come from; steps are compared by identity.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sampan.images.core.build.repository import Repository
from sampan.images.core.platform import Platform

__all__ = [
    "Base",
    "ContextFiles",
    "CopyStep",
    "FileSource",
    "GitFiles",
    "Graph",
    "HostRoot",
    "InlineFile",
    "MakeDirectory",
    "RunStep",
    "Scratch",
    "Step",
    "StepFiles",
    "StepMount",
    "Url",
    "inputs",
    "operation_key",
    "walk",
]


@dataclass(frozen=True, slots=True, eq=False)
class Scratch:
    """An empty root."""

    def operation(self) -> dict[str, Any]:
        """What it does, without its inputs."""
        return {"op": "scratch"}


@dataclass(frozen=True, slots=True, eq=False)
class HostRoot:
    """The machine's own root, read only: for builder stages, never part of an image."""

    def operation(self) -> dict[str, Any]:
        """What it does, without its inputs."""
        return {"op": "host"}


@dataclass(frozen=True, slots=True, eq=False)
class Base:
    """An image's root. `digest` is what its name meant when the build began."""

    reference: str
    platform: Platform
    digest: str

    def operation(self) -> dict[str, Any]:
        """What it does, without its inputs."""
        return {"op": "base", "digest": self.digest}


@dataclass(frozen=True, slots=True, eq=False)
class StepMount:
    """Something mounted while a command runs; `source` is None for what is not of a step."""

    type: str
    target: str
    path: str = ""
    source: Step | None = None
    context: str = ""
    id: str = ""
    sharing: str = "shared"
    read_only: bool = False
    required: bool = False
    env: str = ""
    mode: int | None = None
    uid: int | None = None
    gid: int | None = None
    size_bytes: int | None = None

    def operation(self) -> dict[str, Any]:
        """What it is, without its source; the value of a secret never counts."""
        return {
            "type": self.type,
            "target": self.target,
            "path": self.path,
            "context": self.context,
            "id": self.id,
            "sharing": self.sharing,
            "read_only": self.read_only,
            "env": self.env,
            "mode": self.mode,
            "owner": [self.uid, self.gid],
            "size": self.size_bytes,
        }


@dataclass(frozen=True, slots=True, eq=False)
class RunStep:
    """Execute a command; what it changes is the result."""

    parent: Step
    args: Sequence[str]
    env: Sequence[str]
    cwd: str
    user: str
    platform: Platform
    mounts: Sequence[StepMount] = ()
    network: str = "default"
    security: str = "sandbox"
    script: str | None = None
    """The text of a here-document that is the command: a file that is executed."""

    hostname: str = "buildkitsandbox"

    def operation(self) -> dict[str, Any]:
        """What it does, without its inputs."""
        return {
            "op": "run",
            "args": list(self.args),
            "env": list(self.env),
            "cwd": self.cwd,
            "user": self.user,
            "platform": str(self.platform),
            "mounts": [mount.operation() for mount in self.mounts],
            "network": self.network,
            "security": self.security,
            "script": self.script,
        }


@dataclass(frozen=True, slots=True, eq=False)
class ContextFiles:
    """Files of a build context: the main one is named ""."""

    context: str
    patterns: Sequence[str]

    def operation(self) -> dict[str, Any]:
        """What it is."""
        return {"from": "context", "context": self.context, "patterns": list(self.patterns)}


@dataclass(frozen=True, slots=True, eq=False)
class StepFiles:
    """Files of another step's root."""

    step: Step
    patterns: Sequence[str]

    def operation(self) -> dict[str, Any]:
        """What it is, without the step."""
        return {"from": "step", "patterns": list(self.patterns)}


@dataclass(frozen=True, slots=True, eq=False)
class InlineFile:
    """A file whose text stands in the Dockerfile."""

    name: str
    content: str

    def operation(self) -> dict[str, Any]:
        """What it is."""
        return {"from": "inline", "name": self.name, "content": self.content}


@dataclass(frozen=True, slots=True, eq=False)
class Url:
    """A file to fetch; with a checksum it need not be fetched to know what it is."""

    url: str
    checksum: str = ""
    unpack: bool = False

    def operation(self) -> dict[str, Any]:
        """What it is."""
        return {"from": "url", "url": self.url, "checksum": self.checksum, "unpack": self.unpack}


@dataclass(frozen=True, slots=True, eq=False)
class GitFiles:
    """Files of a git repository, at the commit that its address means when it is built."""

    repository: Repository
    keep_git_dir: bool = False

    def operation(self) -> dict[str, Any]:
        """What it is."""
        one = self.repository
        address = [one.url, one.ref, one.subdir, one.checksum]
        return {"from": "git", "address": address, "keep_git_dir": self.keep_git_dir}


FileSource = ContextFiles | StepFiles | InlineFile | Url | GitFiles


@dataclass(frozen=True, slots=True, eq=False)
class CopyStep:
    """Put files into a root."""

    parent: Step
    sources: Sequence[FileSource]
    target: str
    chown: str = ""
    chmod: str = ""
    link: bool = False
    parents: bool = False
    excludes: Sequence[str] = ()
    unpack: bool = False
    """Unpack local archives, as ADD does."""

    def operation(self) -> dict[str, Any]:
        """What it does, without its inputs."""
        return {
            "op": "copy",
            "sources": [source.operation() for source in self.sources],
            "target": self.target,
            "chown": self.chown,
            "chmod": self.chmod,
            "parents": self.parents,
            "excludes": list(self.excludes),
            "unpack": self.unpack,
        }


@dataclass(frozen=True, slots=True, eq=False)
class MakeDirectory:
    """Make a directory with its parents where it is missing, as WORKDIR does."""

    parent: Step
    path: str
    user: str = ""

    def operation(self) -> dict[str, Any]:
        """What it does, without its inputs."""
        return {"op": "mkdir", "path": self.path, "user": self.user}


Step = Scratch | HostRoot | Base | RunStep | CopyStep | MakeDirectory


def inputs(step: Step) -> list[Step]:
    """Return the steps that a step needs, its parent first."""
    found: list[Step] = []
    if isinstance(step, RunStep | CopyStep | MakeDirectory):
        found.append(step.parent)
    if isinstance(step, RunStep):
        found += [mount.source for mount in step.mounts if mount.source is not None]
    if isinstance(step, CopyStep):
        found += [source.step for source in step.sources if isinstance(source, StepFiles)]
    return found


def operation_key(step: Step, digests: Sequence[str]) -> str:
    """Return the key of a step's result: its operation upon inputs with these digests."""
    document = {"operation": step.operation(), "inputs": list(digests)}
    text = json.dumps(document, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


class Graph:
    """All steps of a build, each of them once."""

    def __init__(self) -> None:
        self._steps: dict[tuple[str, tuple[int, ...]], Step] = {}

    def add(self, step: Step) -> Step:
        """Return the step, or the one added earlier that does the same."""
        key = json.dumps(step.operation(), sort_keys=True)
        return self._steps.setdefault((key, tuple(map(id, inputs(step)))), step)


def walk(*ends: Step) -> Iterator[Step]:
    """Yield every step once, each after those that it needs."""
    done: set[int] = set()
    todo: list[tuple[Step, bool]] = [(end, False) for end in reversed(ends)]
    while todo:
        step, ready = todo.pop()
        if ready and id(step) not in done:
            done.add(id(step))
            yield step
        elif id(step) not in done:
            todo.append((step, True))
            todo += [(one, False) for one in reversed(inputs(step))]
