"""How much a search may cost: a history can be made that no search decides in any useful time."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["Budget", "Exhausted"]


class Exhausted(Exception):
    """The search was given up undecided; the text says which bound it met."""


class Budget:
    """Bounds of one check. `expired` is asked now and then whether the time is over."""

    def __init__(
        self,
        steps: int = 20_000_000,
        states: int = 1_000_000,
        expired: Callable[[], bool] | None = None,
    ) -> None:
        self.steps = steps
        self.states = states
        self._expired = expired

    def step(self) -> None:
        """One step of a search. Raises Exhausted."""
        self.steps -= 1
        if self.steps <= 0:
            raise Exhausted("more steps than allowed")
        if self._expired is not None and self.steps % 4096 == 0 and self._expired():
            raise Exhausted("more time than allowed")

    def remember(self) -> None:
        """One state kept in memory. Raises Exhausted."""
        self.states -= 1
        if self.states <= 0:
            raise Exhausted("more states to remember than allowed")
