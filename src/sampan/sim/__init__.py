"""A deterministic simulator: a whole cluster of the store's production cores under failures.

    from sampan.sim import Settings, plan, simulate

    run = simulate(plan(Settings(seed=7, steps=300, members=3)))
    print(run.trace, run.violation)

What is real: Raft, the replica, the state machine with its keys, leases and watches, the records of
the write-ahead log. What is simulated: time, the network, disks, processes and clients. One seed
decides everything, so that a run can be repeated; a run that fails can be made smaller (`shrink`).
"""

from sampan.sim.cluster import Simulation, simulate
from sampan.sim.outcome import Outcome, Violation
from sampan.sim.schedule import Mix, Schedule, Settings, plan
from sampan.sim.shrink import shrink

__all__ = [
    "Mix",
    "Outcome",
    "Schedule",
    "Settings",
    "Simulation",
    "Violation",
    "plan",
    "shrink",
    "simulate",
]
