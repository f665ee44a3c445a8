"""The log of a single member: an entry is committed as soon as it is durable here.

One flush per turn of the event loop takes everything proposed in it as one batch (group commit).
On a fast disk and for a small batch the flush runs inline, as waking a thread would cost more than
the flush itself; otherwise a worker thread does it, and what arrives meanwhile is the next batch.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Protocol

from sampan.base.errors import SampanError, invariant
from sampan.raft import ConfChange
from sampan.store.core.log import LogSink
from sampan.store.shell.failpoints import hit
from sampan.store.shell.wal_files import NoSpaceError, WalError, WalFailedError
from sampan.store.shell.wal_worker import WalWorker
from sampan.store.shell.wal_writer import Wal
from sampan.wire.grpc.status import RpcError

__all__ = ["LogClosedError", "LogReports", "MemoryLog", "SingleLog"]

_Batch = tuple[int, list[bytes], list[object]]


class LogClosedError(WalError):
    """The log is closing; the entry is not in it."""


class LogReports(Protocol):
    """What the owner of the log wants to hear, always on the event loop."""

    def no_space(self, error: SampanError) -> None:
        """Disk space ran out or is about to; comes again as long as it lasts."""

    def log_failed(self, error: Exception) -> None:
        """The log takes nothing more; only a restart helps."""


NotAlone = Callable[[ConfChange, bytes, object], None]
"""Takes a change of the membership, for which a lone member's log is not enough."""


class SingleLog:
    """A `Log` over a write-ahead log, for the running event loop.

    `sink` gets the entries; `reports` hears of a full or broken disk; `observe_flush` gets how long
    each batch took to become durable, in seconds, from whichever thread wrote it. Call `replay`
    once before the first `propose`, and `close` at the end.
    """

    def __init__(
        self,
        wal: Wal,
        sink: LogSink,
        reports: LogReports,
        *,
        term: int = 1,
        observe_flush: Callable[[float], object] | None = None,
        member_id: int = 0,
        history: Callable[[int], Iterable[tuple[int, list[bytes]]]] | None = None,
        not_alone: NotAlone | None = None,
    ) -> None:
        """`history(after_index)` is what `replay` applies, if not just what `wal` holds."""
        self.leader = member_id
        self.term = max(term, wal.last_term, 1)
        self._wal = wal
        self._sink = sink
        self._reports = reports
        self._history = history or wal.replay
        self._not_alone = not_alone
        self._taker: Callable[[list[bytes], list[object]], None] | None = None
        self._loop = asyncio.get_running_loop()
        self._entries: list[bytes] = []
        self._contexts: list[object] = []
        self._durable_index = wal.last_index
        self._in_flight = 0
        self._scheduled = False
        self._refusal: WalError | None = None
        self._drained: asyncio.Future[None] | None = None
        self._worker = WalWorker(reports.no_space, observe_flush)

    @property
    def leads(self) -> bool:
        """Whether this member leads: as long as its log works."""
        return self._refusal is None

    @property
    def applied_term(self) -> int:
        """The term of the last entry applied."""
        return self.term

    @property
    def last_index(self) -> int:
        """The index of the last entry proposed so far."""
        return self._durable_index + self._in_flight + len(self._entries)

    @property
    def committed_index(self) -> int:
        """The index of the last durable entry."""
        return self._durable_index

    @property
    def pending(self) -> int:
        """How many proposed entries are not applied yet."""
        return self._in_flight + len(self._entries)

    def replay(self, after_index: int) -> int:
        """Apply everything behind `after_index` to the sink; return how many entries it were."""
        count = 0
        for first_index, entries in self._history(after_index):
            self._sink.apply(first_index, entries, [None] * len(entries))
            count += len(entries)
        return count

    def propose(self, entry: bytes, context: object) -> None:
        """Append the entry to the next batch; the sink hears of it from the loop."""
        self._entries.append(entry)
        self._contexts.append(context)
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._flush)

    def propose_as_leader(self, entry: bytes, context: object) -> None:
        """Propose: a member that is alone leads."""
        self.propose(entry, context)

    def propose_membership(self, change: ConfChange, entry: bytes, context: object) -> None:
        """Ask the owner for a log that can have members."""
        invariant(self._not_alone is not None, "nobody takes changes of the membership")
        if self._not_alone is not None:
            self._not_alone(change, entry, context)

    def read_barrier(self, ready: Callable[[], None], failed: Callable[[RpcError], None]) -> None:
        """Call `ready` at once: an entry is acknowledged only after it is applied."""
        del failed
        ready()

    def hand_over(self, taker: Callable[[list[bytes], list[object]], None]) -> None:
        """Stop as soon as nothing is being written; `taker` gets what was proposed and not written.

        The files stay open and are the taker's.
        """
        self._taker = taker
        if not self._in_flight:
            self._give()

    def _give(self) -> None:
        taker = self._taker
        if taker is None:
            return
        entries, contexts = self._entries, self._contexts
        self._entries, self._contexts = [], []
        self._refusal = self._refusal or LogClosedError("another log took over")
        self._worker.end()
        taker(entries, contexts)

    def release(self, index: int) -> None:
        """Let segments go whose entries are all at or before `index`, soon."""
        if self._refusal is None:
            self._worker.run(lambda: self._wal.release(index))

    async def close(self) -> None:
        """Flush what was proposed, refuse what comes after, and close the files."""
        if self._scheduled and self._refusal is None:
            self._drained = self._loop.create_future()
            await self._drained
        self._refusal = self._refusal or LogClosedError("the server is stopping")
        self._worker.close()
        self._wal.close()

    def _flush(self) -> None:
        """Write what has collected as one batch."""
        entries, contexts = self._entries, self._contexts
        self._entries, self._contexts = [], []
        if self._refusal is not None:
            self._scheduled = False
            self._sink.rejected(contexts, self._refusal)
            self._check_drained()
            return
        batch = (self._durable_index + 1, entries, contexts)
        if self._worker.inline(len(entries)):
            self._scheduled = False
            error = self._write(batch)
            self._durable_index = self._wal.last_index
            self._settle(batch, self._durable_index, error)
            self._check_drained()
        else:
            self._in_flight = len(entries)
            self._worker.run(lambda: self._write_in_worker(batch))

    def _write(self, batch: _Batch) -> WalError | None:
        first_index, entries, _ = batch
        return self._worker.timed(lambda: self._wal.append(self.term, first_index, entries))

    def _write_in_worker(self, batch: _Batch) -> None:
        error = self._write(batch)
        self._loop.call_soon_threadsafe(self._written, batch, self._wal.last_index, error)

    def _written(self, batch: _Batch, durable_index: int, error: WalError | None) -> None:
        """Take a batch back from the worker; the next one is on its way before this is applied."""
        self._in_flight = 0
        self._durable_index = durable_index
        if self._taker is not None:
            self._scheduled = False
            self._settle(batch, durable_index, error)
            self._give()
            return
        if not self._entries:
            self._scheduled = False
        elif error is not None or self._worker.inline(len(self._entries)):
            self._loop.call_soon(self._flush)
        else:
            self._flush()
        self._settle(batch, durable_index, error)
        self._check_drained()

    def _settle(self, batch: _Batch, durable_index: int, error: WalError | None) -> None:
        """Hand the durable part of a batch to the sink, and the rest back."""
        first_index, entries, contexts = batch
        if error is None:
            self._apply(first_index, entries, contexts)
            self._worker.prepare_spare(self._wal)
            return
        durable = 0
        if isinstance(error, NoSpaceError):
            durable = durable_index + 1 - first_index
            self._reports.no_space(error)
        else:
            self._refuse(error)
        if durable > 0:
            self._apply(first_index, entries[:durable], contexts[:durable])
        self._sink.rejected(contexts[durable:], error)

    def _apply(self, first_index: int, entries: list[bytes], contexts: list[object]) -> None:
        hit("beforeApply")
        try:
            self._sink.apply(first_index, entries, contexts)
        except BaseException as error:
            # The state machine may be half way through the batch: only a replay can put that right.
            self._refuse(WalFailedError(f"applying log entries from {first_index} on: {error!r}"))
            raise
        hit("afterApply")

    def _refuse(self, error: WalError) -> None:
        if self._refusal is None:
            self._refusal = error
            self._reports.log_failed(error)

    def _check_drained(self) -> None:
        if self._drained is not None and not self._scheduled and not self._drained.done():
            self._drained.set_result(None)


class MemoryLog:
    """A `Log` that keeps nothing: entries are applied on the next turn of the loop."""

    term = 1
    applied_term = 1
    leads = True

    def __init__(
        self,
        sink: LogSink,
        *,
        applied_index: int = 0,
        member_id: int = 0,
        not_alone: NotAlone | None = None,
    ) -> None:
        self.leader = member_id
        self._not_alone = not_alone
        self._sink = sink
        self._applied = applied_index
        self._loop = asyncio.get_running_loop()
        self._entries: list[bytes] = []
        self._contexts: list[object] = []
        self._closed = False

    @property
    def last_index(self) -> int:
        """The index of the last entry proposed so far."""
        return self._applied + len(self._entries)

    @property
    def committed_index(self) -> int:
        """The index of the last entry applied."""
        return self._applied

    @property
    def pending(self) -> int:
        """How many proposed entries are not applied yet."""
        return len(self._entries)

    def replay(self, after_index: int) -> int:
        """Return 0: there is nothing to replay."""
        return 0

    def propose(self, entry: bytes, context: object) -> None:
        """Append the entry to the batch that is applied on the next turn of the loop."""
        if not self._entries:
            self._loop.call_soon(self._flush)
        self._entries.append(entry)
        self._contexts.append(context)

    def propose_as_leader(self, entry: bytes, context: object) -> None:
        """Propose: a member that is alone leads."""
        self.propose(entry, context)

    def propose_membership(self, change: ConfChange, entry: bytes, context: object) -> None:
        """Ask the owner for a log that can have members."""
        invariant(self._not_alone is not None, "nobody takes changes of the membership")
        if self._not_alone is not None:
            self._not_alone(change, entry, context)

    def read_barrier(self, ready: Callable[[], None], failed: Callable[[RpcError], None]) -> None:
        """Call `ready` at once: an entry is acknowledged only after it is applied."""
        del failed
        ready()

    def hand_over(self, taker: Callable[[list[bytes], list[object]], None]) -> None:
        """Stop; `taker` gets what was proposed and not applied."""
        entries, contexts = self._entries, self._contexts
        self._entries, self._contexts = [], []
        self._closed = True
        taker(entries, contexts)

    def release(self, index: int) -> None:
        """Do nothing: no entry is kept."""

    async def close(self) -> None:
        """Apply what was proposed, refuse what comes after."""
        if self._entries:
            self._flush()
        self._closed = True

    def _flush(self) -> None:
        if not self._entries:
            return
        entries, contexts = self._entries, self._contexts
        self._entries, self._contexts = [], []
        if self._closed:
            self._sink.rejected(contexts, LogClosedError("the server is stopping"))
            return
        first_index = self._applied + 1
        self._applied += len(entries)
        self._sink.apply(first_index, entries, contexts)
