"""Every message passes here first: terms are compared, then the role decides (thesis 3.3)."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from sampan.base.errors import invariant
from sampan.raft import candidate, election, follower, leader, replication
from sampan.raft.message import NONE, Message, MsgType, Role, size_of
from sampan.raft.state import Raft

__all__ = ["step", "tick"]

_BY_ROLE: Mapping[Role, Callable[[Raft, Message], None]] = {
    Role.FOLLOWER: follower.step,
    Role.PRE_CANDIDATE: candidate.step,
    Role.CANDIDATE: candidate.step,
    Role.LEADER: leader.step,
}
_VOTES = frozenset({MsgType.VOTE, MsgType.PRE_VOTE})


def tick(raft: Raft) -> None:
    """Let one tick pass."""
    raft.ticks += 1
    if raft.role is Role.LEADER:
        leader.tick(raft)
    else:
        election.tick(raft)


def step(raft: Raft, message: Message) -> None:
    """Take one message. Raises ProposalDropped for a proposal that is not taken."""
    if message.term > raft.term:
        if not _enter_term(raft, message):
            return
    elif 0 < message.term < raft.term:
        _answer_old_term(raft, message)
        return
    kind = message.type
    if kind in _VOTES:
        election.handle_vote_request(raft, message)
    elif kind is MsgType.STORAGE_APPEND_RESP:
        _written(raft, message)
    elif kind is MsgType.STORAGE_APPLY_RESP:
        _applied(raft, message)
    else:
        _BY_ROLE[raft.role](raft, message)


def _enter_term(raft: Raft, message: Message) -> bool:
    """Follow into the message's later term; False if the message is to be ignored."""
    kind = message.type
    if kind in _VOTES and not message.forced and raft.in_lease:
        return False  # the leader lives: do not let a returning member depose it
    asks = kind is MsgType.PRE_VOTE
    would_grant = kind is MsgType.PRE_VOTE_RESP and not message.reject
    if not asks and not would_grant:
        sent_by_leader = kind in follower.FROM_LEADER
        raft.become_follower(message.term, message.sender if sent_by_leader else NONE)
    return True


def _answer_old_term(raft: Raft, message: Message) -> None:
    """A member that missed a term: tell it where that would help, else ignore it."""
    kind = message.type
    options = raft.options
    if kind in (MsgType.APPEND, MsgType.HEARTBEAT) and (options.check_quorum or options.pre_vote):
        # This member's own candidacies are ignored because of the lease or the pre-vote, so the
        # old leader would never hear of the later term otherwise.
        raft.send(Message(MsgType.APPEND_RESP, to=message.sender, sender=raft.id, term=raft.term))
    elif kind is MsgType.PRE_VOTE:
        # Candidates from before pre-vote was switched on could wait for each other for ever.
        raft.send(
            Message(
                MsgType.PRE_VOTE_RESP,
                to=message.sender,
                sender=raft.id,
                term=raft.term,
                reject=True,
            )
        )
    elif kind is MsgType.PRE_VOTE_RESP:
        election.learn_commit(raft, message)
    elif kind is MsgType.STORAGE_APPEND_RESP and message.snapshot is not None:
        # Entries confirmed in an earlier term may have been replaced; a snapshot stays.
        _snapshot_written(raft, message.snapshot.index)


def _written(raft: Raft, message: Message) -> None:
    if message.index:
        raft.log.stable_to(message.index, message.log_term)
    if message.snapshot is not None:
        _snapshot_written(raft, message.snapshot.index)


def _snapshot_written(raft: Raft, index: int) -> None:
    raft.log.stable_snapshot_to(index)
    _applied_to(raft, index, 0)


def _applied(raft: Raft, message: Message) -> None:
    entries = message.entries
    invariant(entries, "nothing was applied")
    replication.reduce_uncommitted(raft, entries)
    _applied_to(raft, entries[-1].index, size_of(entries))


def _applied_to(raft: Raft, index: int, size_bytes: int) -> None:
    # A snapshot may have overtaken entries that were being applied.
    raft.log.applied_to(max(index, raft.log.applied), size_bytes)
    leader.after_apply(raft)
