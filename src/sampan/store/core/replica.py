"""One member's replicated log: proposals and reads in, work for disk and network out.

A replica joins `sampan.raft`, which agrees on entries, to the state machine, which applies them. It
does nothing itself: whoever runs it (a real member, the simulator) takes `next_work()`, sends and
writes what is in it, then calls `written` and `apply`. Time comes in ticks.

An entry of a replicated log is `ENVELOPE`, eight bytes that identify the proposal, and the entry as
the state machine knows it. So whoever proposed it knows it again when it is committed, also when
another member led. Entries without an envelope were written when the member was alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from sampan.raft import (
    ConfChange,
    ConfState,
    Entry,
    EntryType,
    Message,
    Node,
    Options,
    ProposalDropped,
    ReadMode,
    Ready,
    Role,
    SoftState,
    confchange,
)
from sampan.store.core import entry as codec
from sampan.store.core import errors
from sampan.store.core.entry import Kind
from sampan.store.core.entrycache import EntryCache
from sampan.store.core.log import LogSink
from sampan.store.core.readrounds import ReadRounds
from sampan.wire.grpc.status import RpcError

__all__ = ["ENVELOPE", "Replica", "ReplicaSink", "ReplicaTimes", "replica_options", "unwrap"]

ENVELOPE: Final = b"\xff"
"""The first byte of an entry with a proposal's id; no kind of entry has this number."""

_HEAD_BYTES: Final = 9
_ID_MASK: Final = (1 << 64) - 1
_EMPTY: Final = codec.encode(Kind.EMPTY, b"")
KEEP_BYTES: Final = 64 << 20
"""Entries kept for members that lag take up no more memory than this."""


class ReplicaSink(LogSink, Protocol):
    """The state machine's side of a replicated log."""

    def apply_membership(self, index: int, entry: bytes, context: object) -> bool:
        """Apply an entry that changes the membership; False when it must change nothing.

        The answer depends on the state alone, so that it is the same on all members.
        """

    def conf_state_changed(self, conf_state: ConfState) -> None:
        """Keep the membership that is in force from the entry just applied on."""

    def leadership_changed(self, leader: int, term: int) -> None:
        """Hear who leads now (0: nobody), and in which term."""


@dataclass(frozen=True, slots=True)
class ReplicaTimes:
    """How long things take, in ticks, and what is kept.

    proposal    a proposal without outcome fails after that
    read        so does a read
    read_retry  a read is asked for again after that
    keep        applied entries kept for members that lag
    """

    proposal: int = 70
    read: int = 70
    read_retry: int = 5
    keep: int = 5000


class Replica:
    """See the module. All calls belong to one thread; none blocks."""

    def __init__(
        self,
        options: Options,
        cache: EntryCache,
        sink: ReplicaSink,
        *,
        first_id: int,
        times: ReplicaTimes | None = None,
    ) -> None:
        """Go on where `cache` ends. `first_id` is 64 random bits: no two starts share any."""
        self.node = Node(options)
        self.cache = cache
        self.applied_index = options.applied
        self.applied_term = cache.term(options.applied) if options.applied else 0
        self._sink = sink
        self._times = times or ReplicaTimes()
        self._next_id = first_id & _ID_MASK
        self._tick = 0
        self._conf_state = cache.initial_state()[1]
        self._soft = SoftState(0, Role.FOLLOWER)
        self._term = 0
        self._unsent: list[tuple[bytes, object]] = []
        self._unsent_led: list[tuple[bytes, object]] = []
        self._unsent_changes: list[tuple[ConfChange, object, int]] = []
        self._pending: dict[bytes, tuple[object, int]] = {}
        self._reads = ReadRounds(
            self.node.read_index, patience=self._times.read, retry=self._times.read_retry
        )
        self._others_wait = False
        self.lost_leader_tick = -1
        cache.applied(self.applied_index, self.applied_term, self._conf_state)

    # ---- what is the case

    @property
    def id(self) -> int:
        """This member."""
        return self.node.id

    @property
    def leader(self) -> int:
        """Who leads as far as known; 0: nobody."""
        return self._soft.leader

    @property
    def leads(self) -> bool:
        """Whether this member leads."""
        return self._soft.role is Role.LEADER

    @property
    def term(self) -> int:
        """The present term."""
        return self.node.term

    @property
    def conf_state(self) -> ConfState:
        """The membership in force."""
        return self._conf_state

    @property
    def pending(self) -> int:
        """How many own proposals have no outcome yet."""
        return len(self._pending) + len(self._unsent)

    # ---- in

    def propose(self, entry: bytes, context: object) -> None:
        """Propose an entry; the sink gets it in `apply`, or its context in `rejected`."""
        self._unsent.append((entry, context))

    def propose_as_leader(self, entry: bytes, context: object) -> None:
        """Propose what only a leader may; rejected, never passed on, once another one leads."""
        self._unsent_led.append((entry, context))

    def propose_membership(self, change: ConfChange, entry: bytes, context: object) -> None:
        """Propose to change the membership; the sink decides in `apply_membership`."""
        head = self._remember(context)
        whole = ConfChange(change.changes, change.transition, head + entry)
        self._unsent_changes.append((whole, context, self._tick))

    def read(self, ready: Callable[[], None], failed: Callable[[RpcError], None]) -> None:
        """Call `ready` when all that was acknowledged anywhere before now is applied here."""
        self._reads.add(ready, failed, self._tick)

    def step(self, messages: Iterable[Message]) -> None:
        """Take messages from other members."""
        for message in messages:
            self.node.step(message)

    def tick(self) -> None:
        """Let one tick pass, and give up on what has waited too long."""
        self._tick += 1
        self.node.tick()
        self._expire_proposals()
        self._reads.expire(self._tick, self._lateness)
        self._reads.ask_again(self._tick)

    # ---- out

    def next_work(self) -> Ready | None:
        """Return what is to be done, None when there is nothing. Work must be done in order."""
        if self._others_wait:
            self._others_wait = False
            self.node.announce_commit()
        self._send_proposals()
        self._ask_for_reads()
        if not self.node.has_ready():
            return None
        ready = self.node.ready()
        if ready.soft_state is not None or self.node.term != self._term:
            self._note_leadership(ready.soft_state or self._soft)
        for state in ready.read_states:
            self._reads.confirm(state.context, state.index)
        return ready

    def written(self, ready: Ready) -> list[Message]:
        """The entries and hard state of `ready` are durable; return what may be sent now."""
        self.cache.append(ready.entries)
        others = []
        for message in ready.messages_after_append:
            if message.to == self.id:
                self.node.step(message)
            else:
                others.append(message)
        return others

    def restored(self, ready: Ready) -> None:
        """The sink's state is that of the snapshot in `ready`, durably; before `written`."""
        snapshot = ready.snapshot
        if snapshot is None:
            return
        self.cache.restore(snapshot)
        self._conf_state = snapshot.conf_state
        self.applied_index, self.applied_term = snapshot.index, snapshot.term

    def apply(self, ready: Ready) -> None:
        """Apply the committed entries of `ready`."""
        entries = ready.committed_entries
        if not entries:
            return
        self._apply(entries)
        last = entries[-1]
        self.cache.applied(last.index, last.term, self._conf_state)
        for message in ready.messages_after_apply:
            self.node.step(message)
        self.cache.trim(self._times.keep, KEEP_BYTES)

    def serve_reads(self) -> None:
        """Let those read who waited for what is applied now; when there is no work left."""
        self._reads.serve(self.applied_index)

    @property
    def commit_due(self) -> bool:
        """Whether others were not told yet of what is committed: soon, `announce_commit`.

        With more entries to send they learn it by the way. Who waits for the outcome of its own
        proposal is told at once.
        """
        return self.node.commit_due

    def announce_commit(self) -> None:
        """Tell the others what is committed, with the next work."""
        self.node.announce_commit()

    def step_aside(self) -> bool:
        """Ask the voter that is furthest to lead; False without one, or if this one follows."""
        status = self.node.status()
        others = {
            member: progress.match
            for member, progress in status.progress.items()
            if member != self.id and not progress.is_learner and progress.recent_active
        }
        if not self.leads or not others:
            return False
        self.node.transfer_leadership(max(others, key=lambda member: (others[member], member)))
        return True

    def reject(self, contexts: Sequence[object], error: Exception) -> None:
        """Tell the sink that these proposals will never be applied."""
        self._sink.rejected(contexts, error)

    def stop(self, error: Exception) -> None:
        """Tell everybody who waits that there will be no outcome."""
        unsent, self._unsent = self._unsent_led + self._unsent, []
        self._unsent_led = []
        waiting = [context for context, _ in self._pending.values()]
        self._pending.clear()
        self._unsent_changes.clear()
        waiting += [context for _, context in unsent]
        if waiting:
            self._sink.rejected(waiting, error)
        self._reads.stop()

    # ---- proposals

    def _remember(self, context: object) -> bytes:
        """Return the envelope's head for a new proposal of this member."""
        number = self._next_id.to_bytes(8, "big")
        self._next_id = (self._next_id + 1) & _ID_MASK
        self._pending[number] = (context, self._tick + self._times.proposal)
        return ENVELOPE + number

    def _send_proposals(self) -> None:
        if self._unsent_led:
            self._settle_led()
        if not self._soft.leader and not self.leads:
            return  # they wait for a leader, or for their time to be over
        if self._unsent:
            unsent, self._unsent = self._unsent, []
            batch = [self._remember(context) + entry for entry, context in unsent]
            try:
                self.node.propose(*batch)
            except ProposalDropped:
                self._forget(batch)
                self._unsent = unsent + self._unsent
        if self._unsent_changes:
            changes, self._unsent_changes = self._unsent_changes, []
            for change, context, asked in changes:
                self._send_change(change, context, asked)

    def _settle_led(self) -> None:
        """Send along what only a leader may propose, or reject it."""
        led, self._unsent_led = self._unsent_led, []
        if self.node.role is not Role.LEADER:
            self._sink.rejected([context for _, context in led], errors.NOT_LEADER())
        elif not self.leads:
            self._unsent_led = led  # for the next turn: the news of the leadership is on its way
        else:
            self._unsent += led

    def _send_change(self, change: ConfChange, context: object, asked: int) -> None:
        number = change.context[1:_HEAD_BYTES]
        if number not in self._pending:
            return  # it was given up already
        try:
            self.node.propose_conf_change(change)
        except ProposalDropped as error:
            if self.leads and self._tick - asked < self._times.read_retry:
                self._unsent_changes.append((change, context, asked))
                return  # the change before may be about to be applied
            del self._pending[number]
            self._sink.rejected([context], errors.UNHEALTHY() if self.leads else error)

    def _forget(self, batch: Sequence[bytes]) -> None:
        for data in batch:
            del self._pending[data[1:_HEAD_BYTES]]

    def _expire_proposals(self) -> None:
        late: list[object] = []
        for number, (context, until) in list(self._first_pending()):
            if until > self._tick:
                break
            late.append(context)
            del self._pending[number]
        if not self._soft.leader and self._unsent:
            # Never sent, so nothing of it can come true; they have no time of their own.
            if self._tick - self.lost_leader_tick >= self._times.proposal:
                late += [context for _, context in self._unsent]
                self._unsent = []
        if late:
            self._sink.rejected(late, self._lateness())

    def _first_pending(self) -> Iterable[tuple[bytes, tuple[object, int]]]:
        for item in self._pending.items():
            yield item
            if item[1][1] > self._tick:
                return

    def _lateness(self) -> RpcError:
        if not self._soft.leader:
            return errors.TIMEOUT_DUE_TO_LEADER_FAIL()
        if self._tick - self.lost_leader_tick < 2 * self._times.proposal:
            return errors.TIMEOUT_DUE_TO_LEADER_FAIL()
        return errors.TIMEOUT()

    # ---- reads

    def _ask_for_reads(self) -> None:
        if not self._reads.wants_round or not self._soft.leader:
            return
        context = self._next_id.to_bytes(8, "big")
        self._next_id = (self._next_id + 1) & _ID_MASK
        self._reads.begin(context, self._tick)

    # ---- what happens

    def _note_leadership(self, soft: SoftState) -> None:
        if self._soft.leader and soft.leader != self._soft.leader:
            self.lost_leader_tick = self._tick
            self._reads.leader_lost()
        self._soft, self._term = soft, self.node.term
        self._sink.leadership_changed(soft.leader, self._term)

    def _apply(self, entries: Sequence[Entry]) -> None:
        """Hand entries to the sink in runs, each change of the membership by itself."""
        start = 0
        for at, one in enumerate(entries):
            if one.type is EntryType.CONF_CHANGE:
                self._apply_run(entries[start:at])
                self._apply_change(one)
                start = at + 1
        self._apply_run(entries[start:] if start else entries)

    def _apply_run(self, entries: Sequence[Entry]) -> None:
        if not entries:
            return
        pending = self._pending
        data: list[bytes] = []
        contexts: list[object] = []
        for one in entries:
            raw = one.data
            if raw[:1] == ENVELOPE:
                data.append(raw[_HEAD_BYTES:])
                known = pending.pop(raw[1:_HEAD_BYTES], None) if pending else None
                contexts.append(known[0] if known is not None else None)
                self._others_wait |= known is None
            else:
                data.append(raw or _EMPTY)
                contexts.append(None)
        last = entries[-1]
        self.applied_index, self.applied_term = last.index, last.term
        self._sink.apply(entries[0].index, data, contexts)

    def _apply_change(self, one: Entry) -> None:
        self.applied_index, self.applied_term = one.index, one.term
        context = confchange.decode(one.data).context
        if not context:  # the way out of a joint configuration: nobody waits for it
            self._sink.apply(one.index, [_EMPTY], [None])
            accepted = True
        else:
            known = self._pending.pop(context[1:_HEAD_BYTES], None)
            waiting = known[0] if known is not None else None
            accepted = self._sink.apply_membership(one.index, context[_HEAD_BYTES:], waiting)
        if accepted:
            self._conf_state = self.node.apply_conf_change(one)
            self._sink.conf_state_changed(self._conf_state)


def unwrap(data: bytes) -> bytes:
    """Return an entry of the log as the state machine knows it."""
    return data[_HEAD_BYTES:] if data[:1] == ENVELOPE else data or _EMPTY


def replica_options(
    member_id: int,
    cache: EntryCache,
    *,
    draw: Callable[[int], int],
    applied: int,
    election_ticks: int = 10,
    pre_vote: bool = True,
    read_mode: ReadMode = ReadMode.SAFE,
) -> Options:
    """Return Raft's options for a member of a store."""
    return Options(
        id=member_id,
        storage=cache,
        draw=draw,
        applied=applied,
        election_ticks=election_ticks,
        pre_vote=pre_vote,
        read_mode=read_mode,
        async_writes=True,
        patient_commit=True,
        max_inflight_messages=512,
        max_inflight_bytes=64 << 20,
        max_uncommitted_bytes=256 << 20,
    )
