"""One member: the production cores over a simulated disk, doing the work of a real one.

A process can crash at any event: what its disk had flushed, and what its backend had committed, is
all that a start finds. A flush takes time, in which messages come and go.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from sampan import raft
from sampan.raft import ConfState, Entry, Message, Ready
from sampan.sim.backend import Content, content_of, restored
from sampan.sim.disk import DiskDamaged, DiskFull, SimWal
from sampan.sim.world import Later, World
from sampan.store.core import entry
from sampan.store.core.access import Access
from sampan.store.core.alarm import AlarmStore
from sampan.store.core.apply import StateMachine
from sampan.store.core.auth import AuthStore
from sampan.store.core.cluster import ClusterInfo
from sampan.store.core.confstate import load_conf_state, store_conf_state
from sampan.store.core.entry import Kind
from sampan.store.core.entrycache import EntryCache
from sampan.store.core.lease import Lessor
from sampan.store.core.mvcc import Mvcc
from sampan.store.core.replica import Replica, ReplicaTimes, replica_options
from sampan.store.core.wal import HardState, RecordFlag, SnapshotMark
from sampan.store.core.watch import WatchHub
from sampan.store.pb import rpc_pb2 as pb
from sampan.store.shell import raft_wal
from sampan.store.shell.outcome import Unheard

__all__ = ["Member", "Surroundings"]

TICK_MS = 100.0
COMMIT_MS = 1000.0
ANNOUNCE_MS = 2.0
SOCKET_MESSAGES = 500
"""As many messages wait in the sockets of a paused process."""

TIMES = ReplicaTimes(proposal=70, read=70, read_retry=5, keep=20)


class Surroundings(Protocol):
    """What a member tells the simulation."""

    def send(self, message: Message) -> None:
        """A message leaves."""

    def appends(self, member: Member, entries: Sequence[Entry]) -> None:
        """Entries are about to be written."""

    def applies(self, member: Member, entries: Sequence[Entry]) -> None:
        """Entries are about to be applied."""

    def changed(self, member: Member, since: int) -> None:
        """Entries were applied; their changes have the revisions after `since`."""

    def leads(self, member: Member, term: int) -> None:
        """A member leads from now on."""

    def content(self, member: int, index: int) -> Content:
        """What a snapshot that this member sent contains."""

    def restarted(self, member: Member) -> None:
        """A member is up, with its state as of its last commit."""


@dataclass(slots=True)
class Storage:
    """What outlives a process: the log and the last commit of the backend."""

    wal: SimWal = field(default_factory=SimWal)
    committed: Content = field(default_factory=dict)


class Member:
    """A member by its id. `up` is whether its process runs, `lost` whether its disk is damaged."""

    def __init__(self, member_id: int, world: World, surroundings: Surroundings) -> None:
        self.id = member_id
        self.storage = Storage()
        self.up = False
        self.paused = False
        self.lost = False
        self.flush_ms = 0.5
        self.life = 0
        self._world = world
        self._around = surroundings
        self._timers: list[Later] = []

    # ---- beginning and end of a process

    def found(self, founders: dict[int, bytes]) -> None:
        """Write the founders into the empty log, as every founder does."""
        state, entries = raft.bootstrap(founders)
        hard = HardState(state.term, state.vote, state.commit)
        data = [entry.data for entry in entries]
        self.storage.wal.append(1, 1, data, flags=RecordFlag.CONF_CHANGE, hard_state=hard)
        self.storage.wal.flush()

    def start(self) -> None:
        """Start the process with what the disk holds; a damaged disk is refused."""
        wal = self.storage.wal
        try:
            wal.recover()
        except DiskDamaged:
            self.lost = True
            self._world.note(f"{self.id} refuses its disk")
            return
        self.life += 1
        self.up, self.paused = True, False
        self._waiting: list[Message] = []
        self._unwritten: list[Ready] = []
        self._writing = self._announcing = False
        self._arrived: Ready | None = None
        self._open_state()
        index = self.state.applied_index
        found = raft_wal.recover(wal, self.id, index, self.backend.term)
        cache = EntryCache(
            found.base, found.entries, found.hard_state, load_conf_state(self.backend)
        )
        random = self._world.random
        options = replica_options(self.id, cache, draw=random.randrange, applied=index)
        self.replica = Replica(options, cache, self, first_id=random.getrandbits(64), times=TIMES)
        self._every(TICK_MS, self._tick)
        self._every(COMMIT_MS, self._commit)
        self._world.note(f"{self.id} starts at {index}")
        self._around.restarted(self)

    def _open_state(self) -> None:
        self.backend = backend = restored(self.storage.committed)
        self.lessor = Lessor(backend, lambda: self._world.now_s)
        self.mvcc = Mvcc(backend, self.lessor)
        auth = AuthStore(backend)
        self.cluster = ClusterInfo(backend, 7, self.id, f"m{self.id}", [], [], alone=False)
        self.state = StateMachine(
            backend,
            self.mvcc,
            self.lessor,
            auth,
            Access(auth, lambda lease: ()),
            AlarmStore(backend),
            self.cluster,
        )
        self.hub = WatchHub(
            self.mvcc, self.state.header_bytes_at, listen=self._listen, wake=self._wake_hub
        )
        self.lessor.restore()
        self.mvcc.restore(backend.load())
        self.state.applied_index = backend.consistent_index
        self.state.on_compact = self._purge

    def crash(self) -> None:
        """End the process at once; the disk loses what was not flushed."""
        if not self.up:
            return
        self.up = False
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()
        self.storage.wal.crash(self._world.random)
        self._world.note(f"{self.id} crashes")

    def pause(self, for_ms: float) -> None:
        """Stop the process for a while, as SIGSTOP does: time goes on without it."""
        if not self.up:
            return
        self.paused = True
        life = self.life
        self._world.after(for_ms, lambda: self._resume(life))

    def _resume(self, life: int) -> None:
        if self.life == life and self.up:
            self.paused = False
            waiting, self._waiting = self._waiting, []
            self.replica.step(waiting)
            self.work()

    # ---- time

    def _every(self, period_ms: float, action: Callable[[], None]) -> None:
        life = self.life
        slot = len(self._timers)

        def again() -> None:
            if self.life != life or not self.up:
                return
            self._timers[slot] = self._world.after(period_ms, again)
            if not self.paused:
                action()

        # The first tick of each member comes at a moment of its own.
        self._timers.append(self._world.after(self._world.random.random() * period_ms, again))

    def _tick(self) -> None:
        self.replica.tick()
        if self.lessor.primary:
            self._expire_leases()
        self.work()

    def _expire_leases(self) -> None:
        for lease_id in self.lessor.expired(100):
            self._revoke(lease_id)

    def _revoke(self, lease_id: int) -> None:
        request = pb.LeaseRevokeRequest(ID=lease_id)
        data = entry.encode(Kind.LEASE_REVOKE, request.SerializeToString())
        self.replica.propose_as_leader(data, (Unheard(), Kind.LEASE_REVOKE, request, "", 0))

    def _commit(self) -> None:
        index, term = self.replica.applied_index, self.replica.applied_term
        self.storage.committed = content_of(self.backend, index, term)

    # ---- work, as `RaftLog` does it

    def receive(self, message: Message) -> None:
        """Take a message from another member; one that is paused finds it when it goes on."""
        if not self.up:
            return
        if not self.paused:
            self.replica.step([message])
            self.work()
        elif len(self._waiting) < SOCKET_MESSAGES:
            self._waiting.append(message)

    def work(self) -> None:
        """Do all the work there is, except what waits for the disk."""
        if not self.up or self.paused:
            return
        while self.up and self._arrived is None:
            ready = self.replica.next_work()
            if ready is None:
                break
            for message in ready.messages:
                self._around.send(message)
            if ready.snapshot is not None:
                self._arrived = ready
                self._install_when_idle()
                continue
            self._unwritten.append(ready)
            if ready.entries:
                self._around.appends(self, ready.entries)
            if ready.committed_entries:
                self._around.applies(self, ready.committed_entries)
            self.replica.apply(ready)
            if not self._writing:
                self._write()
        if not self.up:
            return
        self.replica.serve_reads()
        if self.replica.commit_due and not self._announcing:
            self._announcing = True
            self._later(ANNOUNCE_MS, self._announce)

    def _announce(self) -> None:
        self._announcing = False
        self.replica.announce_commit()
        self.work()

    def _write(self) -> None:
        work, self._unwritten = self._unwritten, []
        try:
            must_flush = raft_wal.save(self.storage.wal, work)
        except DiskFull:
            self._unwritten[:0] = work
            self._writing = True
            self.replica.step_aside()
            self._later(1000.0, self._write_again)
            return
        if not must_flush:
            self._written(work)
            return
        self._writing = True
        delay_ms = self.flush_ms * (0.5 + self._world.random.random())
        self._later(delay_ms, lambda: self._flushed(work))

    def _write_again(self) -> None:
        self._writing = False
        if self._unwritten:
            self._write()
        self._install_when_idle()
        self.work()

    def _flushed(self, work: Sequence[Ready]) -> None:
        self.storage.wal.flush()
        self._writing = False
        self._written(work)
        if self._unwritten and not self._writing:
            self._write()
        self._install_when_idle()
        self.work()

    def _written(self, work: Sequence[Ready]) -> None:
        for ready in work:
            for message in self.replica.written(ready):
                self._around.send(message)

    def _later(self, delay_ms: float, action: Callable[[], None]) -> None:
        """Do something unless the process has ended; a paused one does it when it goes on."""
        life = self.life

        def due() -> None:
            if self.life != life or not self.up:
                return
            if self.paused:
                self._world.after(10.0, due)
            else:
                action()

        self._world.after(delay_ms, due)

    def _install_when_idle(self) -> None:
        """Take over a snapshot that has arrived, once all from before it is written."""
        if self._arrived is None or self._writing or not self.up:
            return
        if self._unwritten:
            self._write()
            if self._writing:
                return
        ready, self._arrived = self._arrived, None
        self._install(ready)

    def _install(self, ready: Ready) -> None:
        """Take over a snapshot: the log begins behind it, its content is the state."""
        snapshot = ready.snapshot
        if snapshot is None:
            return
        seen = self.mvcc.revision
        content = self._around.content(self.id, snapshot.index)
        status = self.replica.node.status().hard_state
        mark = SnapshotMark(snapshot.index, snapshot.term)
        state = HardState(status.term, status.vote, status.commit)
        try:
            self.storage.wal.begin_behind(mark, state)
        except DiskFull:
            self.crash()  # as a real member, it ends and says why
            return
        self.storage.committed = content
        self.backend.adopt(content)
        self.lessor.restore()
        self.mvcc.restore(self.backend.load())
        self.state.applied_index = snapshot.index
        self.cluster.restore()
        self.hub.replaced(seen)
        self._world.note(f"{self.id} takes over a snapshot at {snapshot.index}")
        self.replica.restored(ready)
        self._written([ready])

    # ---- the replica's sink

    def apply(self, first_index: int, entries: Sequence[bytes], contexts: Sequence[object]) -> None:
        """Apply entries by the production state machine."""
        before = self.mvcc.revision
        self.state.apply(first_index, entries, contexts)
        self._around.changed(self, before)

    def rejected(self, contexts: Sequence[object], error: Exception) -> None:
        """Tell those who proposed."""
        self.state.rejected(contexts, error)

    def apply_membership(self, index: int, data: bytes, context: object) -> bool:
        """Apply a change of the membership."""
        return self.state.apply_membership(index, data, context)

    def conf_state_changed(self, conf_state: ConfState) -> None:
        """Keep the membership."""
        store_conf_state(self.backend, conf_state)

    def leadership_changed(self, leader: int, term: int) -> None:
        """Expire leases only while leading."""
        self.state.lead(term)
        leads = leader == self.id
        if leads and not self.lessor.primary:
            self.lessor.promote(1.0)
            self._around.leads(self, term)
        elif not leads and self.lessor.primary:
            self.lessor.demote()

    # ---- watches and compaction

    def _listen(self, anybody: bool) -> None:
        self.mvcc.observer = self.hub.notify if anybody else None

    def _wake_hub(self) -> None:
        self._later(1.0, self._sync_hub)

    def _sync_hub(self) -> None:
        if self.hub.sync():
            self._wake_hub()

    def _purge(self, revision: int) -> None:
        self._later(5.0, lambda: self._purge_upto(revision))

    def _purge_upto(self, revision: int) -> None:
        if revision == self.mvcc.compact_revision:
            for _ in self.mvcc.purge(revision):
                pass
