"""What a leader does with a message and with time."""

from __future__ import annotations

from sampan.base.errors import invariant
from sampan.raft import confchange, reads, replication
from sampan.raft.configuration import changed
from sampan.raft.errors import ConfChangeError, ProposalDropped
from sampan.raft.follower import FROM_LEADER
from sampan.raft.message import NONE, Entry, EntryType, Message, MsgType, Role
from sampan.raft.progress import Progress, ProgressState
from sampan.raft.state import Raft

__all__ = ["adopt", "after_apply", "report_snapshot", "report_unreachable", "step", "tick"]


def tick(raft: Raft) -> None:
    """One tick of a leader."""
    raft.heartbeat_elapsed += 1
    raft.election_elapsed += 1
    if raft.election_elapsed >= raft.options.election_ticks:
        raft.election_elapsed = 0
        raft.transferee = NONE  # it had its time
        if raft.options.check_quorum and not _hears_quorum(raft):
            raft.become_follower(raft.term, NONE)
            return
    if raft.heartbeat_elapsed >= raft.options.heartbeat_ticks:
        raft.heartbeat_elapsed = 0
        replication.broadcast_heartbeat(raft)


def _hears_quorum(raft: Raft) -> bool:
    active = raft.tracker.quorum_active(raft.id)
    for member, progress in raft.tracker.progress.items():
        progress.recent_active = member == raft.id
    return active


def step(raft: Raft, message: Message) -> None:
    """Take a message of the own term, or one without a term."""
    kind = message.type
    if kind is MsgType.PROPOSE:
        _propose(raft, message)
        return
    if kind is MsgType.READ_INDEX:
        reads.ask(raft, message)
        return
    invariant(
        kind not in FROM_LEADER, f"two leaders in term {raft.term}: {raft.id} and {message.sender}"
    )
    progress = raft.tracker.progress.get(message.sender)
    if progress is None:
        return  # removed meanwhile
    if kind is MsgType.APPEND_RESP:
        progress.recent_active = True
        if message.reject:
            _rejected(raft, message, progress)
        else:
            _accepted(raft, message, progress)
    elif kind is MsgType.HEARTBEAT_RESP:
        _heard(raft, message, progress)
    elif kind is MsgType.TRANSFER_LEADER:
        _transfer(raft, message.sender, progress)


def _propose(raft: Raft, message: Message) -> None:
    if raft.id not in raft.tracker.progress:
        raise ProposalDropped("this leader is no member any more")
    if raft.transferee != NONE:
        raise ProposalDropped(f"leadership is being transferred to {raft.transferee}")
    pending = raft.pending_conf_index
    for position, entry in enumerate(message.entries, 1):
        if entry.type is EntryType.CONF_CHANGE:
            _check_conf_change(raft, entry, pending)
            pending = raft.log.last_index() + position
    if not replication.append_entries(raft, message.entries):
        raise ProposalDropped("too much data is waiting to be committed")
    raft.pending_conf_index = pending


def _check_conf_change(raft: Raft, entry: Entry, pending: int) -> None:
    """One change at a time (thesis 4.1): the one before must be applied."""
    if pending > raft.log.applied:
        raise ProposalDropped(
            f"a membership change at entry {pending} may not be applied yet ({raft.log.applied})"
        )
    try:
        changed(raft.tracker.config, confchange.decode(entry.data))
    except ConfChangeError as error:
        raise ProposalDropped(str(error)) from error


def _rejected(raft: Raft, message: Message, progress: Progress) -> None:
    """Go back to where the logs may agree: skip the terms that the member's log does not have."""
    hint = message.hint
    if message.log_term > 0:
        hint, _ = raft.log.find_conflict_by_term(hint, message.log_term)
    if progress.maybe_decrease(message.index, hint):
        if progress.state is ProgressState.REPLICATE:
            progress.become_probe()
        replication.send_append(raft, message.sender)


def _accepted(raft: Raft, message: Message, progress: Progress) -> None:
    invariant(
        message.index <= raft.log.last_index(),
        f"{message.sender} acknowledges entry {message.index}, which was never sent",
    )
    was_paused = progress.is_paused
    first_answer = progress.state is ProgressState.PROBE and progress.match == message.index
    if not progress.maybe_update(message.index) and not first_answer:
        return
    if progress.state is ProgressState.PROBE:
        progress.become_replicate()
    elif progress.state is ProgressState.REPLICATE:
        progress.inflights.free_to(message.index)
    elif progress.match + 1 >= raft.log.first_index():
        # Wherever it got them from, it has what the log still holds.
        progress.become_probe()
        progress.become_replicate()
    if replication.maybe_commit(raft):
        reads.release_postponed(raft)
    if message.sender == raft.id:
        return
    more = progress.next <= raft.log.last_index()
    if was_paused or more:
        raft.append_due = True
    elif progress.can_bump_commit(raft.log.committed):
        raft.commit_due = True
    if message.sender == raft.transferee:
        _maybe_time_out_now(raft, progress)


def _heard(raft: Raft, message: Message, progress: Progress) -> None:
    progress.recent_active = True
    progress.lease_tick = max(progress.lease_tick, min(message.index, raft.ticks))
    progress.read_round = max(progress.read_round, min(message.hint, raft.read_round))
    progress.paused = False
    if progress.match < raft.log.last_index() or progress.state is ProgressState.PROBE:
        replication.send_append(raft, message.sender)
    reads.confirm(raft)


def _transfer(raft: Raft, target: int, progress: Progress) -> None:
    """Bring `target` up to date, then let it stand at once (thesis 3.10)."""
    if target in (raft.id, raft.transferee) or target not in raft.tracker.config.all_voters:
        return
    raft.election_elapsed = 0  # it has one election time-out
    raft.transferee = target
    if not _maybe_time_out_now(raft, progress):
        replication.send_append(raft, target)


def _maybe_time_out_now(raft: Raft, progress: Progress) -> bool:
    if progress.match != raft.log.last_index():
        return False
    raft.lease_void = True
    raft.send(Message(MsgType.TIMEOUT_NOW, to=raft.transferee, sender=raft.id, term=raft.term))
    return True


def report_unreachable(raft: Raft, member: int) -> None:
    """Appends sent to `member` are probably lost."""
    progress = raft.tracker.progress.get(member)
    if raft.role is Role.LEADER and progress and progress.state is ProgressState.REPLICATE:
        progress.become_probe()


def report_snapshot(raft: Raft, member: int, *, delivered: bool) -> None:
    """The snapshot sent to `member` arrived or was given up; go on with the next answer."""
    progress = raft.tracker.progress.get(member)
    if raft.role is not Role.LEADER or not progress:
        return
    if progress.state is ProgressState.SNAPSHOT:
        if not delivered:
            progress.pending_snapshot = 0
        progress.become_probe()
        progress.paused = True


def after_apply(raft: Raft) -> None:
    """Leave a joint configuration that asked for it, once it is applied (thesis 4.3)."""
    config = raft.tracker.config
    log = raft.log
    if raft.role is Role.LEADER and config.auto_leave and log.applied >= raft.pending_conf_index:
        data = confchange.encode(confchange.ConfChange())
        entry = Entry(0, 0, data, EntryType.CONF_CHANGE)
        if raft.id in raft.tracker.progress and replication.append_entries(raft, [entry]):
            raft.pending_conf_index = log.last_index()


def adopt(raft: Raft, change: confchange.ConfChange) -> None:
    """Put an applied membership change in force, on any member. Raises ConfChangeError."""
    config = changed(raft.tracker.config, change)
    raft.tracker.adopt(config, raft.log.last_index() + 1)
    if raft.role is not Role.LEADER:
        return
    if raft.id not in config.all_voters and raft.options.step_down_on_removal:
        raft.become_follower(raft.term, NONE)
        return
    if raft.transferee not in config.all_voters:
        raft.transferee = NONE
    if replication.maybe_commit(raft):  # the new quorum may be smaller
        reads.release_postponed(raft)
    reads.confirm(raft)
    raft.append_due = True
