"""Majorities against counting subsets, and configurations against plain sets."""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampan.raft import Change, ChangeType, ConfChange, ConfChangeError, ConfState, Transition
from sampan.raft.confchange import decode, encode
from sampan.raft.configuration import Configuration, changed
from sampan.raft.message import NO_LIMIT
from sampan.raft.quorum import (
    VoteResult,
    committed_index,
    joint_committed_index,
    joint_vote,
    vote,
)

IDS = st.integers(1, 7)
VOTERS = st.frozensets(IDS, max_size=7)
ACKED = st.dictionaries(IDS, st.integers(0, 9))
VOTES = st.dictionaries(IDS, st.booleans())
CHANGES = st.builds(Change, st.sampled_from(ChangeType), IDS)
CONF_CHANGES = st.builds(
    ConfChange,
    st.lists(CHANGES, max_size=4).map(tuple),
    st.sampled_from(Transition),
    st.binary(max_size=200),
)


def majorities(voters: frozenset[int]) -> list[set[int]]:
    """Every majority of `voters`, spelled out."""
    size = len(voters) // 2 + 1
    return [set(group) for n in range(size, len(voters) + 1) for group in combinations(voters, n)]


@given(VOTERS, ACKED)
def test_the_committed_index_is_the_best_that_some_majority_reached(
    voters: frozenset[int], acked: dict[int, int]
) -> None:
    reached = [min(acked.get(one, 0) for one in group) for group in majorities(voters)]
    expected = max(reached) if voters else NO_LIMIT
    assert committed_index(voters, lambda one: acked.get(one, 0)) == expected


@given(VOTERS, VOTERS, ACKED)
def test_a_joint_configuration_commits_what_both_halves_do(
    incoming: frozenset[int], outgoing: frozenset[int], acked: dict[int, int]
) -> None:
    def get(one: int) -> int:
        return acked.get(one, 0)

    for index in range(11):
        both = all(
            not half or any(all(get(one) >= index for one in group) for group in majorities(half))
            for half in (incoming, outgoing)
        )
        assert (joint_committed_index(incoming, outgoing, get) >= index) == both


def outcomes(voters: frozenset[int], votes: dict[int, bool]) -> set[bool]:
    """Whether the vote can still be won, and whether it can still be lost."""
    missing = [one for one in voters if one not in votes]
    found = set()
    for n in range(len(missing) + 1):
        for late in combinations(missing, n):
            yes = {one for one in voters if votes.get(one, one in late)}
            found.add(not voters or any(group <= yes for group in majorities(voters)))
    return found


RESULTS = {
    frozenset({True}): VoteResult.WON,
    frozenset({False}): VoteResult.LOST,
    frozenset({True, False}): VoteResult.PENDING,
}


@given(VOTERS, VOTES)
def test_a_vote_is_decided_when_late_votes_cannot_change_it(
    voters: frozenset[int], votes: dict[int, bool]
) -> None:
    assert vote(voters, votes) is RESULTS[frozenset(outcomes(voters, votes))]


@given(VOTERS, VOTERS, VOTES)
def test_a_joint_vote_needs_both_halves(
    incoming: frozenset[int], outgoing: frozenset[int], votes: dict[int, bool]
) -> None:
    halves = [vote(incoming, votes), vote(outgoing, votes)]
    result = joint_vote(incoming, outgoing, votes)
    assert (result is VoteResult.WON) == (halves == [VoteResult.WON] * 2)
    assert (result is VoteResult.LOST) == (VoteResult.LOST in halves)


@given(CONF_CHANGES)
def test_a_change_survives_its_encoding(change: ConfChange) -> None:
    assert decode(encode(change)) == change


def test_the_encoding_is_the_protobuf_message() -> None:
    change = ConfChange(
        (Change(ChangeType.ADD_VOTER, 300), Change(ChangeType.ADD_LEARNER, 2)),
        Transition.EXPLICIT,
        b"who",
    )
    assert encode(change) == bytes.fromhex("0802 1203 10ac02 1204 0803 1002 1a03") + b"who"


@given(st.binary(max_size=40))
def test_nonsense_is_refused_with_an_error(data: bytes) -> None:
    try:
        decode(data)
    except ConfChangeError:
        pass


@given(st.lists(CONF_CHANGES, max_size=12))
def test_neighbouring_configurations_always_share_a_voter_in_every_two_majorities(
    steps: list[ConfChange],
) -> None:
    """What membership changes are for: two leaders of one term are impossible (thesis 4.1)."""
    config = Configuration(frozenset({1, 2, 3}))
    for step in steps:
        try:
            after = changed(config, step)
        except ConfChangeError:
            continue
        assert after.voters
        assert Configuration.restore(after.conf_state()) == after
        for old in quorums(config):
            for new in quorums(after):
                assert old & new, f"{config} {after}"
        if step.changes and not after.is_joint:
            assert len(config.voters ^ after.voters) <= 1
        config = after


def quorums(config: Configuration) -> list[set[int]]:
    """The smallest sets that can decide in `config`."""
    outgoing = smallest(config.outgoing) or [set()]
    return [one | other for one in smallest(config.voters) for other in outgoing]


def smallest(voters: frozenset[int]) -> list[set[int]]:
    return [set(group) for group in combinations(voters, len(voters) // 2 + 1) if voters]


def applied_plainly(voters: set[int], learners: set[int], change: ConfChange) -> ConfState:
    """What the changes come to once everything is over, by the plain meaning of the words."""
    for one in change.changes:
        if one.type is ChangeType.UPDATE:
            continue
        voters.discard(one.member)
        learners.discard(one.member)
        if one.type is ChangeType.ADD_VOTER:
            voters.add(one.member)
        elif one.type is ChangeType.ADD_LEARNER:
            learners.add(one.member)
    return ConfState(tuple(sorted(voters)), tuple(sorted(learners)))


@given(st.frozensets(IDS, min_size=1), st.frozensets(IDS), CONF_CHANGES)
def test_a_change_ends_where_its_words_say(
    voters: frozenset[int], learners: frozenset[int], change: ConfChange
) -> None:
    learners -= voters
    try:
        config = changed(Configuration(voters, learners=learners), change)
        if config.is_joint:
            assert config.outgoing == voters
            config = changed(config, ConfChange())
    except ConfChangeError:
        return
    assert config.conf_state() == applied_plainly(set(voters), set(learners), change)


def test_impossible_changes_are_refused() -> None:
    config = Configuration(frozenset({1}))
    for change, complaint in [
        (ConfChange((Change(ChangeType.REMOVE, 1),)), "all voters"),
        (ConfChange(), "no joint configuration"),
    ]:
        with pytest.raises(ConfChangeError, match=complaint):
            changed(config, change)
    joint = changed(config, ConfChange((Change(ChangeType.ADD_VOTER, 2),), Transition.EXPLICIT))
    with pytest.raises(ConfChangeError, match="must be left"):
        changed(joint, ConfChange((Change(ChangeType.ADD_VOTER, 3),)))
