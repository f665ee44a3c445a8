"""The log of a member among several: entries are agreed on by Raft before they are applied.

One turn of the event loop takes everything that was proposed, received and confirmed in it
together: one batch of messages, one flush, one run of entries to apply. On a fast disk a small
batch is flushed inline, otherwise by a worker thread, and what comes meanwhile is the next batch.
A leader sends entries to the others before its own flush (thesis 10.2.1).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Final, Protocol

from sampan.base.errors import SampanError
from sampan.raft import ConfChange, Message, Ready
from sampan.store.core import errors
from sampan.store.core.replica import Replica
from sampan.store.core.wal import HardState, SnapshotMark
from sampan.store.shell import raft_wal
from sampan.store.shell.failpoints import hit
from sampan.store.shell.replication import PeerTransport, SnapshotSource
from sampan.store.shell.single_log import LogClosedError, LogReports
from sampan.store.shell.wal_files import NoSpaceError, WalError, WalFailedError
from sampan.store.shell.wal_worker import WalWorker
from sampan.store.shell.wal_writer import Wal
from sampan.wire.grpc.status import RpcError

__all__ = ["RaftLog", "SnapshotStore"]

ANNOUNCE_S: Final = 0.002
"""The others learn that late what is committed, if no entries are sent to them before."""

RETRY_S: Final = 1.0
"""How long a full disk is left alone before the write is tried again."""


class SnapshotStore(Protocol):
    """Where snapshots of the whole store come from and go to."""

    snapshot_directory: Path

    def source(self, message: Message) -> AbstractAsyncContextManager[SnapshotSource]:
        """Make the content that answers a SNAPSHOT message."""

    async def prepare(self, path: Path, index: int) -> Path:
        """Make a backend of a snapshot's file, durably and beside the present one.

        Takes the file away. Raises SampanError.
        """

    async def install(self, prepared: Path, index: int) -> None:
        """Put a prepared backend in the present one's place and load the state from it."""

    def discard(self, prepared: Path) -> None:
        """Remove a prepared backend that is not wanted any more."""


class RaftLog:
    """A `Log` that a `Replica` decides on, for the running event loop.

    It is the transport's `PeerSink` too. Call `start` once the state machine is restored.
    """

    def __init__(
        self,
        replica: Replica,
        wal: Wal | None,
        snapshots: SnapshotStore,
        reports: LogReports,
        *,
        tick_s: float,
        observe_flush: Callable[[float], object] | None = None,
    ) -> None:
        """`wal` is None for a member that keeps nothing on disk."""
        self.replica = replica
        self.snapshot_directory = snapshots.snapshot_directory
        self._wal = wal
        self._snapshots = snapshots
        self._reports = reports
        self._tick_s = tick_s
        self._loop = asyncio.get_running_loop()
        self._transport: PeerTransport | None = None
        self._scheduled = False
        self._unwritten: list[Ready] = []
        self._writing = False
        self._idle = asyncio.Event()  # cleared while something is being written
        self._idle.set()
        self._installing = False
        self._on_leader: list[asyncio.Event] = []  # set when leader or role changes
        self._prepared: dict[int, Path] = {}
        self._refusal: WalError | None = None
        self._ticker: asyncio.TimerHandle | None = None
        self._retry: asyncio.TimerHandle | None = None
        self._announcer: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._worker = WalWorker(reports.no_space, observe_flush)

    def start(self, transport: PeerTransport) -> None:
        """Speak to the other members from now on, and let time pass."""
        self._transport = transport
        self._ticker = self._loop.call_later(self._tick_s, self._tick)
        self._wake()

    # ---- what is the case (`Log`)

    @property
    def term(self) -> int:
        """The present term."""
        return self.replica.term

    @property
    def leader(self) -> int:
        """The member that leads, 0 if none is known to."""
        return self.replica.leader

    @property
    def leads(self) -> bool:
        """Whether this member leads."""
        return self.replica.leads

    @property
    def applied_term(self) -> int:
        """The term of the last entry applied."""
        return self.replica.applied_term

    @property
    def last_index(self) -> int:
        """The index of the last entry that this member has."""
        return self.replica.node.last_index

    @property
    def committed_index(self) -> int:
        """The index of the last entry known to be committed."""
        return self.replica.node.committed

    @property
    def pending(self) -> int:
        """How many proposals of this member have no outcome yet."""
        return self.replica.pending

    # ---- in (`Log`)

    def propose(self, entry: bytes, context: object) -> None:
        """Propose an entry in this turn of the loop; the sink hears of it."""
        if self._refusal is not None:
            self._loop.call_soon(self.replica.reject, [context], self._refusal)
            return
        self.replica.propose(entry, context)
        if not self._scheduled:
            self._wake()

    def propose_as_leader(self, entry: bytes, context: object) -> None:
        """Propose what only the leader may."""
        if self._refusal is not None:
            self._loop.call_soon(self.replica.reject, [context], self._refusal)
            return
        self.replica.propose_as_leader(entry, context)
        self._wake()

    def propose_membership(self, change: ConfChange, entry: bytes, context: object) -> None:
        """Propose to change who the members are."""
        if self._refusal is not None:
            self._loop.call_soon(self.replica.reject, [context], self._refusal)
            return
        self.replica.propose_membership(change, entry, context)
        self._wake()

    def read_barrier(self, ready: Callable[[], None], failed: Callable[[RpcError], None]) -> None:
        """Call `ready` once everything acknowledged by whichever member is applied here."""
        self.replica.read(ready, failed)
        if not self._scheduled:
            self._wake()

    def campaign(self) -> None:
        """Stand for election now."""
        self.replica.node.campaign()
        self._wake()

    async def move_leader(self, target: int, timeout_s: float) -> None:
        """Let `target` take over, and wait for it. Raises TIMEOUT_LEADER_TRANSFER."""
        self.replica.node.transfer_leadership(target)
        changed = asyncio.Event()
        self._on_leader.append(changed)
        self._wake()
        try:
            async with asyncio.timeout(timeout_s):
                while self.leader != target:
                    await changed.wait()
                    changed.clear()
        except TimeoutError:
            raise errors.TIMEOUT_LEADER_TRANSFER() from None
        finally:
            self._on_leader.remove(changed)

    def release(self, index: int) -> None:
        """Let segments go whose entries are at or before `index` and kept for nobody."""
        wal = self._wal
        if wal is None or self._refusal is not None:
            return
        index = min(index, self.replica.cache.first_index() - 1)
        self._worker.run(lambda: wal.release(index))

    # ---- in (`PeerSink`)

    def received(self, messages: Sequence[Message]) -> None:
        """Take messages from other members."""
        if self._refusal is None:
            self.replica.step(messages)
            if not self._scheduled:
                self._wake()

    def unreachable(self, member_id: int) -> None:
        """Hear that messages to a member were probably lost."""
        self.replica.node.report_unreachable(member_id)

    def snapshot_sent(self, member_id: int, *, delivered: bool) -> None:
        """Hear what became of a snapshot."""
        self.replica.node.report_snapshot(member_id, delivered=delivered)
        self._wake()

    def snapshot_source(self, message: Message) -> AbstractAsyncContextManager[SnapshotSource]:
        """Make the content that answers a SNAPSHOT message."""
        return self._snapshots.source(message)

    async def receive_snapshot(self, message: Message, path: Path) -> None:
        """Take a snapshot that has arrived; return when it is in place or found to be useless."""
        snapshot = message.snapshot
        if snapshot is None or snapshot.index <= self.replica.applied_index:
            await asyncio.to_thread(path.unlink, missing_ok=True)
            return
        prepared = await self._snapshots.prepare(path, snapshot.index)
        if self._refusal is not None or snapshot.index in self._prepared:
            self._snapshots.discard(prepared)
            return
        self._prepared[snapshot.index] = prepared
        self.replica.step([message])
        self._pump()
        for task in list(self._tasks):
            await asyncio.wait([task])
        unused = self._prepared.pop(snapshot.index, None)
        if unused is not None:
            self._snapshots.discard(unused)

    # ---- time

    def _tick(self) -> None:
        self._ticker = self._loop.call_later(self._tick_s, self._tick)
        if self._refusal is None:
            self.replica.tick()
            self._pump()

    # ---- the pump

    def _wake(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._pump)

    def _pump(self) -> None:
        """Do all the work there is, except what the disk or a snapshot makes wait."""
        self._scheduled = False
        if self._transport is None:
            return
        replica = self.replica
        while self._refusal is None and not self._installing:
            ready = replica.next_work()
            if ready is None:
                break
            if ready.soft_state is not None:
                for changed in self._on_leader:
                    changed.set()
            if ready.messages:
                self._transport.send(ready.messages)
            self._unwritten.append(ready)
            if ready.snapshot is not None:
                self._begin_install(ready)
                return
            if not self._writing:
                if ready.entries and ready.messages:
                    self._write_behind()
                else:
                    self._write()
            self._apply(ready)
        if self._refusal is None and not self._installing:
            replica.serve_reads()
        self._plan_announcement()

    def _plan_announcement(self) -> None:
        """Let the others hear what is committed, unless entries take the news along before."""
        if not self.replica.commit_due:
            if self._announcer is not None:
                self._announcer.cancel()
                self._announcer = None
        elif self._announcer is None:
            self._announcer = self._loop.call_later(ANNOUNCE_S, self._announce)

    def _announce(self) -> None:
        self._announcer = None
        if self._refusal is None:
            self.replica.announce_commit()
            self._pump()

    def _apply(self, ready: Ready) -> None:
        hit("beforeApply")
        try:
            self.replica.apply(ready)
        except BaseException as error:
            # The state machine may be half way through: only a replay can put that right.
            self._refuse(WalFailedError(f"applying log entries failed: {error!r}"))
            raise
        hit("afterApply")

    def _write(self) -> None:
        """Write all that waits, here or in the worker."""
        work, self._unwritten = self._unwritten, []
        entries = sum(len(ready.entries) for ready in work)
        if self._worker.inline(entries):
            self._written(work, self._save(work))
        else:
            self._set_writing(True)
            self._worker.run(lambda: self._save_in_worker(work))

    def _write_behind(self) -> None:
        """Write when what was sent has left, so that all members write at the same time.

        Messages leave at the end of this turn of the loop; the flush would hold them up.
        """
        self._set_writing(True)
        self._loop.call_soon(self._write_now)

    def _write_now(self) -> None:
        self._set_writing(False)
        if self._refusal is None and self._unwritten and not self._installing:
            self._write()
            self._pump()

    def _set_writing(self, writing: bool) -> None:
        self._writing = writing
        if writing:
            self._idle.clear()
        else:
            self._idle.set()

    def _save(self, work: Sequence[Ready]) -> WalError | None:
        wal = self._wal
        if wal is None:
            return None
        return self._worker.timed(lambda: raft_wal.save(wal, work))

    def _save_in_worker(self, work: Sequence[Ready]) -> None:
        error = self._save(work)
        self._loop.call_soon_threadsafe(self._written_in_worker, work, error)

    def _written_in_worker(self, work: Sequence[Ready], error: WalError | None) -> None:
        self._set_writing(False)
        self._written(work, error)
        if self._unwritten and not self._writing and not self._installing:
            self._write()
        self._pump()

    def _written(self, work: Sequence[Ready], error: WalError | None) -> None:
        """Let go what waited for the write; after a failed one keep all of it."""
        if isinstance(error, NoSpaceError):
            self._wait_for_space(work, error)
            return
        if error is not None:
            self._refuse(error)
            return
        for ready in work:
            messages = self.replica.written(ready)
            if messages and self._transport is not None:
                self._transport.send(messages)
        if self._wal is not None:
            self._worker.prepare_spare(self._wal)

    # ---- a disk that is full or broken

    def _wait_for_space(self, work: Sequence[Ready], error: NoSpaceError) -> None:
        """Try again in a while; until then this member vouches for nothing, and others may lead."""
        self._unwritten[:0] = work
        self._set_writing(True)
        self._reports.no_space(error)
        self.replica.step_aside()
        self._retry = self._loop.call_later(RETRY_S, self._write_now)

    def _refuse(self, error: WalError) -> None:
        if self._refusal is None:
            self._refusal = error
            self._reports.log_failed(error)
            self.replica.stop(error)

    # ---- snapshots

    def _begin_install(self, ready: Ready) -> None:
        self._installing = True
        task = self._loop.create_task(self._install(ready), name="snapshot-install")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _install(self, ready: Ready) -> None:
        """Make the log begin behind the snapshot, then put its content in place.

        A crash in between leaves a mark in the log that is ahead of the backend, and the prepared
        backend beside it: the next start finishes the work.
        """
        snapshot = ready.snapshot
        if snapshot is None:
            return
        prepared = self._prepared.pop(snapshot.index, None)
        try:
            await self._idle.wait()
            if prepared is None:
                raise WalFailedError(f"a snapshot at entry {snapshot.index} came without content")
            # What waits from before the snapshot is settled before, as if that came later.
            older, self._unwritten = self._unwritten[:-1], self._unwritten[-1:]
            error = await asyncio.to_thread(self._save, older)
            if error is not None:
                raise error
            self._written(older, None)
            hit("snapshotBeforeSave")
            error = await asyncio.to_thread(self._mark, SnapshotMark(snapshot.index, snapshot.term))
            if error is not None:
                raise error
            hit("snapshotAfterSave")
            await self._snapshots.install(prepared, snapshot.index)
        except SampanError as error:
            self._refuse(WalFailedError(f"cannot take over a snapshot: {error}"))
            return
        self.replica.restored(ready)
        work, self._unwritten = self._unwritten, []
        self._written(work, None)
        self._installing = False
        self._wake()

    def _mark(self, mark: SnapshotMark) -> WalError | None:
        """Let the log begin behind the snapshot."""
        if self._wal is None:
            return None
        state = self.replica.node.status().hard_state
        try:
            self._wal.begin_behind(mark, HardState(state.term, state.vote, state.commit))
        except WalError as failed:
            return failed
        return None

    # ---- the end

    async def close(self) -> None:
        """Hand leadership over if that is quick, refuse what comes, and close the files."""
        await self._hand_over()
        self._refusal = self._refusal or LogClosedError("the server is stopping")
        for handle in (self._ticker, self._retry, self._announcer):
            if handle is not None:
                handle.cancel()
        self.replica.stop(self._refusal)
        if self._transport is not None:
            await self._transport.close()
        await asyncio.to_thread(self._worker.close)
        if self._wal is not None:
            self._wal.close()

    async def _hand_over(self) -> None:
        """Let another member lead before this one stops: nobody then waits out an election."""
        if not self.leads or self._refusal is not None or not self.replica.step_aside():
            return
        self._wake()
        changed = asyncio.Event()
        self._on_leader.append(changed)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(changed.wait(), 10 * self._tick_s)
