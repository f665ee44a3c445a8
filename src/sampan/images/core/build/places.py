"""Where the steps of a build come from: for progress, and for errors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sampan.base.diagnostic import Span
from sampan.dockerfile.source import Line
from sampan.images.core.build.request import PlannedStage
from sampan.images.core.build.steps import HostRoot, Scratch, Step

__all__ = ["StepPlace", "places_of"]


@dataclass(frozen=True, slots=True)
class StepPlace:
    """A step's instruction: in which stage, as which of how many, and where it is written."""

    stage: str
    number: int
    total: int
    platform: str
    span: Span
    words: str = ""
    """The instruction as it is written, in one line."""

    def label(self, *, stages: bool, platforms: bool) -> str:
        """Return it in brackets, with the stage and the platform where there are several."""
        words = [self.platform] if platforms else []
        words += [self.stage] if stages else []
        return f"[{' '.join([*words, f'{self.number}/{self.total}'])}]"


def places_of(planned: PlannedStage, trail: Sequence[tuple[Line, Step]]) -> dict[int, StepPlace]:
    """Return the places of a stage's steps by their identity; `trail` begins with its base."""
    stage = planned.stage
    name = stage.start.name or f"stage-{stage.index}"
    has_base = planned.base_stage is None and not isinstance(trail[0][1], Scratch | HostRoot)
    platform = str(planned.platform)
    own = trail if has_base else trail[1:]
    return {
        id(step): StepPlace(name, number, len(own), platform, line.span, _words(line))
        for number, (line, step) in enumerate(own, 1)
    }


def _words(line: Line) -> str:
    return " ".join(f"{line.keyword} {line.rest}".split())
