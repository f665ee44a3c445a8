"""What is asked of whoever runs the commands of a build."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from sampan.images.core.platform import Platform

__all__ = ["Bind", "Execution", "Executor", "Sink"]

Sink = Callable[[str, bytes], None]
"""Takes output: the stream (`stdout`, `stderr`) and data."""


@dataclass(frozen=True, slots=True)
class Bind:
    """Something of the host to mount at `target`: a path, or a tmpfs where `source` is empty."""

    target: str
    source: str = ""
    read_only: bool = False
    size_bytes: int | None = None
    mounts: Sequence[Mapping[str, Any]] = ()
    """A root of layers to mount there first, of which `source` is a path."""


@dataclass(frozen=True, slots=True)
class Execution:
    """One command in a root of its own. `key` names it, and nothing else while it runs."""

    key: str
    root_mounts: Sequence[Mapping[str, Any]]
    args: Sequence[str]
    env: Sequence[str]
    cwd: str
    user: str
    platform: Platform
    binds: Sequence[Bind] = ()
    network: str = "default"
    insecure: bool = False
    hostname: str = "buildkitsandbox"
    extra_hosts: Sequence[str] = ()
    limits: Mapping[str, Any] = field(default_factory=dict)


class Executor(Protocol):
    """Runs commands in containers."""

    async def execute(self, execution: Execution, sink: Sink) -> int:
        """Run a command to its end and return its exit code; when cancelled, end it.

        Raises SampanError when it cannot be started.
        """
        ...
