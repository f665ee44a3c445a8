"""Simulated time: a queue of what is to happen, and a trace of what did.

Nothing happens between two events, so that an idle minute costs no more than its events. Events at
the same moment happen in the order in which they were planned.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b
from heapq import heappop, heappush
from random import Random
from typing import Final

from sampan.sim.outcome import Violation

__all__ = ["Later", "World"]

MOST_EVENTS_PER_S: Final = 5000
"""Ten times what a busy cluster of five needs; more is members that answer each other forever."""


class Later:
    """Something that will happen, unless it is cancelled."""

    __slots__ = ("action", "cancelled")

    def __init__(self, action: Callable[[], None]) -> None:
        self.action = action
        self.cancelled = False

    def cancel(self) -> None:
        """Let it not happen."""
        self.cancelled = True


class World:
    """The clock, all chance, and the trace. Times are milliseconds since the beginning."""

    def __init__(self, seed: int, *, keep: bool = False) -> None:
        """With `keep` the lines of the trace are kept and not only their digest."""
        self.random = Random(seed)
        self.now_ms = 0.0
        self.events = 0
        self.lines: list[str] = []
        self._keep = keep
        self._digest = blake2b(digest_size=8)
        self._queue: list[tuple[float, int, Later]] = []
        self._planned = 0

    @property
    def now_s(self) -> float:
        """The time in seconds."""
        return self.now_ms / 1000

    @property
    def trace(self) -> str:
        """The digest of all that was noted: the same for the same run."""
        return self._digest.hexdigest()

    def after(self, delay_ms: float, action: Callable[[], None]) -> Later:
        """Plan something; at once means behind all that is planned for now."""
        later = Later(action)
        self._planned += 1
        heappush(self._queue, (self.now_ms + delay_ms, self._planned, later))
        return later

    def note(self, text: str) -> None:
        """Add a line to the trace."""
        line = f"{self.now_ms:.3f} {text}"
        self._digest.update(line.encode())
        if self._keep:
            self.lines.append(line)

    def run_until(self, time_ms: float) -> None:
        """Let everything happen that is planned up to then. Raises Violation for a storm."""
        queue = self._queue
        while queue and queue[0][0] <= time_ms:
            at, _, later = heappop(queue)
            if later.cancelled:
                continue
            self.now_ms = at
            self.events += 1
            later.action()
            if self.events > MOST_EVENTS_PER_S * (10 + at / 1000):
                raise Violation("storm", f"{self.events} events by {at:.0f} ms, and no end")
        self.now_ms = time_ms
