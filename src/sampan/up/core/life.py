"""The life of one service: what state it is in, and how long to wait before it is started again.

    starting -> ready -> (exit) -> waiting -> starting -> ...
    waiting with LOOP_FAILURES failures in a row is a crash loop; it is still tried again
    any -> stopping -> stopped

A service that stayed ready for STABLE_S has a clean record: its next exit is a first one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, Literal

__all__ = [
    "LOOP_FAILURES",
    "Life",
    "State",
    "became_ready",
    "began",
    "exited",
    "is_settled",
    "restart_delay_s",
    "stopped",
    "stopping",
]

State = Literal["starting", "ready", "waiting", "crash loop", "stopping", "stopped"]

FIRST_DELAY_S: Final = 0.25
MAX_DELAY_S: Final = 30.0
STABLE_S: Final = 30.0
LOOP_FAILURES: Final = 3


@dataclass(frozen=True, slots=True)
class Life:
    """`failures` are exits in a row, `starts` all starts; `reason` tells of the last exit."""

    state: State = "stopped"
    since_s: float = 0.0
    starts: int = 0
    failures: int = 0
    reason: str = ""


def began(life: Life, now_s: float) -> Life:
    """Return the life of a service whose process has just been started."""
    return replace(life, state="starting", since_s=now_s, starts=life.starts + 1)


def became_ready(life: Life, now_s: float) -> Life:
    """Return the life of a service whose health endpoint has answered."""
    return replace(life, state="ready", since_s=now_s)


def exited(life: Life, now_s: float, reason: str) -> Life:
    """Return the life of a service that ended by itself; it is to be started again later."""
    stable = life.state == "ready" and now_s - life.since_s >= STABLE_S
    failures = 1 if stable else life.failures + 1
    state: State = "crash loop" if failures >= LOOP_FAILURES else "waiting"
    return replace(life, state=state, since_s=now_s, failures=failures, reason=reason)


def stopping(life: Life, now_s: float) -> Life:
    """Return the life of a service that has been asked to end."""
    return replace(life, state="stopping", since_s=now_s)


def stopped(life: Life, now_s: float) -> Life:
    """Return the life of a service that ended because it was asked to."""
    return replace(life, state="stopped", since_s=now_s)


def restart_delay_s(life: Life) -> float:
    """Return how long to wait before the next start: doubled with every failure, bounded."""
    doublings = min(max(life.failures, 1) - 1, 16)
    return min(MAX_DELAY_S, FIRST_DELAY_S * float(1 << doublings))


def is_settled(life: Life) -> bool:
    """Tell whether it is known if the service works."""
    return life.state in ("ready", "crash loop")
