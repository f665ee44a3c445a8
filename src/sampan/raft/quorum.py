"""Majorities, single and joint (thesis 3.6.1 and 4.3).

A joint configuration decides only what both its majorities decide; a single one is a joint one
whose second half is empty, and an empty half agrees to everything.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set
from enum import Enum

from sampan.raft.message import NO_LIMIT

__all__ = ["VoteResult", "committed_index", "joint_committed_index", "joint_vote", "vote"]


class VoteResult(Enum):
    """What a vote has come to."""

    PENDING = "pending"
    WON = "won"
    LOST = "lost"


def committed_index(voters: Set[int], acked: Callable[[int], int]) -> int:
    """Return the largest index that a majority of `voters` has reached.

    `acked` says how far a voter got, 0 for not at all. No voters hold nothing back: NO_LIMIT.
    """
    if not voters:
        return NO_LIMIT
    reached = sorted(map(acked, voters))
    return reached[(len(reached) - 1) // 2]


def joint_committed_index(
    incoming: Set[int], outgoing: Set[int], acked: Callable[[int], int]
) -> int:
    """Return the largest index that both majorities have reached."""
    return min(committed_index(incoming, acked), committed_index(outgoing, acked))


def vote(voters: Set[int], votes: Mapping[int, bool]) -> VoteResult:
    """Return what `votes`, those cast so far, come to among `voters`."""
    yes = no = 0
    for voter in voters:
        cast = votes.get(voter)
        if cast is not None:
            yes += cast
            no += not cast
    majority = len(voters) // 2 + 1
    if not voters or yes >= majority:
        return VoteResult.WON
    return VoteResult.LOST if len(voters) - no < majority else VoteResult.PENDING


def joint_vote(incoming: Set[int], outgoing: Set[int], votes: Mapping[int, bool]) -> VoteResult:
    """Return what `votes` come to when both majorities are needed."""
    results = {vote(incoming, votes), vote(outgoing, votes)}
    if VoteResult.LOST in results:
        return VoteResult.LOST
    return VoteResult.PENDING if VoteResult.PENDING in results else VoteResult.WON
