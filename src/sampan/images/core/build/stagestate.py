"""A stage while it is evaluated."""

from __future__ import annotations

from dataclasses import dataclass

from sampan.dockerfile.words import Expander
from sampan.images.core.build.config import ImageConfig
from sampan.images.core.build.request import PlannedStage
from sampan.images.core.build.steps import Step
from sampan.images.core.platform import Platform

__all__ = ["StageState"]


@dataclass(slots=True)
class StageState:
    """A stage as far as it has been evaluated."""

    planned: PlannedStage
    step: Step
    config: ImageConfig
    escape: str
    arguments: dict[str, str]
    """The ARGs declared so far, by name, in their order."""

    workdir_is_absolute: bool = False
    """An absolute WORKDIR stands in this stage, or in one that it begins with."""

    env_known: bool = True
    """The base's variables are known: what is not among them is not defined."""

    cmd_is_own: bool = False
    """CMD stands in this stage: an ENTRYPOINT does not reset it."""

    @property
    def platform(self) -> Platform:
        """What the stage is built for."""
        return self.planned.platform

    def expander(self) -> Expander:
        """Return what replaces variables at this place."""
        return Expander({**self.arguments, **self.config.env}, self.escape)
