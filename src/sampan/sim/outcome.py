"""What a run came to."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["Outcome", "Violation"]


class Violation(Exception):
    """A promise was broken. `kind` names it; the text tells how."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(f"{kind}: {text}")
        self.kind = kind


@dataclass(slots=True)
class Outcome:
    """One run: its trace, what was wrong if anything was, and how much happened.

    `decided` is False when the checker gave up on what clients saw.
    """

    seed: int
    trace: str
    violation: Violation | None = None
    decided: bool = True
    simulated_ms: float = 0.0
    events: int = 0
    operations: int = 0
    acknowledged: int = 0
    leaders: int = 0
    crashes: int = 0
    snapshots: int = 0
    lines: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether every promise was kept."""
        return self.violation is None
