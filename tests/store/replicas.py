"""Members of a cluster in one thread: real replicas, disks that forget, a network that is a list.

A disk forgets what was not written when its member crashes; the sink is a list of what was applied.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from sampan.raft import (
    Change,
    ChangeType,
    ConfChange,
    ConfState,
    Entry,
    HardState,
    Message,
    MsgType,
    Ready,
)
from sampan.store.core.entrycache import EntryCache
from sampan.store.core.replica import Replica, ReplicaTimes, replica_options
from sampan.wire.grpc.status import RpcError

TIMES = ReplicaTimes(proposal=60, read=60, read_retry=5, keep=20)


@dataclass
class Disk:
    """What a member has written; `applied` is what its backend held when it last committed."""

    conf_state: ConfState
    hard_state: HardState = field(default_factory=HardState)
    base: tuple[int, int] = (0, 0)
    entries: list[Entry] = field(default_factory=list)
    applied: list[bytes] = field(default_factory=list)
    applied_index: int = 0

    def write(self, ready: Ready) -> None:
        if ready.entries:
            keep = ready.entries[0].index - self.base[0] - 1
            self.entries[keep:] = ready.entries
        if ready.hard_state is not None:
            self.hard_state = ready.hard_state


class Member:
    """One member; `applied` is its state, `told` what its own proposals and reads came to."""

    def __init__(self, cluster: Cluster, member_id: int, disk: Disk) -> None:
        self.id = member_id
        self.disk = disk
        self.cluster = cluster
        self.applied: list[bytes] = []
        self.told: dict[object, str] = {}
        self.leaders: list[tuple[int, int]] = []
        self.up = False
        self.start()

    def start(self) -> None:
        disk = self.disk
        self.up = True
        self.applied = list(disk.applied)
        cache = EntryCache(disk.base, disk.entries, disk.hard_state, disk.conf_state)
        options = replica_options(
            self.id, cache, draw=self.cluster.random.randrange, applied=disk.applied_index
        )
        first_id = self.cluster.random.getrandbits(64)
        self.replica = Replica(options, cache, self, first_id=first_id, times=TIMES)

    def crash(self) -> None:
        self.up = False

    def commit(self) -> None:
        """Let the backend commit: what is applied is durable."""
        self.disk.applied = list(self.applied)
        self.disk.applied_index = self.replica.applied_index
        self.disk.conf_state = self.replica.conf_state

    # ---- the sink

    def apply(self, first_index: int, entries: Sequence[bytes], contexts: Sequence[object]) -> None:
        for entry, context in zip(entries, contexts, strict=True):
            if entry[:1] != b"\0":  # not of kind EMPTY
                self.applied.append(entry)
                self.cluster.history.setdefault(len(self.applied), entry)
                assert self.cluster.history[len(self.applied)] == entry, "members diverge"
            if context is not None:
                self.told[context] = "applied"

    def rejected(self, contexts: Sequence[object], error: Exception) -> None:
        for context in contexts:
            self.told[context] = str(error)

    def apply_membership(self, index: int, entry: bytes, context: object) -> bool:
        self.apply(index, [entry], [context])
        return entry != b"refuse"

    def conf_state_changed(self, conf_state: ConfState) -> None:
        pass

    def leadership_changed(self, leader: int, term: int) -> None:
        self.leaders.append((leader, term))

    # ---- the work

    def work(self) -> None:
        while self.up and (ready := self.replica.next_work()) is not None:
            self.cluster.network += ready.messages
            if ready.snapshot is not None:
                self._install(ready)
            else:
                self.disk.write(ready)
            self.cluster.network += self.replica.written(ready)
            self.replica.apply(ready)
        if self.up:
            self.replica.serve_reads()

    def _install(self, ready: Ready) -> None:
        """Take the state that the snapshot message carried."""
        snapshot = ready.snapshot
        assert snapshot is not None
        self.applied = self.cluster.contents[snapshot.index]
        disk = self.disk
        disk.base, disk.entries = (snapshot.index, snapshot.term), []
        disk.conf_state = snapshot.conf_state
        disk.hard_state = ready.hard_state or disk.hard_state
        self.replica.restored(ready)
        self.commit()

    def read(self, context: object) -> None:
        def failed(error: RpcError) -> None:
            self.told[context] = str(error)

        def ready() -> None:
            self.told[context] = f"read {len(self.applied)}"

        self.replica.read(ready, failed)


class Cluster:
    """`founders` members, and what happens between them."""

    def __init__(self, founders: int, seed: int = 1) -> None:
        self.random = random.Random(seed)
        self.network: list[Message] = []
        self.history: dict[int, bytes] = {}
        self.contents: dict[int, list[bytes]] = {}
        self.cut: set[int] = set()
        state = ConfState(voters=tuple(range(1, founders + 1)))
        self.members = {each: Member(self, each, Disk(state)) for each in state.voters}

    def join(self, member_id: int) -> Member:
        """Start a member that waits to be added."""
        member = self.members[member_id] = Member(self, member_id, Disk(ConfState()))
        return member

    @property
    def leader(self) -> Member:
        """The member that leads; there must be one."""
        leading = [each for each in self.members.values() if each.up and each.replica.leads]
        return max(leading, key=lambda member: member.replica.term)

    def deliver(self, message: Message) -> None:
        receiver = self.members.get(message.to)
        sender = self.members.get(message.sender)
        if message.type is MsgType.SNAPSHOT and sender is not None and message.snapshot:
            # As a real member does, the newest state goes in the place of the one named.
            newest = sender.replica.cache.snapshot()
            self.contents[newest.index] = list(sender.applied)
            message = replace(message, snapshot=newest)
            sender.replica.node.report_snapshot(message.to, delivered=True)
        if receiver is None or not receiver.up or {message.to, message.sender} & self.cut:
            return
        receiver.replica.step([message])

    def turn(self, *, loss: float = 0.0) -> None:
        """Let everybody work and every message arrive, except some."""
        for member in self.members.values():
            member.work()
        messages, self.network = self.network, []
        for message in messages:
            if self.random.random() >= loss:
                self.deliver(message)

    def settle(self, turns: int = 20) -> None:
        for _ in range(turns):
            self.turn()

    def pass_time(self, ticks: int, *, loss: float = 0.0) -> None:
        for _ in range(ticks):
            for member in self.members.values():
                if member.up:
                    member.replica.tick()
            for _ in range(4):
                self.turn(loss=loss)

    def elect(self) -> Member:
        self.pass_time(30)
        return self.leader

    def change(self, kind: ChangeType, member_id: int, entry: bytes = b"\x0aadd") -> None:
        change = ConfChange((Change(kind, member_id),))
        self.leader.replica.propose_membership(change, entry, f"change {member_id}")
        self.pass_time(10)
