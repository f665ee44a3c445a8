"""A member of a cluster, as a value that is stepped: see `sampan.raft` for how to drive it."""

from __future__ import annotations

from sampan.base.errors import invariant
from sampan.raft import confchange, election, follower, leader, replication
from sampan.raft import step as rules
from sampan.raft.errors import Compacted, ProposalDropped, Unavailable
from sampan.raft.message import (
    ConfState,
    Entry,
    EntryType,
    Message,
    MsgType,
    Role,
)
from sampan.raft.options import Options
from sampan.raft.ready import MemberStatus, Ready, Status
from sampan.raft.state import Raft

__all__ = ["Node"]

_STORAGE = frozenset({MsgType.STORAGE_APPEND_RESP, MsgType.STORAGE_APPLY_RESP})
_FROM_MEMBERS = frozenset(
    {
        MsgType.APPEND_RESP,
        MsgType.HEARTBEAT_RESP,
        MsgType.VOTE_RESP,
        MsgType.PRE_VOTE_RESP,
    }
)


class Node:
    """One member. Not safe for concurrent use; no call blocks.

    An InvariantError from any method is a bug, here or in the storage, and leaves the node
    unusable: end the process rather than go on with wrong data.
    """

    def __init__(self, options: Options) -> None:
        """Load what storage holds. Raises StorageError when that cannot be right."""
        self._raft = Raft(options)
        self._hard_state = options.storage.initial_state()[0]
        self._soft_state = self._raft.soft_state()
        self._accepted: Ready | None = None
        self._on_advance: list[Message] = []

    @property
    def id(self) -> int:
        """The member's own id."""
        return self._raft.id

    @property
    def term(self) -> int:
        """The present term; durable only once the Ready that carries it is written."""
        return self._raft.term

    @property
    def role(self) -> Role:
        """What the member is now; `Ready.soft_state` tells of it later."""
        return self._raft.role

    @property
    def committed(self) -> int:
        """The index up to which entries are known to be committed."""
        return self._raft.log.committed

    @property
    def last_index(self) -> int:
        """The index of the last entry, durable or not."""
        return self._raft.log.last_index()

    def term_at(self, index: int) -> int:
        """The term of the entry at `index`, durable or not.

        Raises Compacted before the first one, Unavailable behind the last.
        """
        return self._raft.log.term(index)

    # --- in

    def step(self, message: Message) -> None:
        """Take a message from another member, or (asynchronous writes) from the own storage.

        Messages may be lost, repeated and reordered. Answers from members that are not in the
        configuration are ignored, and so is a forwarded proposal that cannot be taken.
        """
        own = message.sender == self._raft.id
        if message.type in _STORAGE and not own:
            return
        if message.type in _FROM_MEMBERS and message.sender not in self._raft.tracker.progress:
            return
        try:
            rules.step(self._raft, message)
        except ProposalDropped:
            return  # whoever forwarded it learns that by waiting in vain

    def tick(self) -> None:
        """Let one tick pass: the unit of the options' time-outs."""
        rules.tick(self._raft)

    def propose(self, *data: bytes) -> None:
        """Propose entries with `data`, in that order, all or none. Raises ProposalDropped.

        Not raising does not mean that they will be committed: watch `committed_entries`, and
        put something into the data by which to recognise it.
        """
        self._propose(tuple(Entry(0, 0, one) for one in data))

    def propose_conf_change(self, change: confchange.ConfChange) -> None:
        """Propose a membership change. Raises ProposalDropped.

        Dropped by a leader also when an earlier one is not applied yet, or when `change` is not
        allowed from the present configuration.
        """
        data = confchange.encode(change)
        self._propose((Entry(0, 0, data, EntryType.CONF_CHANGE),))

    def _propose(self, entries: tuple[Entry, ...]) -> None:
        if entries:
            own = self._raft.id
            rules.step(self._raft, Message(MsgType.PROPOSE, to=own, sender=own, entries=entries))

    def read_index(self, context: bytes) -> None:
        """Ask for an index at which reading is linearizable (thesis 6.4).

        Answered by a ReadState with `context`, or not at all when a message is lost or there is
        no leader: ask again after a while.
        """
        own = self._raft.id
        rules.step(self._raft, Message(MsgType.READ_INDEX, to=own, sender=own, context=context))

    @property
    def commit_due(self) -> bool:
        """With patient commits: whether some members were not told yet of what is committed."""
        return self._raft.commit_due

    def announce_commit(self) -> None:
        """Tell them with the next Ready."""
        self._raft.announcing = self._raft.commit_due

    def transfer_leadership(self, target: int) -> None:
        """Ask the leader to let voter `target` take over; given up after T ticks."""
        own = self._raft.id
        rules.step(self._raft, Message(MsgType.TRANSFER_LEADER, to=own, sender=target))

    def campaign(self) -> None:
        """Stand for election without waiting for the time-out."""
        election.campaign(self._raft)

    def forget_leader(self) -> None:
        """Let a follower that knows its leader is gone vote at once (not with lease reads)."""
        follower.forget_leader(self._raft)

    def report_unreachable(self, member: int) -> None:
        """Say that messages to `member` probably were lost."""
        leader.report_unreachable(self._raft, member)

    def report_snapshot(self, member: int, *, delivered: bool) -> None:
        """Say what became of the snapshot sent to `member`.

        Nothing else is sent to it until then, or until it acknowledges the snapshot.
        """
        leader.report_snapshot(self._raft, member, delivered=delivered)

    def apply_conf_change(self, entry: Entry) -> ConfState:
        """Put a committed change in force and return the membership to store with snapshots.

        To be called for every committed entry of type CONF_CHANGE as it is applied, on all
        members alike, unless the application refuses the change (on all members alike). Has no
        effect when a snapshot from the leader, still on its way to the application, covers the
        entry. Raises ConfChangeError when the change is not allowed, equally on all members.
        """
        raft = self._raft
        snapshot = raft.log.unstable.snapshot
        if snapshot is None or snapshot.index < entry.index:
            leader.adopt(raft, confchange.decode(entry.data))
        return raft.tracker.config.conf_state()

    # --- out

    def has_ready(self) -> bool:
        """Whether `ready()` would have anything to do."""
        raft = self._raft
        replication.flush(raft)
        log, hard, soft = raft.log, self._hard_state, self._soft_state
        # The states are compared by their fields: this is asked several times for each message.
        return bool(
            raft.messages
            or raft.after_append
            or raft.read_states
            or log.committed != hard.commit
            or raft.term != hard.term
            or raft.vote != hard.vote
            or raft.role is not soft.role
            or raft.leader != soft.leader
            or log.unstable.next_entries()
            or log.unstable.next_snapshot()
            or log.has_next_committed(allow_unstable=self._writes_first)
        )

    @property
    def _writes_first(self) -> bool:
        return not self._raft.options.async_writes

    def ready(self) -> Ready:
        """Return the work there is; it counts as accepted.

        Without asynchronous writes `advance` must be called before the next one.
        """
        invariant(self._accepted is None, "advance() must be called before the next ready()")
        raft = self._raft
        replication.flush(raft)
        log = raft.log
        entries = log.unstable.next_entries()
        snapshot = log.unstable.next_snapshot()
        committed = log.next_committed(allow_unstable=self._writes_first)
        hard, soft = raft.hard_state(), raft.soft_state()
        before = self._hard_state
        invariant(
            hard.term >= before.term and hard.commit >= before.commit, "the hard state goes back"
        )
        self._attest_write(changed=hard != before)
        local = [message for message in raft.after_append if message.to == raft.id]
        applied = self._attest_apply(tuple(committed))
        if self._writes_first:
            self._on_advance = [*local, *applied]
            after_append = [message for message in raft.after_append if message.to != raft.id]
            applied = []
        else:
            after_append = raft.after_append
        ready = Ready(
            soft_state=soft if soft != self._soft_state else None,
            read_states=raft.read_states,
            messages=raft.messages,
            snapshot=snapshot,
            entries=entries,
            hard_state=hard if hard != before else None,
            must_sync=bool(entries or snapshot)
            or (hard.term, hard.vote) != (before.term, before.vote),
            messages_after_append=after_append,
            committed_entries=committed,
            messages_after_apply=applied,
        )
        self._accept(ready)
        return ready

    def _attest_write(self, *, changed: bool) -> None:
        """Let the write confirm all of the unstable log, also what earlier ones carry.

        Were only its own entries confirmed, those rewritten while their write was under way
        would never be.
        """
        raft = self._raft
        unstable = raft.log.unstable
        snapshot = unstable.next_snapshot()
        if not unstable.next_entries() and not snapshot and not changed and not raft.after_append:
            return
        if unstable.entries or snapshot:
            last = raft.log.last_index()
            raft.after_append.append(
                Message(
                    MsgType.STORAGE_APPEND_RESP,
                    to=raft.id,
                    sender=raft.id,
                    term=raft.term,
                    index=last if unstable.entries else 0,
                    log_term=raft.log.term(last) if unstable.entries else 0,
                    snapshot=snapshot,
                )
            )

    def _attest_apply(self, committed: tuple[Entry, ...]) -> list[Message]:
        own = self._raft.id
        if not committed:
            return []
        return [Message(MsgType.STORAGE_APPLY_RESP, to=own, sender=own, entries=committed)]

    def _accept(self, ready: Ready) -> None:
        raft = self._raft
        raft.log.unstable.accept_in_progress()
        raft.log.accept_applying(ready.committed_entries)
        raft.messages, raft.after_append, raft.read_states = [], [], []
        self._hard_state = ready.hard_state or self._hard_state
        self._soft_state = ready.soft_state or self._soft_state
        if self._writes_first:
            self._accepted = ready

    def advance(self, ready: Ready) -> None:
        """Everything in `ready` is done: written, sent and applied."""
        invariant(self._writes_first, "with asynchronous writes there is no advance()")
        invariant(ready is self._accepted, "advance() takes what ready() returned last")
        self._accepted = None
        steps, self._on_advance = self._on_advance, []
        for message in steps:
            rules.step(self._raft, message)

    def log_term(self, index: int) -> int | None:
        """Return the term of the entry at `index`, None when it is compacted or not there."""
        try:
            return self._raft.log.term(index)
        except (Compacted, Unavailable):
            return None

    def status(self) -> Status:
        """Return a look at the member."""
        raft = self._raft
        members = raft.tracker.progress.items() if raft.role is Role.LEADER else ()
        return Status(
            id=raft.id,
            role=raft.role,
            leader=raft.leader,
            hard_state=raft.hard_state(),
            applied=raft.log.applied,
            last_index=raft.log.last_index(),
            transferee=raft.transferee,
            configuration=raft.tracker.config,
            progress={
                member: MemberStatus(
                    match=progress.match,
                    next=progress.next,
                    state=progress.state,
                    is_learner=progress.is_learner,
                    is_paused=progress.is_paused,
                    recent_active=progress.recent_active or member == raft.id,
                    pending_snapshot=progress.pending_snapshot,
                    inflight_messages=len(progress.inflights),
                    inflight_bytes=progress.inflights.size_bytes,
                )
                for member, progress in members
            },
        )
