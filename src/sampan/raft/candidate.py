"""What a pre-candidate or candidate does with a message."""

from __future__ import annotations

from sampan.raft import election, follower
from sampan.raft.errors import ProposalDropped
from sampan.raft.message import Message, MsgType, Role
from sampan.raft.state import Raft

__all__ = ["step"]

_COUNTS = {Role.PRE_CANDIDATE: MsgType.PRE_VOTE_RESP, Role.CANDIDATE: MsgType.VOTE_RESP}


def step(raft: Raft, message: Message) -> None:
    """Take a message of the own term, or one without a term."""
    if message.type in follower.FROM_LEADER:
        raft.become_follower(message.term, message.sender)  # somebody else won this term
        follower.hear_leader(raft, message)
    elif message.type is _COUNTS[raft.role]:
        election.count_vote(raft, message)
    elif message.type is MsgType.PROPOSE:
        raise ProposalDropped("there is no leader at the moment")
