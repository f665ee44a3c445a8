"""The simulator: every promise holds, the same seed is the same run, and bugs are noticed.

The last part breaks the production code on purpose, each time in a way in which a real store was
once broken; a simulator that does not notice is worth nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence, Set
from pathlib import Path
from typing import Any

import pytest

from sampan.raft import Ready, quorum
from sampan.raft import reads as raft_reads
from sampan.raft.log import RaftLog
from sampan.sim import Outcome, Schedule, Settings, plan, shrink, simulate
from sampan.sim.member import Member
from sampan.sim.schedule import MIXES, Step
from sampan.store.core.lease import Lessor
from sampan.store.core.mvcc import Mvcc
from sampan.store.core.replica import Replica
from sampan.store.core.watch import WatchHub
from sampan.store.shell import raft_wal

FOUND = sorted((Path(__file__).parent / "found").glob("*.json"))


def run(seed: int, *, steps: int = 300, members: int = 3, mix: str = "all") -> Outcome:
    return simulate(plan(Settings(seed, steps, members, mix)))


@pytest.mark.parametrize("mix", sorted(set(MIXES) - {"nightly"}))
@pytest.mark.parametrize("members", [3, 5])
def test_every_promise_holds(mix: str, members: int) -> None:
    for seed in range(1, 5):
        outcome = run(seed, members=members, mix=mix)
        assert outcome.ok, f"seed {seed}: {outcome.violation}"
        assert outcome.acknowledged > 10


@pytest.mark.parametrize("path", FOUND, ids=lambda path: path.stem)
def test_what_was_found_stays_mended(path: Path) -> None:
    outcome = simulate(Schedule.from_json(json.loads(path.read_text())))
    assert outcome.ok, outcome.violation


@pytest.mark.slow
@pytest.mark.parametrize("mix", sorted(MIXES))
def test_many_seeds(mix: str) -> None:
    for seed in range(1000, 1300):
        outcome = run(seed, mix=mix)
        assert outcome.ok, f"seed {seed}: {outcome.violation}"


def test_the_same_seed_is_the_same_run() -> None:
    one, other = run(11), run(11)
    assert (one.trace, one.events) == (other.trace, other.events)
    assert run(12).trace != one.trace


def test_the_faults_really_happen() -> None:
    outcomes = [run(seed, mix="all") for seed in range(1, 9)]
    assert sum(each.crashes for each in outcomes) > 20
    assert sum(each.snapshots for each in outcomes) > 0
    assert sum(each.leaders for each in outcomes) > 16


def test_a_schedule_survives_being_kept() -> None:
    schedule = plan(Settings(3, 40, 3, "disks"))
    kept = json.loads(json.dumps(schedule.to_json()))
    assert Schedule.from_json(kept) == schedule


# ---- what must be noticed

Patch = pytest.MonkeyPatch


def vote_forgotten(patch: Patch) -> None:
    """Term and vote do not reach the disk (PySyncObj)."""
    save = raft_wal.save

    def forgetful(log: Any, work: Sequence[Ready]) -> bool:
        saved = save(log, work)
        log.hard_state = None
        return saved

    def no_state(log: Any, state: object) -> None:
        return

    from sampan.sim.disk import SimWal

    append = SimWal.append

    def bare(self: SimWal, *arguments: Any, **options: Any) -> None:
        options["hard_state"] = None
        append(self, *arguments, **options)

    patch.setattr(SimWal, "append", bare)
    patch.setattr(SimWal, "save_hard_state", no_state)
    patch.setattr(raft_wal, "save", forgetful)


def answer_before_the_flush(patch: Patch) -> None:
    """What vouches for a write leaves before it is durable (lost write on crash)."""
    from sampan.sim.disk import SimWal

    patch.setattr(SimWal, "flush", lambda self: None)


def stale_read(patch: Patch) -> None:
    """A member answers reads without asking whether it still leads (stale read after a pause)."""

    def at_once(self: Replica, ready: Callable[[], None], failed: object) -> None:
        ready()

    patch.setattr(Replica, "read", at_once)


def read_without_a_quorum(patch: Patch) -> None:
    """A leader confirms reads by itself."""

    def alone(raft: Any, request: Any) -> None:
        raft_reads.answer(raft, request, raft.log.committed)

    patch.setattr(raft_reads, "ask", alone)


def one_vote_is_enough(patch: Patch) -> None:
    """A candidate counts itself elected by its first vote (split brain)."""

    def anyone(voters: Set[int], votes: Mapping[int, bool]) -> quorum.VoteResult:
        return quorum.VoteResult.WON if any(votes.values()) else quorum.VoteResult.PENDING

    patch.setattr(quorum, "vote", anyone)


def applied_twice(patch: Patch) -> None:
    """After a restart entries are applied that the backend held already (inconsistent revision)."""
    opened = Member._open_state

    def behind(self: Member) -> None:
        opened(self)
        self.state.applied_index = max(0, self.state.applied_index - 3)

    patch.setattr(Member, "_open_state", behind)


def revision_goes_back(patch: Patch) -> None:
    """A compaction takes the newest revision along."""
    compact = Mvcc.compact

    def greedy(self: Mvcc, at_revision: int) -> None:
        compact(self, at_revision)
        if at_revision == self.revision:
            self.revision -= 1

    patch.setattr(Mvcc, "compact", greedy)


def delete_lost_at_compaction(patch: Patch) -> None:
    """A compaction makes a deleted key live again after a restart."""
    restore = Mvcc.restore

    def risen(self: Mvcc, batches: Any) -> None:
        rows = [pair for batch in batches for pair in batch if not pair[0].endswith(b"t")]
        restore(self, [rows])

    patch.setattr(Mvcc, "restore", risen)


def watch_starves(patch: Patch) -> None:
    """A watcher that has to catch up never does (watch starvation)."""
    patch.setattr(WatchHub, "sync", lambda self: False)


def watch_travels_in_time(patch: Patch) -> None:
    """A watcher that catches up begins one revision too early."""
    join = WatchHub.join

    def early(self: WatchHub, watcher: Any, start_rev: int) -> None:
        join(self, watcher, max(start_rev - 1, 1) if start_rev else 0)

    patch.setattr(WatchHub, "join", early)


def lease_ends_early(patch: Patch) -> None:
    """A new leader lets leases run out at once."""
    promote = Lessor.promote

    def at_once(self: Lessor, extend_s: float = 0.0) -> None:
        promote(self, -1e6)

    patch.setattr(Lessor, "promote", at_once)


def stale_candidate_wins(patch: Patch) -> None:
    """Voters do not look at the candidate's log (committed entries lost)."""
    patch.setattr(RaftLog, "is_up_to_date", lambda self, index, term: True)


def appends_without_a_match(patch: Patch) -> None:
    """A follower takes entries without comparing the one before them (logs diverge)."""

    def matches(self: RaftLog, index: int, term: int) -> bool:
        return index <= self.last_index()

    patch.setattr(RaftLog, "matches", matches)


BUGS = [
    stale_candidate_wins,
    appends_without_a_match,
    vote_forgotten,
    answer_before_the_flush,
    stale_read,
    read_without_a_quorum,
    one_vote_is_enough,
    applied_twice,
    revision_goes_back,
    delete_lost_at_compaction,
    watch_starves,
    watch_travels_in_time,
    lease_ends_early,
]


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.__name__)
def test_a_bug_is_noticed(bug: Callable[[Patch], None], monkeypatch: Patch) -> None:
    bug(monkeypatch)
    for seed in range(1, 60):
        for mix in ("all", "network", "crashes"):
            if not run(seed, mix=mix).ok:
                return
    pytest.fail("no seed noticed")


def test_a_failure_is_made_smaller(monkeypatch: Patch) -> None:
    stale_read(monkeypatch)
    schedule, outcome = next(
        (schedule, outcome)
        for schedule in (plan(Settings(seed, 120, 3, "network")) for seed in range(1, 60))
        if not (outcome := simulate(schedule)).ok
    )
    assert outcome.violation is not None
    smaller = shrink(schedule, outcome.violation.kind)
    assert len(smaller.steps) < len(schedule.steps) / 3
    assert all(isinstance(step, Step) for step in smaller.steps)
    again = simulate(smaller)
    assert again.violation is not None and again.violation.kind == outcome.violation.kind
