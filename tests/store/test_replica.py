"""A member's replicated log: proposals, reads, membership, snapshots, crashes; see replicas.py."""

from __future__ import annotations

import pytest
from tests.store.replicas import Cluster, Disk

from sampan.base.errors import InvariantError
from sampan.raft import Change, ChangeType, ConfChange, StorageError
from sampan.store.core import errors


def test_a_proposal_is_applied_everywhere_and_answered_where_it_was_made() -> None:
    cluster = Cluster(3)
    leader = cluster.elect()
    follower = next(each for each in cluster.members.values() if each is not leader)
    leader.replica.propose(b"one", "by the leader")
    follower.replica.propose(b"two", "by a follower")
    cluster.settle()
    cluster.pass_time(2)
    assert sorted(leader.applied) == [b"one", b"two"]
    assert all(each.applied == leader.applied for each in cluster.members.values())
    assert leader.told == {"by the leader": "applied"}
    assert follower.told == {"by a follower": "applied"}


def test_what_is_proposed_together_keeps_its_order() -> None:
    cluster = Cluster(3)
    leader = cluster.elect()
    entries = [b"%d" % number for number in range(100)]
    for entry in entries:
        leader.replica.propose(entry, entry)
    cluster.settle()
    assert leader.applied == entries
    assert set(leader.told.values()) == {"applied"}


def test_a_proposal_waits_for_a_leader() -> None:
    cluster = Cluster(3)
    cluster.members[2].replica.propose(b"early", "early")
    cluster.settle()
    assert not cluster.members[2].told
    cluster.elect()
    assert cluster.members[2].told == {"early": "applied"}


def test_without_a_quorum_a_proposal_times_out_and_says_that_its_outcome_is_open() -> None:
    cluster = Cluster(3)
    leader = cluster.elect()
    cluster.cut = {each for each in cluster.members if each != leader.id}
    leader.replica.propose(b"lost?", "write")
    leader.read("read")
    cluster.pass_time(70)
    assert leader.told["write"] == str(errors.TIMEOUT_DUE_TO_LEADER_FAIL())
    assert leader.told["read"] == str(errors.TIMEOUT_DUE_TO_LEADER_FAIL())
    cluster.cut = set()
    cluster.pass_time(40)
    assert cluster.leader.applied in ([], [b"lost?"])
    assert all(each.applied == cluster.leader.applied for each in cluster.members.values())


def test_a_read_sees_what_was_acknowledged_elsewhere() -> None:
    cluster = Cluster(3)
    leader = cluster.elect()
    for number in range(5):
        leader.replica.propose(b"%d" % number, number)
    cluster.settle()
    assert len(leader.told) == 5
    for member in cluster.members.values():
        member.read("read")
    cluster.pass_time(3)
    assert {each.told["read"] for each in cluster.members.values()} == {"read 5"}


def test_a_deposed_leader_serves_no_stale_read() -> None:
    cluster = Cluster(3)
    old = cluster.elect()
    cluster.cut = {old.id}
    cluster.pass_time(5)
    old.read("stale")
    cluster.pass_time(40)
    new = cluster.leader
    assert new is not old
    new.replica.propose(b"new", "new")
    cluster.pass_time(3)
    assert new.told == {"new": "applied"}
    assert old.told.get("stale") != "read 0"
    cluster.cut = set()
    cluster.pass_time(40)
    assert old.told["stale"] in ("read 1", str(errors.TIMEOUT_DUE_TO_LEADER_FAIL()))


def test_what_only_a_leader_may_propose_is_never_passed_on() -> None:
    """The end of a lease, by one that leads no more: elsewhere it may have been renewed."""
    cluster = Cluster(3)
    old = cluster.elect()
    old.replica.propose_as_leader(b"by the leader", "led")
    cluster.settle()
    assert old.told.pop("led") == "applied"
    cluster.cut = {old.id}
    cluster.pass_time(40)
    assert cluster.leader is not old
    cluster.cut = set()
    cluster.pass_time(5)
    old.replica.propose_as_leader(b"too late", "late")
    cluster.pass_time(5)
    assert old.told["late"] == str(errors.NOT_LEADER())
    assert all(each.applied == [b"by the leader"] for each in cluster.members.values())


def test_many_reads_share_one_question() -> None:
    cluster = Cluster(3)
    follower = next(each for each in cluster.members.values() if each is not cluster.elect())
    for number in range(50):
        follower.read(number)
    follower.work()
    asked = [each for each in cluster.network if each.sender == follower.id]
    assert len(asked) == 1
    cluster.pass_time(3)
    assert len(follower.told) == 50


def test_a_member_that_crashes_goes_on_where_it_was() -> None:
    cluster = Cluster(3)
    leader = cluster.elect()
    leader.replica.propose(b"one", 1)
    cluster.settle()
    follower = next(each for each in cluster.members.values() if each is not leader)
    follower.commit()
    follower.crash()
    leader.replica.propose(b"two", 2)
    cluster.settle()
    follower.start()
    assert follower.applied in ([], [b"one"])
    cluster.pass_time(5)
    assert follower.applied == [b"one", b"two"]


def test_a_whole_cluster_comes_back_from_its_disks() -> None:
    cluster = Cluster(3)
    leader = cluster.elect()
    for number in range(30):
        leader.replica.propose(b"%d" % number, number)
    cluster.settle()
    before = list(leader.applied)
    for member in cluster.members.values():
        member.crash()
    cluster.network.clear()
    for member in cluster.members.values():
        member.start()
    cluster.elect()
    assert all(each.applied == before for each in cluster.members.values())


def test_a_member_is_added_as_a_learner_gets_a_snapshot_and_is_promoted() -> None:
    cluster = Cluster(3)
    leader = cluster.elect()
    for number in range(60):  # more than are kept for those that lag
        leader.replica.propose(b"%d" % number, number)
        cluster.settle(3)
    newcomer = cluster.join(4)
    cluster.change(ChangeType.ADD_LEARNER, 4)
    assert leader.told["change 4"] == "applied"
    assert newcomer.applied == leader.applied and len(newcomer.applied) == 61
    assert newcomer.disk.base[0] > 0, "it came by a snapshot"
    assert leader.replica.conf_state.learners == (4,)
    cluster.change(ChangeType.ADD_VOTER, 4, b"\x0cpromote")
    assert leader.replica.conf_state.voters == (1, 2, 3, 4)
    cluster.cut = {next(iter({1, 2, 3} - {leader.id}))}
    leader.replica.propose(b"with four", "four")
    cluster.pass_time(3)
    assert leader.told["four"] == "applied"


def test_a_change_that_the_state_machine_refuses_changes_nothing() -> None:
    cluster = Cluster(3)
    leader = cluster.elect()
    cluster.change(ChangeType.ADD_VOTER, 4, b"refuse")
    assert leader.told["change 4"] == "applied"
    assert {each.replica.conf_state.voters for each in cluster.members.values()} == {(1, 2, 3)}
    cluster.change(ChangeType.REMOVE, next(each for each in cluster.members if each != leader.id))
    assert len(leader.replica.conf_state.voters) == 2


def test_a_change_that_waited_too_long_is_given_up_once() -> None:
    cluster = Cluster(3)
    leader = cluster.elect()
    change = ConfChange((Change(ChangeType.ADD_LEARNER, 4),))
    leader.replica.propose_membership(change, b"\x0aadd", "late")
    cluster.cut = {each for each in cluster.members if each != leader.id}
    leader.replica.propose_membership(change, b"\x0aadd", "later")
    cluster.pass_time(80)
    assert set(leader.told) == {"late", "later"}
    cluster.cut = set()
    cluster.pass_time(40)
    assert cluster.leader.replica.term > 0


def test_a_leader_that_is_removed_lets_another_lead() -> None:
    cluster = Cluster(3)
    old = cluster.elect()
    cluster.change(ChangeType.REMOVE, old.id)
    cluster.cut = {old.id}
    cluster.pass_time(40)
    new = cluster.leader
    assert new is not old and old.id not in new.replica.conf_state.voters
    new.replica.propose(b"without it", "x")
    cluster.pass_time(3)
    assert new.told["x"] == "applied"


def test_stepping_aside_hands_leadership_over_at_once() -> None:
    cluster = Cluster(3)
    old = cluster.elect()
    assert old.replica.step_aside()
    cluster.settle()
    assert cluster.leader is not old
    assert not old.replica.step_aside()


def test_stopping_tells_everybody_who_waits() -> None:
    cluster = Cluster(3)
    leader = cluster.elect()
    leader.replica.propose(b"x", "write")
    leader.read("read")
    leader.replica.stop(errors.STOPPED())
    assert leader.told == {"write": str(errors.STOPPED()), "read": str(errors.STOPPED())}


def torment(seed: int) -> None:
    """Lose messages, cut members off, crash and start them; then let all heal, and compare."""
    cluster = Cluster(3, seed)
    draw = cluster.random
    count = 0
    for _ in range(150):
        member = draw.choice(list(cluster.members.values()))
        what = draw.random()
        if what < 0.1 and member.up:
            member.crash()
        elif what < 0.3 and not member.up:
            member.start()
        elif what < 0.35:
            cluster.cut = set() if cluster.cut else {member.id}
        elif what < 0.45 and member.up:
            member.commit()
        if member.up:
            member.replica.propose(b"%d" % count, count)
            count += 1
        cluster.pass_time(draw.randrange(1, 6), loss=draw.choice((0.0, 0.1, 0.4)))
    acknowledged = {
        b"%d" % context
        for each in cluster.members.values()
        for context, outcome in each.told.items()
        if outcome == "applied" and isinstance(context, int)
    }
    cluster.cut = set()
    for each in cluster.members.values():
        if not each.up:
            each.start()
    cluster.pass_time(120)
    leader = cluster.leader
    assert acknowledged, "something must have been acknowledged"
    assert acknowledged <= set(leader.applied), "acknowledged and lost"
    assert len(leader.applied) == len(set(leader.applied)), "applied twice"
    assert all(each.applied == leader.applied for each in cluster.members.values())


@pytest.mark.parametrize("seed", range(12))
def test_nothing_acknowledged_is_lost_whatever_fails(seed: int) -> None:
    torment(seed)


def test_disks_that_forget_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The test above can fail: without the promise of the disk it does."""
    monkeypatch.setattr(Disk, "write", lambda self, ready: None)
    with pytest.raises((AssertionError, InvariantError, StorageError)):
        for seed in range(12):
            torment(seed)
