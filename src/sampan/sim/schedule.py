"""What is going to happen in a run, as data: so that it can be shown, made smaller and kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from random import Random
from typing import Any, Final

from sampan.sim.network import Weather

__all__ = ["MIXES", "Mix", "Schedule", "Settings", "Step", "plan"]


@dataclass(frozen=True, slots=True)
class Mix:
    """How often what happens, as weights, and how quickly: `pace_ms` is the mean between steps."""

    weights: Mapping[str, float]
    pace_ms: float = 100.0
    weather: Weather = field(default_factory=Weather)


_CLIENTS: Final = {
    "put": 20.0,
    "get": 20.0,
    "delete": 3.0,
    "txn": 6.0,
    "range": 4.0,
    "grant": 1.0,
    "renew": 1.0,
    "revoke": 0.5,
    "compact": 0.7,
    "watch": 1.0,
}
_FAULTS: Final = {
    "crash": 3.0,
    "start": 6.0,
    "pause": 1.5,
    "isolate": 1.0,
    "one_way": 1.0,
    "heal": 3.0,
    "slow_disk": 0.7,
    "full_disk": 0.4,
    "flip": 0.1,
    "storm": 0.6,
    "calm": 0.8,
    "transfer": 0.8,
    "add": 0.4,
    "promote": 0.6,
    "remove": 0.2,
    "power_cut": 0.15,
}

MIXES: Final = {
    "all": Mix({**_CLIENTS, **_FAULTS}),
    "calm": Mix(_CLIENTS),
    "crashes": Mix({**_CLIENTS, "crash": 8, "start": 12, "power_cut": 0.5}),
    "network": Mix(
        {**_CLIENTS, "isolate": 3, "one_way": 3, "heal": 5, "storm": 2, "calm": 2, "pause": 2}
    ),
    "disks": Mix({**_CLIENTS, "crash": 6, "start": 9, "slow_disk": 3, "full_disk": 2, "flip": 0.4}),
    "members": Mix(
        {**_CLIENTS, "add": 3, "promote": 4, "remove": 2, "crash": 1, "start": 3, "transfer": 2}
    ),
    # Long and thin: what goes wrong now and then over hours.
    "nightly": Mix({**_CLIENTS, **_FAULTS}, pace_ms=5000.0),
}


@dataclass(frozen=True, slots=True)
class Settings:
    """What decides a run."""

    seed: int
    steps: int = 300
    members: int = 3
    mix: str = "all"


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that happens, `at_ms` after the beginning; numbers choose among what there is."""

    at_ms: float
    kind: str
    one: int = 0
    other: int = 0
    size: int = 0


@dataclass(frozen=True, slots=True)
class Schedule:
    """A run before it happens."""

    settings: Settings
    steps: Sequence[Step]

    def to_json(self) -> dict[str, Any]:
        """Return the form in which a schedule is kept."""
        steps = [[step.at_ms, step.kind, step.one, step.other, step.size] for step in self.steps]
        return {**asdict(self.settings), "schedule": steps}

    @classmethod
    def from_json(cls, kept: Mapping[str, Any]) -> Schedule:
        """Return the schedule of its kept form. Raises KeyError, TypeError or ValueError."""
        settings = Settings(
            int(kept["seed"]), int(kept["steps"]), int(kept["members"]), str(kept["mix"])
        )
        if settings.mix not in MIXES:
            raise ValueError(f"no mix named {settings.mix!r}")
        return cls(settings, tuple(Step(*row) for row in kept["schedule"]))


def plan(settings: Settings) -> Schedule:
    """Draw what happens, from the seed alone."""
    mix = MIXES[settings.mix]
    random = Random(f"plan {settings.seed}")
    kinds, weights = list(mix.weights), list(mix.weights.values())
    at_ms = 3000.0  # the first election
    steps: list[Step] = []
    for kind in random.choices(kinds, weights, k=settings.steps):
        at_ms += random.expovariate(1 / mix.pace_ms)
        one, other, size = (random.randrange(1 << 16) for _ in range(3))
        steps.append(Step(round(at_ms, 3), kind, one, other, size))
    return Schedule(settings, tuple(steps))
