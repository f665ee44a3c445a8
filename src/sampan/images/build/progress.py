"""What a build tells about itself while it goes on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from sampan.base.diagnostic import Diagnostic
from sampan.base.errors import SampanError
from sampan.images.core.build.places import StepPlace

__all__ = ["Progress", "Silent", "StepStatus"]


@dataclass(frozen=True, slots=True)
class StepStatus:
    """A step that has begun or ended. Times are seconds since 1970; `error` is empty or why."""

    key: str
    name: str
    inputs: Sequence[str] = ()
    started_s: float | None = None
    completed_s: float | None = None
    cached: bool = False
    error: str = ""
    failure: SampanError | None = None
    place: StepPlace | None = None
    internal: bool = False
    """It is no step of the Dockerfile: work on the way to it. The build may survive its error."""


class Progress(Protocol):
    """Who is told."""

    def begin(self, steps: int) -> None:
        """So many steps are to be done or found."""
        ...

    def step(self, status: StepStatus) -> None:
        """A step has begun, ended, or was found in the cache."""
        ...

    def output(self, key: str, stream: str, data: bytes) -> None:
        """A step's command has written something."""
        ...

    def warning(self, found: Diagnostic) -> None:
        """Something in the Dockerfile works but will surprise."""
        ...


class Silent:
    """Nobody."""

    def begin(self, steps: int) -> None:
        """Do nothing."""

    def step(self, status: StepStatus) -> None:
        """Do nothing."""

    def output(self, key: str, stream: str, data: bytes) -> None:
        """Do nothing."""

    def warning(self, found: Diagnostic) -> None:
        """Do nothing."""
