"""A whole cluster under a hostile network, with disks that forget what was not synced.

Everything is drawn from one seed. While it runs it checks Raft's safety properties (Ongaro's
thesis, figure 3.2):

    election safety        at most one leader per term
    leader append only     a leader's log only grows
    log matching           logs that agree at an index agree before it
    leader completeness    a leader has every entry committed before
    state machine safety   nobody applies another entry at an index

and that a read is never answered with an index older than what had been applied anywhere when it
was asked for.
"""

from __future__ import annotations

import copy
import random
from collections import deque
from dataclasses import dataclass, field

from sampan.raft import (
    Change,
    ChangeType,
    ConfChange,
    ConfChangeError,
    ConfState,
    Entry,
    EntryType,
    MemoryStorage,
    Message,
    MsgType,
    Node,
    Options,
    ProposalDropped,
    ReadMode,
    Ready,
    Role,
    Snapshot,
    Transition,
    bootstrap,
)
from sampan.raft.message import NO_LIMIT

ELECTION_TICKS = 10
MAX_MESSAGES = 100


@dataclass
class Member:
    """One process with its disk."""

    id: int
    live: MemoryStorage
    durable: MemoryStorage
    node: Node | None = None
    applied: int = 0
    conf_state: ConfState = field(default_factory=ConfState)
    writes: deque[Ready] = field(default_factory=deque)
    applies: deque[Ready] = field(default_factory=deque)
    led: tuple[int, int] | None = None  # as leader: term, last index seen

    def sync(self) -> None:
        self.durable = copy.copy(self.live)
        self.durable._entries = list(self.live._entries)

    def crash(self) -> None:
        self.node = None
        self.writes.clear()
        self.applies.clear()
        self.led = None
        self.live = copy.copy(self.durable)
        self.live._entries = list(self.durable._entries)


class Simulation:
    """`members` founders and two more that may join.

    `forgetful` breaks the contract of persistence: the checks must notice.
    """

    def __init__(
        self,
        seed: int,
        members: int,
        *,
        async_writes: bool = False,
        lease: bool = False,
        patient: bool = False,
        pre_vote: bool = True,
        check_quorum: bool = True,
        membership: bool = True,
        forgetful: bool = False,
    ) -> None:
        self.random = random.Random(seed)
        self.lease = lease
        self.patient = patient
        self.async_writes = async_writes
        self.pre_vote, self.check_quorum = pre_vote, check_quorum
        self.membership = membership
        self.forgetful = forgetful
        hard_state, entries = bootstrap(dict.fromkeys(range(1, members + 1), b""))
        self.members: dict[int, Member] = {}
        for member in range(1, members + 3):
            storage = MemoryStorage()
            if member <= members:
                storage.append(entries)
                storage.set_hard_state(hard_state)
            self.members[member] = Member(member, storage, storage)
            self.members[member].sync()
            self.start(self.members[member])
        self.network: list[Message] = []
        self.cut: set[tuple[int, int]] = set()
        self.history: dict[int, tuple[int, bytes]] = {}
        self.newest = 0
        self.leaders: dict[int, int] = {}
        self.reads: dict[bytes, int] = {}
        self.proposed = 0
        self.reads_answered = 0
        self.conf_changes = 0

    # --- processes

    def start(self, member: Member) -> None:
        snapshot = member.live.snapshot()
        member.applied = snapshot.index
        member.conf_state = snapshot.conf_state
        member.node = Node(
            Options(
                id=member.id,
                storage=member.live,
                draw=self.random.randrange,
                applied=snapshot.index,
                election_ticks=ELECTION_TICKS,
                heartbeat_ticks=2,
                pre_vote=self.pre_vote,
                check_quorum=self.check_quorum,
                read_mode=ReadMode.LEASE if self.lease else ReadMode.SAFE,
                async_writes=self.async_writes,
                patient_commit=self.patient,
                max_message_bytes=80,
                max_inflight_messages=3,
                max_inflight_bytes=self.random.choice([100, NO_LIMIT]),
                max_uncommitted_bytes=400,
                max_applying_bytes=200,
            )
        )

    def work(self, member: Member) -> None:
        """Take one Ready; the process may die at every point of it."""
        node = member.node
        if node is None or not node.has_ready():
            return
        ready = node.ready()
        self.read_states(ready)
        self.observe(member)
        self.send(ready.messages)
        if self.async_writes:
            if ready.needs_append:
                member.writes.append(ready)
            if ready.committed_entries:
                member.applies.append(ready)
            return
        fate = self.random.random()
        if fate < 0.003:
            member.crash()
            return
        self.write(member, ready)
        if fate < 0.006:
            member.crash()
            return
        self.send(ready.messages_after_append)
        if fate < 0.009:
            member.crash()
            return
        self.apply_snapshot(member, ready.snapshot)
        self.apply(member, ready.committed_entries)
        node.advance(ready)
        self.observe(member)

    def write(self, member: Member, ready: Ready) -> None:
        if ready.snapshot:
            member.live.apply_snapshot(ready.snapshot)
        member.live.append(ready.entries)
        if ready.hard_state:
            member.live.set_hard_state(ready.hard_state)
        if (ready.must_sync and not self.forgetful) or self.random.random() < 0.2:
            member.sync()

    def background(self, member: Member) -> None:
        """Finish one queued write or application (asynchronous writes)."""
        if member.node is None:
            return
        if self.random.random() < 0.004:
            member.crash()
        elif member.writes and (self.random.random() < 0.6 or not member.applies):
            ready = member.writes[0]
            while ready.snapshot and member.applies:
                self.finish_apply(member)
            member.writes.popleft()
            self.write(member, ready)
            self.apply_snapshot(member, ready.snapshot)
            self.deliver_own(member, ready.messages_after_append)
        elif member.applies:
            self.finish_apply(member)

    def finish_apply(self, member: Member) -> None:
        ready = member.applies.popleft()
        self.apply(member, ready.committed_entries)
        self.deliver_own(member, ready.messages_after_apply)

    def deliver_own(self, member: Member, messages: object) -> None:
        assert isinstance(messages, list | tuple)
        for message in messages:
            if message.to == member.id and member.node:
                member.node.step(message)
        self.send([message for message in messages if message.to != member.id])

    # --- the application

    def apply(self, member: Member, entries: object) -> None:
        assert isinstance(entries, list | tuple) and member.node
        for entry in entries:
            assert isinstance(entry, Entry)
            assert entry.index == member.applied + 1, "applied in order, once"
            known = self.history.setdefault(entry.index, (entry.term, entry.data))
            assert known == (entry.term, entry.data), f"state machine safety at {entry.index}"
            self.newest = max(self.newest, entry.index)
            member.applied = entry.index
            if entry.type is EntryType.CONF_CHANGE:
                try:
                    member.conf_state = member.node.apply_conf_change(entry)
                    self.conf_changes += 1
                except ConfChangeError as error:
                    raise AssertionError("a leader let an impossible change through") from error

    def apply_snapshot(self, member: Member, snapshot: Snapshot | None) -> None:
        if snapshot:
            term, _ = self.history[snapshot.index]
            assert snapshot.term == term, "the snapshot is of another history"
            member.applied, member.conf_state = snapshot.index, snapshot.conf_state

    def read_states(self, ready: Ready) -> None:
        for state in ready.read_states:
            asked_at = self.reads.pop(state.context, None)
            if asked_at is not None:
                assert state.index >= asked_at, f"stale read: {state.index} < {asked_at}"
                self.reads_answered += 1

    # --- the properties

    def observe(self, member: Member) -> None:
        node = member.node
        if node is None:
            return
        status = node.status()
        if status.role is not Role.LEADER:
            member.led = None
            return
        term = status.hard_state.term
        assert self.leaders.setdefault(term, member.id) == member.id, f"two leaders in {term}"
        if member.led is None:
            for index, (entry_term, _) in self.history.items():
                held = node.log_term(index)
                compacted = held is None and index <= member.applied
                assert compacted or held == entry_term, f"leader completeness at {index}"
        else:
            assert status.last_index >= member.led[1], "leader append only"
        member.led = (term, status.last_index)

    def check_logs(self) -> None:
        up = list(self.members.values())
        for left in up:
            for right in up:
                if left.id < right.id:
                    self.check_pair(left.live, right.live)

    def check_pair(self, left: MemoryStorage, right: MemoryStorage) -> None:
        low = max(left.first_index(), right.first_index())
        high = min(left.last_index(), right.last_index())
        agree = False
        for index in range(high, low - 1, -1):
            one, other = left.entries(index, index + 1)[0], right.entries(index, index + 1)[0]
            agree = agree or one.term == other.term
            assert not agree or one == other, f"log matching at {index}"

    # --- the network

    def send(self, messages: object) -> None:
        assert isinstance(messages, list | tuple)
        for message in messages:
            if len(self.network) < MAX_MESSAGES:
                self.network.append(message)
            else:
                self.lost(message)

    def deliver(self, *, hostile: bool) -> None:
        if not self.network:
            return
        draw = self.random.random
        position = self.random.randrange(len(self.network)) if draw() < 0.3 else 0
        message = self.network[position]
        if not (hostile and draw() < 0.05):  # else delivered twice, perhaps much later
            del self.network[position]
        if hostile and (draw() < 0.05 or (message.sender, message.to) in self.cut):
            self.lost(message)
            return
        target = self.members.get(message.to)
        if target is None or target.node is None:
            self.lost(message)
            return
        target.node.step(message)
        self.observe(target)
        sender = self.members[message.sender].node
        if message.type is MsgType.SNAPSHOT and sender:
            sender.report_snapshot(message.to, delivered=True)

    def lost(self, message: Message) -> None:
        sender = self.members[message.sender].node
        if sender and message.type is MsgType.SNAPSHOT and message not in self.network:
            sender.report_snapshot(message.to, delivered=False)
        elif sender and self.random.random() < 0.1:
            sender.report_unreachable(message.to)

    # --- what happens

    def some(self) -> Member:
        return self.members[self.random.choice(list(self.members))]

    def run(self, events: int) -> None:
        for number in range(events):
            self.event()
            if number % 200 == 0:
                self.check_logs()

    def event(self) -> None:
        draw = self.random.random()
        if draw < 0.05:
            self.tick()
        elif draw < 0.40:
            for _ in range(self.random.choice([1, 2, 4])):
                self.deliver(hostile=True)
        elif draw < 0.75:
            self.work(self.some())
        elif draw < 0.90:
            self.background(self.some())
        elif draw < 0.94:
            self.propose(self.some())
        elif draw < 0.97:
            leaders = [member for member in self.members.values() if member.led]
            self.read(self.random.choice([*leaders, *leaders, self.some()]))
        elif draw < 0.977:
            self.change_membership(self.some())
        elif draw < 0.98:
            self.crash_or_start(self.some())
        elif draw < 0.982:
            self.partition()
        elif draw < 0.988:
            self.disturb(self.some())
        else:
            self.compact(self.some())

    def tick(self) -> None:
        """All at once where lease reads rely on it, else each at its own speed."""
        for member in self.members.values():
            if member.node and (self.lease or self.random.random() < 0.8):
                member.node.tick()
                self.observe(member)

    def propose(self, member: Member) -> None:
        if member.node:
            self.proposed += 1
            count = self.random.choice([1, 1, 3])
            data = [b"%d.%d" % (self.proposed, part) for part in range(count)]
            try:
                member.node.propose(*data)
            except ProposalDropped:
                pass

    def read(self, member: Member) -> None:
        if member.node:
            context = b"read %d" % len(self.reads) + b" %d" % self.random.getrandbits(60)
            self.reads[context] = self.newest
            member.node.read_index(context)

    def change_membership(self, member: Member) -> None:
        if not self.membership or member.node is None:
            return
        ids = self.random.sample(list(self.members), self.random.choice([1, 1, 2, 3]))
        changes = tuple(Change(self.random.choice(list(ChangeType)), one) for one in ids)
        if self.random.random() < 0.2:
            change = ConfChange()
        else:
            change = ConfChange(changes, self.random.choice(list(Transition)))
        try:
            member.node.propose_conf_change(change)
        except ProposalDropped:
            pass

    def crash_or_start(self, member: Member) -> None:
        down = [one for one in self.members.values() if one.node is None]
        if down and self.random.random() < 0.7:
            self.start(self.random.choice(down))
        else:
            member.crash()

    def partition(self) -> None:
        ids = list(self.members)
        self.cut.clear()
        if self.random.random() < 0.5:
            side = set(self.random.sample(ids, self.random.randrange(1, len(ids))))
            if self.random.random() < 0.5:  # what hurts most: the leader alone
                side = {member.id for member in self.members.values() if member.led} or side
            one_way = self.random.random() < 0.3
            for left in ids:
                for right in ids:
                    if left in side and right not in side:
                        self.cut.add((left, right))
                        if not one_way:
                            self.cut.add((right, left))

    def disturb(self, member: Member) -> None:
        if member.node:
            what = self.random.randrange(3)
            if what == 0:
                member.node.transfer_leadership(self.random.choice(list(self.members)))
            elif what == 1:
                member.node.campaign()
            else:
                member.node.forget_leader()
            self.observe(member)

    def compact(self, member: Member) -> None:
        storage = member.live
        if member.node and member.applied > storage.snapshot().index:
            if member.applied <= storage.last_index():
                data = b"state at %d" % member.applied
                storage.create_snapshot(member.applied, member.conf_state, data)
                keep = self.random.randrange(4)
                if storage.snapshot().index - keep >= storage.first_index():
                    storage.compact(storage.snapshot().index - keep)
                member.sync()

    # --- the end

    def heal(self, rounds: int = 300) -> None:
        """Let everybody run undisturbed; then all members must agree and get work done."""
        self.cut.clear()
        for member in self.members.values():
            if member.node is None:
                self.start(member)
        for number in range(rounds):
            for member in self.members.values():
                assert member.node
                member.node.tick()
            for _ in range(20):
                for member in self.members.values():
                    self.quiet_work(member)
                if not self.network:
                    break
                for _ in range(len(self.network)):
                    self.deliver(hostile=False)
            if number % 40 == 20:
                self.leave_joint()
        self.check_logs()
        self.check_end()

    def quiet_work(self, member: Member) -> None:
        self.random, kept = _Calm(self.random), self.random
        try:
            self.work(member)
        finally:
            self.random = kept
        while member.writes or member.applies:
            self.background(member)
        if member.node is None:
            self.start(member)

    def leave_joint(self) -> None:
        for member in self.members.values():
            if member.node and member.node.status().role is Role.LEADER:
                try:
                    member.node.propose(b"the end")
                    if member.node.status().configuration.is_joint:
                        member.node.propose_conf_change(ConfChange())
                except ProposalDropped:
                    pass

    def check_end(self) -> None:
        statuses = [member.node.status() for member in self.members.values() if member.node]
        leaders = [status for status in statuses if status.role is Role.LEADER]
        assert leaders, "no leader after the network healed"
        leader = max(leaders, key=lambda status: status.hard_state.term)
        assert leader.applied == self.newest == max(self.history)
        for member in leader.configuration.members:
            assert self.members[member].applied == self.newest, f"{member} did not catch up"


class _Calm(random.Random):
    """No accidents."""

    def __init__(self, source: random.Random) -> None:
        super().__init__(0)
        self._source = source

    def random(self) -> float:
        return 0.5

    def randrange(self, *bounds: int) -> int:  # type: ignore[override]
        return self._source.randrange(*bounds)
