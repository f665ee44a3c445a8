"""Linearizable reads without a log entry (thesis 6.4).

A read may be served from the state at the leader's commit index of the moment it was asked for,
provided that the leader still leads at that moment. SAFE makes sure with a round of heartbeats:
rounds are numbered, every heartbeat carries the newest number, and its answer confirms that round
and all before it. So rounds may be lost, and many reads share one.

LEASE saves the round while the lease holds. Every heartbeat carries the leader's tick at which
it left. A member that answered it votes for nobody for T ticks from then on (it refuses, or has
not timed out), so a quorum's newest answers keep any other leader away until the oldest of them
is T ticks old. One tick is taken off because two clocks' ticks do not begin together. This assumes
that no clock runs faster than another by more than one part in T. A leadership transfer suspends
the promise, so after asking a member to take over, a leader never uses its lease again in its
term.
"""

from __future__ import annotations

from sampan.raft.message import NONE, Message, MsgType, ReadState
from sampan.raft.options import ReadMode
from sampan.raft.state import Raft

__all__ = ["answer", "ask", "confirm", "lease_holds", "release_postponed"]


def ask(raft: Raft, request: Message) -> None:
    """A leader takes a READ_INDEX request, its own or a follower's."""
    if not raft.committed_in_term:
        # Until then it may not know the newest commit (thesis 6.4, first step).
        raft.postponed_reads.append(request)
    elif raft.tracker.is_single(raft.id) or lease_holds(raft):
        answer(raft, request, raft.log.committed)
    else:
        raft.read_round += 1
        raft.pending_reads.append((raft.read_round, raft.log.committed, request))
        raft.heartbeat_due = True


def release_postponed(raft: Raft) -> None:
    """An entry of this term is committed: take the requests that waited for it."""
    if raft.postponed_reads and raft.committed_in_term:
        waiting, raft.postponed_reads = raft.postponed_reads, []
        for request in waiting:
            ask(raft, request)


def confirm(raft: Raft) -> None:
    """Answer the reads of all rounds that a quorum has confirmed."""
    if not raft.pending_reads:
        return
    progress = raft.tracker.progress
    confirmed = raft.tracker.reached(
        lambda member: raft.read_round if member == raft.id else progress[member].read_round
    )
    while raft.pending_reads and raft.pending_reads[0][0] <= confirmed:
        _, index, request = raft.pending_reads.popleft()
        answer(raft, request, index)


def answer(raft: Raft, request: Message, index: int) -> None:
    """Reading at `index` is linearizable: tell who asked."""
    if request.sender in (NONE, raft.id):
        raft.read_states.append(ReadState(index, request.context))
        return
    raft.send(
        Message(
            MsgType.READ_INDEX_RESP,
            to=request.sender,
            sender=raft.id,
            term=raft.term,
            index=index,
            context=request.context,
        )
    )


def lease_holds(raft: Raft) -> bool:
    """Whether no other leader can exist yet, by the answers to recent heartbeats."""
    if raft.options.read_mode is not ReadMode.LEASE or raft.lease_void:
        return False
    progress = raft.tracker.progress
    since = raft.tracker.reached(
        lambda member: raft.ticks if member == raft.id else progress[member].lease_tick
    )
    return raft.ticks - since < raft.options.election_ticks - 1
