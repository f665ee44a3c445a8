"""Making a failing schedule smaller: leave steps out as long as the same promise is broken.

After Zeller and Hildebrandt, "Simplifying and Isolating Failure-Inducing Input" (2002): chunks of
half the length are left out first, then smaller ones, to single steps.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from sampan.sim.cluster import simulate
from sampan.sim.schedule import Schedule, Step

__all__ = ["shrink"]


def shrink(
    schedule: Schedule, kind: str, *, tell: Callable[[int], None] = lambda steps: None
) -> Schedule:
    """Return a schedule that still breaks the promise `kind` with as few steps as were found.

    `tell` hears how many steps are left whenever it became smaller.
    """

    def breaks(steps: Sequence[Step]) -> bool:
        violation = simulate(replace(schedule, steps=tuple(steps))).violation
        return violation is not None and violation.kind == kind

    steps = list(schedule.steps)
    size = max(1, len(steps) // 2)
    while True:
        start, smaller = 0, False
        while start < len(steps):
            without = steps[:start] + steps[start + size :]
            if breaks(without):
                steps, smaller = without, True
                tell(len(steps))
            else:
                start += size
        if size == 1 and not smaller:
            return replace(schedule, steps=tuple(steps))
        size = max(1, size // 2)
