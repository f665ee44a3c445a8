"""One running member: opens its data, replays the log, keeps time for it, and ends in order.

The node owns everything below the protocol surface; `sampan.store.api.server` puts the services on
top. All methods belong to the event loop.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Iterator
from random import SystemRandom
from time import monotonic, time
from typing import Any, Final

from sampan.base.errors import SampanError
from sampan.base.log import Logger
from sampan.store.core import entry, errors
from sampan.store.core.access import Access
from sampan.store.core.alarm import AlarmStore
from sampan.store.core.apply import Responder, StateMachine
from sampan.store.core.auth import AuthStore
from sampan.store.core.cluster import ClusterInfo
from sampan.store.core.entry import Kind
from sampan.store.core.lease import REVOKE_RATE, Lessor
from sampan.store.core.mvcc import Mvcc
from sampan.store.core.watch import WatchHub
from sampan.store.pb import rpc_pb2 as pb
from sampan.store.shell.auth_tokens import Authenticator, make_tokens
from sampan.store.shell.bootstrap import decide
from sampan.store.shell.compactor import Compactor, make_policy
from sampan.store.shell.config import EtcdConfig
from sampan.store.shell.corruption import Corruption
from sampan.store.shell.failpoints import hit
from sampan.store.shell.log_holder import LogHolder
from sampan.store.shell.member_log import Replication
from sampan.store.shell.outcome import Outcome, Unheard
from sampan.store.shell.passwords import Passwords
from sampan.store.shell.peer_tls import peer_client_tls
from sampan.store.shell.storage import Storage
from sampan.store.shell.wal_files import NoSpaceError

__all__ = ["Node", "RemovedError"]

_LEASE_TICK_S: Final = 0.5
_PURGE_PAUSE_S: Final = 0.002
_NEVER_S: Final = float("inf")
# What a record costs beside its key and value, and what any other entry may cost, in bytes.
_OVERHEAD_BYTES: Final = 256


class RemovedError(SampanError):
    """The member was removed from its cluster."""


class Node:
    """One member. Open it with `await Node.open(config, log)`, end it with `await close()`."""

    def __init__(self, config: EtcdConfig, log: Logger, storage: Storage) -> None:
        self.config = config
        self.logger = log
        self.storage = storage
        self.clock: Callable[[], float] = monotonic
        self.random = SystemRandom()
        backend = storage.backend
        self._tokens = make_tokens(
            config.auth_token,
            clock=monotonic,
            wall_clock=time,
            random=self.random,
            ttl_s=config.auth_token_ttl_s,
        )
        checkpoints = config.feature_gates.lease_checkpoint
        self.lessor = Lessor(
            backend,
            monotonic,
            min_ttl_s=config.min_lease_ttl_s,
            checkpoint_interval_s=300.0 if checkpoints else _NEVER_S,
        )
        self.mvcc = Mvcc(backend, self.lessor)
        auth = AuthStore(backend, self._tokens)
        self.state = StateMachine(
            backend,
            self.mvcc,
            self.lessor,
            auth,
            Access(auth, self._lease_keys),
            AlarmStore(backend),
            ClusterInfo(
                backend,
                storage.cluster_id,
                storage.member_id,
                config.name,
                [str(url) for url in config.initial_advertise_peer_urls],
                [str(url) for url in config.advertise_client_urls],
                alone=False,
            ),
        )
        self.authenticator = Authenticator(
            auth,
            self._tokens,
            Passwords(config.bcrypt_cost),
            client_cert_auth=config.client_tls.client_cert_auth,
        )
        self.hub = WatchHub(
            self.mvcc,
            self._watch_header,
            listen=self._listen,
            fragment_bytes=config.max_message_bytes,
        )
        self._purge: asyncio.Task[None] | None = None
        self._purged_revision = -1
        self._purge_done = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._alarm_raised = False
        self._log_failed = False
        # Called when only a restart helps; a server process ends itself then.
        self.on_failure: Callable[[Exception], None] | None = None
        self.leader_changes = 0
        # Called when who leads changes, or who the members are.
        self.on_standing: Callable[[], None] = lambda: None
        self._last_leader = 0
        self._publishing = False
        self._removed = False
        self.membership = Replication(self, log)
        self.log = LogHolder(self.membership.make_log())
        self.corruption = Corruption(self, log)

    @classmethod
    async def open(cls, config: EtcdConfig, log: Logger) -> Node:
        """Open the data directory, bring the state up to date and start keeping time.

        Raises SampanError when the data cannot be used.
        """
        tls = peer_client_tls(config)
        storage = Storage.open(config, log, await decide(config, tls))
        # What is loaded stays: looking through it for garbage would take as long as loading it.
        collecting = gc.isenabled()
        gc.disable()
        try:
            node = cls(config, log, storage)
            node._restore()
        except BaseException:
            storage.abandon()
            raise
        finally:
            gc.freeze()
            if collecting:
                gc.enable()
        node._start()
        return node

    def _restore(self) -> None:
        backend, state = self.storage.backend, self.state
        self.lessor.restore()
        self.mvcc.restore(backend.load())
        state.lead(max(self.log.term, 1))
        state.applied_index = backend.consistent_index
        replayed = self.membership.replay()
        unfinished = self.mvcc.unfinished_compaction
        self._purged_revision = self.mvcc.compact_revision
        if unfinished is not None:
            self._compacted(unfinished)
        self.logger.info(
            "restored the store",
            revision=self.mvcc.revision,
            **{
                "compact-revision": self.mvcc.compact_revision,
                "keys": len(self.mvcc.index.live),
                "consistent-index": backend.consistent_index,
                "replayed-entries": replayed,
            },
        )

    def _start(self) -> None:
        self.state.on_compact = self._compacted
        if self.log.leads:
            self._promote()
        self.storage.start(self)
        self.membership.start()
        self._tasks.append(asyncio.create_task(self._keep_leases(), name="leases"))
        config = self.config
        policy = make_policy(
            config.auto_compaction_mode, config.auto_compaction_retention, self.clock()
        )
        if policy is not None:
            compactor = Compactor(
                policy,
                revision=lambda: self.mvcc.revision,
                compact=self._auto_compact,
                log=self.logger,
            )
            self._tasks.append(asyncio.create_task(compactor.run(), name="auto-compaction"))
        if config.corrupt_check_time_s:
            check = self.corruption.watch(config.corrupt_check_time_s)
            self._tasks.append(asyncio.create_task(check, name="corrupt-check"))
        if config.feature_gates.compact_hash_check:
            check = self.corruption.watch_compactions(config.compact_hash_check_time_s)
            self._tasks.append(asyncio.create_task(check, name="compact-hash-check"))

    async def close(self) -> None:
        """Apply what was proposed, commit the backend, and close every file."""
        tasks = [*self._tasks, *([self._purge] if self._purge is not None else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.log.current.close()
        await self.storage.close()
        self.authenticator.close()

    # ---- what the server proposes itself

    def propose(self, kind: Kind, body: bytes, responder: Responder, request: Any = None) -> None:
        """Put an entry of the server's own into the log, with the right to do anything."""
        self.log.propose(*self._own(kind, body, responder, request))

    def _own(
        self, kind: Kind, body: bytes, responder: Responder, request: Any
    ) -> tuple[bytes, object]:
        """An entry of the server's own, and its context."""
        user, auth_rev = "", 0
        if self.state.auth.enabled:
            root = self.state.auth.root_identity()
            user, auth_rev = root.user, root.revision
        context = (responder, kind, request, user, auth_rev)
        return entry.encode(kind, body, user, auth_rev), context

    def _promote(self) -> None:
        # As in etcd, a lease gets the time of an election on top, in which nobody could renew it.
        self.lessor.promote(self.config.election_timeout_ms / 1000)

    async def _keep_leases(self) -> None:
        """Revoke leases that have run out, and write down how long the long ones have left."""
        while True:
            await asyncio.sleep(_LEASE_TICK_S)
            self.publish()
            if not self.lessor.primary:
                continue
            for lease_id in self.lessor.expired(int(REVOKE_RATE * _LEASE_TICK_S)):
                request = pb.LeaseRevokeRequest(ID=lease_id)
                body = request.SerializeToString()
                revoke = self._own(Kind.LEASE_REVOKE, body, Unheard(), request)
                self.log.propose_as_leader(*revoke)
            due = self.lessor.due_checkpoints()
            if due:
                checkpoints = pb.LeaseCheckpointRequest(
                    checkpoints=[
                        pb.LeaseCheckpoint(ID=lease_id, remaining_TTL=remaining_s)
                        for lease_id, remaining_s in due
                    ]
                )
                body = checkpoints.SerializeToString()
                written = self._own(Kind.LEASE_CHECKPOINT, body, Unheard(), checkpoints)
                self.log.propose_as_leader(*written)

    async def _auto_compact(self, revision: int) -> None:
        if not self.leading:
            return
        request = pb.CompactionRequest(revision=revision)
        outcome = Outcome()
        self.propose(Kind.COMPACT, request.SerializeToString(), outcome, request)
        await outcome.future

    @property
    def leading(self) -> bool:
        """Whether this member leads, or is alone with a log that works."""
        return self.log.leads and not self._log_failed

    @property
    def has_leader(self) -> bool:
        """Whether writes can be taken as far as known: somebody leads."""
        return bool(self.log.leader) and not self._log_failed

    # ---- what the log tells of the cluster

    def leadership_changed(self, leader: int, term: int) -> None:
        """Take the news of who leads: the leader alone lets leases run out."""
        self.state.lead(term)
        if leader and leader != self._last_leader:
            self._last_leader = leader
            self.leader_changes += 1
        leads = leader == self.storage.member_id
        if leads and not self.lessor.primary:
            self._promote()
        elif not leads and self.lessor.primary:
            self.lessor.demote()
        if leader:
            self.publish()
        self.on_standing()

    def members_changed(self) -> None:
        """Take the news that the members are not what they were."""
        self.on_standing()

    def removed(self, reason: str) -> None:
        """Stop for good: this member was removed from the cluster."""
        if self._removed:
            return
        self._removed = True
        error = RemovedError(
            "this member has been permanently removed from the cluster: "
            f"{reason}; its data directory is of no more use"
        )
        self.logger.error("the member has been permanently removed from the cluster", reason=reason)
        # The others learn of the entry that removed it from this member, if it led.
        delay_s = self.config.election_timeout_ms / 1000
        asyncio.get_running_loop().call_later(delay_s, self._end, error)

    def _end(self, error: Exception) -> None:
        if self.on_failure is not None:
            self.on_failure(error)

    def publish(self) -> None:
        """Tell all members this one's name and client URLs, unless they know."""
        body = self.state.cluster.attributes
        if body is None or self._publishing or not self.log.leader:
            return
        self._publishing = True
        self.propose(Kind.MEMBER_ATTRIBUTES, body, Unheard(self._published))

    def _published(self) -> None:
        self._publishing = False

    def reload(self) -> None:
        """Load everything anew: another member's content has taken the backend's place."""
        seen_rev = self.mvcc.revision
        state, backend = self.state, self.storage.backend
        primary = self.lessor.primary
        self.lessor.restore()
        self.mvcc.restore(backend.load())
        state.applied_index = backend.consistent_index
        state.auth.restore()
        state.alarms.restore()
        state.cluster.restore()
        if primary:
            self._promote()
        self._purged_revision = self.mvcc.compact_revision
        if self.mvcc.unfinished_compaction is not None:
            self._compacted(self.mvcc.compact_revision)
        self.hub.recheck()
        self.hub.replaced(seen_rev)
        self.logger.info(
            "took over a snapshot", revision=self.mvcc.revision, index=state.applied_index
        )

    # ---- space

    def may_grow(self, size_bytes: int) -> None:
        """Raise NO_SPACE, and the alarm, when the quota leaves no room for an entry."""
        storage = self.storage
        storage.room_bytes -= size_bytes + _OVERHEAD_BYTES
        if storage.room_bytes > 0:
            return
        self.raise_no_space("the quota of the backend is used up")
        raise errors.NO_SPACE()

    def raise_no_space(self, reason: str) -> None:
        """Raise the NOSPACE alarm, and say in the log what is to be done."""
        if self.state.alarms.nospace or self._alarm_raised:
            return
        self._alarm_raised = True
        self.logger.warning(
            "alarm NOSPACE raised: writes are refused, reads go on",
            reason=reason,
            cure="free space: compact old revisions (etcdctl compaction REV), defragment (etcdctl "
            "defrag), delete keys or raise --quota-backend-bytes; then etcdctl alarm disarm",
        )
        request = pb.AlarmRequest(
            action=pb.AlarmRequest.ACTIVATE,
            memberID=self.storage.member_id,
            alarm=pb.AlarmType.NOSPACE,
        )
        self.propose(Kind.ALARM, request.SerializeToString(), Unheard(self._alarm_settled))

    def _alarm_settled(self) -> None:
        self._alarm_raised = False

    # ---- what the storage asks and reports (`StorageReports`)

    def applied(self) -> tuple[int, int]:
        """Return index and term of the last applied entry."""
        return self.state.applied_index, self.log.applied_term

    def release(self, index: int) -> None:
        """Let the log forget what the backend holds durably."""
        self.log.current.release(index)

    def no_space(self, error: Exception) -> None:
        """Take the news that the disk is full.

        Among several members the log of this one alone waits for room: an alarm would stop all.
        """
        if isinstance(error, NoSpaceError) and self.membership.raft is not None:
            self.logger.error(
                "the disk of this member is full; the others go on without it", error=str(error)
            )
            return
        self.raise_no_space(str(error))

    def log_failed(self, error: Exception) -> None:
        """Take the news that the log is broken: nothing can be acknowledged any more.

        The state may be half way through a batch, so none of it may reach the backend.
        """
        self._log_failed = True
        self.storage.backend.halt()
        self.logger.error("the write-ahead log failed; restart the server", error=str(error))
        if self.on_failure is not None:
            self.on_failure(error)

    # ---- compaction

    def _compacted(self, revision: int) -> None:
        previous = self._purge
        self._purge = asyncio.get_running_loop().create_task(self._purge_upto(revision, previous))

    async def _purge_upto(self, revision: int, previous: asyncio.Task[None] | None) -> None:
        if previous is not None:
            await previous
        started = self.clock()
        hit("compactBefore")
        for _ in self.mvcc.purge(revision):
            await asyncio.sleep(_PURGE_PAUSE_S)
        hit("compactAfter")
        self._purged_revision = revision
        done, self._purge_done = self._purge_done, asyncio.Event()
        done.set()
        took = f"{(self.clock() - started) * 1000:.1f}ms"
        self.logger.info(
            "finished scheduled compaction", **{"compact-revision": revision}, took=took
        )

    async def compacted(self, revision: int) -> None:
        """Wait until the space of revisions before `revision` is free, on disk too."""
        while self._purged_revision < revision:
            await self._purge_done.wait()
        await self.storage.flush()

    # ---- watches

    def _listen(self, anybody: bool) -> None:
        self.mvcc.observer = self.hub.notify if anybody else None

    def _watch_header(self, revision: int) -> bytes:
        return self.state.header_bytes_at(revision)

    def _lease_keys(self, lease_id: int) -> Iterator[bytes]:
        lease = self.lessor.lookup(lease_id)
        yield from lease.keys if lease is not None else ()
