"""What a follower does with a message, and how any member takes what a leader sends."""

from __future__ import annotations

from dataclasses import replace

from sampan.base.errors import invariant
from sampan.raft import election
from sampan.raft.configuration import Configuration
from sampan.raft.errors import ProposalDropped
from sampan.raft.message import NONE, Message, MsgType, ReadState, Role, Snapshot
from sampan.raft.options import ReadMode
from sampan.raft.state import Raft

__all__ = ["FROM_LEADER", "forget_leader", "hear_leader", "step"]

FROM_LEADER = frozenset({MsgType.APPEND, MsgType.HEARTBEAT, MsgType.SNAPSHOT})
"""What only the leader of its term sends."""


def step(raft: Raft, message: Message) -> None:
    """Take a message of the own term, or one without a term."""
    kind = message.type
    if kind in FROM_LEADER:
        hear_leader(raft, message)
    elif kind is MsgType.PROPOSE:
        if raft.leader == NONE:
            raise ProposalDropped("there is no leader at the moment")
        if not raft.options.forwarding:
            raise ProposalDropped("this member does not lead and forwarding is off")
        _forward(raft, message)
    elif kind in (MsgType.READ_INDEX, MsgType.TRANSFER_LEADER):
        if raft.leader != NONE:
            _forward(raft, message)
    elif kind is MsgType.READ_INDEX_RESP:
        raft.read_states.append(ReadState(message.index, message.context))
    elif kind is MsgType.TIMEOUT_NOW:
        # The leader asks for it, so there is nobody to disturb: no pre-vote.
        election.stand(raft, election.Campaign.TRANSFER)


def _forward(raft: Raft, message: Message) -> None:
    raft.send(replace(message, to=raft.leader, sender=message.sender or raft.id))


def forget_leader(raft: Raft) -> None:
    """Act as if the leader had not been heard of: lets this member vote for another at once.

    Not with lease reads, whose promise it would break.
    """
    if raft.role is Role.FOLLOWER and raft.options.read_mode is not ReadMode.LEASE:
        raft.leader = NONE


def hear_leader(raft: Raft, message: Message) -> None:
    """Take an append, heartbeat or snapshot from the leader of the present term."""
    invariant(
        raft.leader in (NONE, message.sender),
        f"two leaders in term {raft.term}: {raft.leader} and {message.sender}",
    )
    raft.leader = message.sender
    raft.election_elapsed = 0
    raft.heard_tick = raft.ticks
    if message.type is MsgType.APPEND:
        _append(raft, message)
    elif message.type is MsgType.HEARTBEAT:
        _heartbeat(raft, message)
    else:
        _snapshot(raft, message)


def _respond(raft: Raft, to: int, index: int) -> None:
    raft.send(Message(MsgType.APPEND_RESP, to=to, sender=raft.id, term=raft.term, index=index))


def _append(raft: Raft, message: Message) -> None:
    log = raft.log
    if message.index < log.committed:
        _respond(raft, message.sender, log.committed)
        return
    last = log.maybe_append(message.index, message.log_term, message.commit, message.entries)
    if last is not None:
        _respond(raft, message.sender, last)
        return
    # Nothing of a later term than the leader's entry can match, so the hint skips that.
    hint, hint_term = log.find_conflict_by_term(
        min(message.index, log.last_index()), message.log_term
    )
    raft.send(
        Message(
            MsgType.APPEND_RESP,
            to=message.sender,
            sender=raft.id,
            term=raft.term,
            index=message.index,
            reject=True,
            hint=hint,
            log_term=hint_term,
        )
    )


def _heartbeat(raft: Raft, message: Message) -> None:
    raft.log.commit_to(message.commit)
    raft.send(
        Message(
            MsgType.HEARTBEAT_RESP,
            to=message.sender,
            sender=raft.id,
            term=raft.term,
            index=message.index,
            hint=message.hint,
        )
    )


def _snapshot(raft: Raft, message: Message) -> None:
    snapshot = message.snapshot
    invariant(snapshot is not None, "a snapshot message without a snapshot")
    if snapshot is not None and _restore(raft, snapshot):
        _respond(raft, message.sender, raft.log.last_index())
    else:
        _respond(raft, message.sender, raft.log.committed)


def _restore(raft: Raft, snapshot: Snapshot) -> bool:
    """Take over `snapshot` unless the own log is as good; says whether it did (thesis 5.1).

    It may be older than this member's being added: the entries that follow will say so.
    """
    log = raft.log
    if snapshot.index <= log.committed:
        return False
    if log.matches(snapshot.index, snapshot.term):
        log.commit_to(snapshot.index)
        return False
    log.restore(snapshot)
    raft.tracker.adopt(Configuration.restore(snapshot.conf_state), log.last_index() + 1)
    raft.tracker.reset(log.last_index() + 1)
    return True
