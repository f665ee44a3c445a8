"""What a build is given besides its steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sampan.dockerfile.ignore import IgnoreRules
from sampan.images.build.cachesource import CacheSource
from sampan.images.build.repositories import GitAccess
from sampan.images.core.build.places import StepPlace
from sampan.images.shell.index import Entry

__all__ = ["BuildContext", "SolveOptions"]


@dataclass(frozen=True, slots=True)
class BuildContext:
    """A directory that nobody else changes, and what of it is left out."""

    directory: Path
    ignore: IgnoreRules | None = None


@dataclass(frozen=True, slots=True)
class SolveOptions:
    """Everything that the steps themselves do not say.

    `secrets` are values by id; `scratch` is a directory on a tmpfs for them, readable by the owner.
    """

    images: Mapping[tuple[str, str], Entry]
    contexts: Mapping[str, BuildContext]
    scratch: Path
    no_cache: bool = False
    no_cache_stages: frozenset[str] = frozenset()
    places: Mapping[int, StepPlace] = field(default_factory=dict)
    """Where steps come from, by their identity."""

    secrets: Mapping[str, bytes] = field(default_factory=dict)
    ssh: Mapping[str, Path] = field(default_factory=dict)
    proxies: Mapping[str, str] = field(default_factory=dict)
    network: str = "default"
    extra_hosts: Sequence[str] = ()
    limits: Mapping[str, object] = field(default_factory=dict)
    epoch_s: int | None = None
    cache_sources: Sequence[CacheSource] = ()
    """Where to look for results that are not known here, in this order."""

    parallel: int = 2

    @property
    def access(self) -> GitAccess:
        """Who the build is to git repositories."""
        return GitAccess(self.secrets, self.ssh.get("default"))
