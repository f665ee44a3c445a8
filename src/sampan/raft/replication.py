"""A leader's log and how it reaches the others (thesis 3.5, 3.6; batching and pipelining 10.2).

Appends are not sent as proposals come in but once per Ready, so that what was proposed together
travels together; each follower's window decides how much that is.
"""

from __future__ import annotations

from collections.abc import Iterable

from sampan.base.errors import invariant
from sampan.raft.errors import Compacted, SnapshotUnavailable
from sampan.raft.message import Entry, Message, MsgType, Role, payload_bytes, size_of
from sampan.raft.progress import Progress, ProgressState
from sampan.raft.state import Raft

__all__ = [
    "append_entries",
    "broadcast_heartbeat",
    "flush",
    "maybe_commit",
    "reduce_uncommitted",
    "send_append",
    "send_while_possible",
]


def append_entries(raft: Raft, entries: Iterable[Entry]) -> bool:
    """Append to the leader's own log; False when too much is uncommitted already."""
    invariant(raft.role is Role.LEADER, "only a leader appends on its own")
    last = raft.log.last_index()
    term = raft.term
    stamped = [
        Entry(term, index, entry.data, entry.type) for index, entry in enumerate(entries, last + 1)
    ]
    size = payload_bytes(stamped)
    uncommitted = raft.uncommitted_bytes
    if uncommitted and size and uncommitted + size > raft.options.max_uncommitted_bytes:
        return False
    raft.uncommitted_bytes += size
    index = raft.log.append(stamped)
    # The leader counts itself only when its own write is done (thesis 10.2.1).
    raft.send(Message(MsgType.APPEND_RESP, to=raft.id, sender=raft.id, term=raft.term, index=index))
    raft.append_due = True
    return True


def reduce_uncommitted(raft: Raft, entries: Iterable[Entry]) -> None:
    """`entries` were committed and handed out."""
    raft.uncommitted_bytes = max(raft.uncommitted_bytes - payload_bytes(entries), 0)


def flush(raft: Raft) -> None:
    """Send the appends and heartbeats that are due."""
    if raft.heartbeat_due:
        broadcast_heartbeat(raft)
    announce = raft.announcing or not raft.options.patient_commit
    if not raft.append_due and not (raft.commit_due and announce):
        return
    raft.append_due = raft.announcing = False
    committed = raft.log.committed
    for member, progress in raft.tracker.progress.items():
        if member != raft.id:
            send_append(raft, member, if_empty=announce and progress.can_bump_commit(committed))
            send_while_possible(raft, member)
    raft.commit_due = not announce and any(
        progress.can_bump_commit(committed)
        for member, progress in raft.tracker.progress.items()
        if member != raft.id
    )


def send_while_possible(raft: Raft, member: int) -> None:
    """Send everything that the member's window admits."""
    while send_append(raft, member, if_empty=False):
        pass


def send_append(raft: Raft, member: int, *, if_empty: bool = True) -> bool:
    """Send the next entries, or a snapshot in their place; says whether anything was sent.

    Without entries to send, it sends only `if_empty`: to tell the commit index, or to find out
    where the logs agree.
    """
    progress = raft.tracker.progress[member]
    if progress.is_paused:
        return False
    log = raft.log
    previous = progress.next - 1
    try:
        previous_term = log.term(previous)
        # A full window still admits an empty append: its answer shows what was lost.
        window_open = progress.state is not ProgressState.REPLICATE or not progress.inflights.full
        entries = tuple(
            log.entries_from(progress.next, raft.options.max_message_bytes) if window_open else ()
        )
    except Compacted:
        return _send_snapshot(raft, member, progress)
    if not entries and not if_empty:
        return False
    raft.send(
        Message(
            MsgType.APPEND,
            to=member,
            sender=raft.id,
            term=raft.term,
            index=previous,
            log_term=previous_term,
            entries=entries,
            commit=log.committed,
        )
    )
    progress.sent_entries(len(entries), size_of(entries))
    progress.sent_commit = log.committed
    return True


def _send_snapshot(raft: Raft, member: int, progress: Progress) -> bool:
    if not progress.recent_active:
        return False  # a member that does not answer would not take it
    try:
        snapshot = raft.log.unstable.snapshot or raft.options.storage.snapshot()
    except SnapshotUnavailable:
        return False
    invariant(snapshot.index > 0, "entries are compacted but there is no snapshot")
    progress.become_snapshot(snapshot.index)
    raft.send(
        Message(MsgType.SNAPSHOT, to=member, sender=raft.id, term=raft.term, snapshot=snapshot)
    )
    return True


def maybe_commit(raft: Raft) -> bool:
    """Commit what a quorum has, if the last of it is of this term (thesis 3.6.2)."""
    index = raft.tracker.committed()
    log = raft.log
    if index <= log.committed or not log.matches(index, raft.term):
        return False
    log.commit_to(index)
    raft.commit_due = True
    return True


def broadcast_heartbeat(raft: Raft) -> None:
    """Tell everybody that the leader lives, what is committed, and the newest read round."""
    raft.heartbeat_due = False
    for member, progress in raft.tracker.progress.items():
        if member == raft.id:
            continue
        commit = min(progress.match, raft.log.committed)
        progress.sent_commit = max(progress.sent_commit, commit)
        raft.send(
            Message(
                MsgType.HEARTBEAT,
                to=member,
                sender=raft.id,
                term=raft.term,
                commit=commit,
                index=raft.ticks,
                hint=raft.read_round,
            )
        )
