"""Raft's safety under a hostile network: see simulation.py for what is checked."""

from __future__ import annotations

import pytest
from tests.raft.simulation import Simulation

FORMS: dict[str, dict[str, bool]] = {
    "plain": {},
    "async": {"async_writes": True},
    "lease": {"lease": True},
    "lease-async": {"lease": True, "async_writes": True},
    "bare": {"pre_vote": False, "check_quorum": False},
    "fixed": {"membership": False},
}


def simulate(seed: int, members: int, form: str, events: int) -> Simulation:
    simulation = Simulation(seed, members, **FORMS[form])
    simulation.run(events)
    simulation.heal()
    return simulation


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("members", [3, 5])
def test_a_cluster_stays_safe(members: int, form: str) -> None:
    for seed in range(2):
        simulation = simulate(seed, members, form, 3000)
        assert simulation.newest > 0
