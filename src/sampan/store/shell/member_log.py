"""Which log a member has, and how it comes to another: alone, among others, or alone again."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from math import inf
from secrets import randbelow, randbits
from typing import Final, Protocol, TypeAlias

from sampan import raft
from sampan.base.log import Logger
from sampan.raft import ConfChange, ConfState, Entry, EntryType
from sampan.store.core import entry, errors
from sampan.store.core.apply import StateMachine
from sampan.store.core.confstate import load_conf_state, store_conf_state
from sampan.store.core.entry import Kind
from sampan.store.core.entrycache import EntryCache
from sampan.store.core.greeting import Identity
from sampan.store.core.replica import ENVELOPE, Replica, ReplicaTimes, replica_options, unwrap
from sampan.store.core.wal import HardState, RecordFlag
from sampan.store.pb import peer_pb2
from sampan.store.pb import rpc_pb2 as rpc
from sampan.store.shell.bootstrap import Origin
from sampan.store.shell.clocks import CLOCK, clock_now
from sampan.store.shell.config import EtcdConfig
from sampan.store.shell.failpoints import hit
from sampan.store.shell.install import Installer
from sampan.store.shell.log_holder import LogHolder
from sampan.store.shell.peer_tls import peer_client_tls
from sampan.store.shell.peers import Peers, PeerTraffic
from sampan.store.shell.raft_log import RaftLog
from sampan.store.shell.raft_wal import Recovered
from sampan.store.shell.replication import PeerSink
from sampan.store.shell.single_log import LogReports, MemoryLog, SingleLog
from sampan.store.shell.storage import Storage
from sampan.store.shell.wal_writer import Wal
from sampan.wire.grpc.status import Code, RpcError

__all__ = ["MemberLog", "Owner", "Replication"]

MemberLog: TypeAlias = SingleLog | MemoryLog | RaftLog

_IN_SYNC: Final = 0.9
"""How much of the leader's log a learner must have before it may vote (as in etcd)."""

_FOUNDER: Final = ENVELOPE + bytes(8)
"""The envelope of the entries that name the founders: nobody waits for them."""


class Owner(LogReports, Protocol):
    """The member whose log it is."""

    config: EtcdConfig
    state: StateMachine
    storage: Storage
    log: LogHolder[MemberLog]

    def reload(self) -> None:
        """Load everything anew: the backend's content was replaced."""

    def removed(self, reason: str) -> None:
        """Hear that the member was removed from the cluster."""

    def leadership_changed(self, leader: int, term: int) -> None:
        """Hear who leads."""

    def members_changed(self) -> None:
        """Hear that members came, went, or are now reached elsewhere."""


class _Sink:
    """The state machine as the replicated log sees it, and who else wants to know."""

    def __init__(self, node: Owner) -> None:
        self._node = node
        self.apply = node.state.apply
        self.rejected = node.state.rejected

    def apply_membership(self, index: int, data: bytes, context: object) -> bool:
        hit("membershipBeforeApply")
        accepted = self._node.state.apply_membership(index, data, context)
        hit("membershipAfterApply")
        return accepted

    def conf_state_changed(self, conf_state: ConfState) -> None:
        store_conf_state(self._node.storage.backend, conf_state)

    def leadership_changed(self, leader: int, term: int) -> None:
        self._node.leadership_changed(leader, term)


class Replication:
    """The log of one member, and the other members."""

    def __init__(self, node: Owner, log: Logger) -> None:
        self._node = node
        self._logger = log
        self._storage = node.storage
        self._config = node.config
        self._wal: Wal | None = None
        self._raft: RaftLog | None = None
        self._peers: Peers | None = None
        self._switching = False
        self._waiting: list[tuple[ConfChange, bytes, object]] = []
        self.on_replicated: Callable[[], None] = lambda: None
        self._questions: dict[str, Callable[[bytes], Awaitable[bytes]]] = {
            "members": self._members,
            CLOCK: self._clock,
        }

    # ---- which log

    def make_log(self) -> MemberLog:
        """Open the log that fits the data and the flags. Raises SampanError."""
        storage, config = self._storage, self._config
        self._wal = storage.open_wal()
        origin = storage.start_as.origin
        if config.force_new_cluster and origin is Origin.FOUND:
            return self._alone(leaving=True)
        if origin is Origin.ALONE or (origin is Origin.FOUND and not storage.replicated):
            return self._alone()
        recovered = storage.recover()
        storage.check_promises(recovered.hard_state)
        if origin is Origin.FOUNDED:
            recovered = self._found()
        return self._among_others(recovered)

    def _alone(self, *, leaving: bool = False) -> SingleLog | MemoryLog:
        """Make the log of a lone member, with `leaving` one that leaves all others behind."""
        node, storage = self._node, self._storage
        if leaving:
            node.state.cluster.keep_only_me()
            state = ConfState(voters=(storage.member_id,))
            store_conf_state(storage.backend, state)
        node.state.cluster.settle_alone()
        wal = self._wal
        if wal is None:
            return MemoryLog(
                node.state, member_id=storage.member_id, not_alone=self.become_replicated
            )
        return SingleLog(
            wal,
            node.state,
            node,
            term=max(storage.backend.term, 1),
            observe_flush=storage.fsync_seconds.observe,
            member_id=storage.member_id,
            not_alone=self.become_replicated,
            history=self._history(wal, leaving=leaving),
        )

    def _history(
        self, wal: Wal, *, leaving: bool
    ) -> Callable[[int], Iterator[tuple[int, list[bytes]]]] | None:
        """Return what a lone member applies at its start; None if that is just what the log holds.

        A log in which others had a part has entries that were replaced. Who leaves them takes
        along what all had agreed to, and no more.
        """
        if wal.hard_state is None and not leaving:
            return None
        storage = self._storage
        recovered = storage.recover()
        entries = list(recovered.entries)
        if leaving:
            upto = max(recovered.hard_state.commit, storage.backend.consistent_index)
            entries = [each for each in entries if each.index <= upto]
            if upto < recovered.base[0] + len(recovered.entries):
                # Nobody agreed to what lies behind; an entry in its place makes that final.
                term = recovered.hard_state.term + 1
                empty = entry.encode(Kind.EMPTY, b"")
                wal.append(term, upto + 1, [empty])
                entries.append(Entry(term, upto + 1, empty))

        def history(after_index: int) -> Iterator[tuple[int, list[bytes]]]:
            for each in entries:
                if each.index > after_index:
                    yield each.index, [_plain(each)]

        return history

    def _found(self) -> Recovered:
        """Write the founders into the empty log, as all of them do."""
        contexts: dict[int, bytes] = {}
        for member in self._storage.start_as.members:
            body = rpc.Member(ID=member.id, peerURLs=member.peer_urls).SerializeToString()
            contexts[member.id] = _FOUNDER + entry.encode(Kind.MEMBER_ADD, body)
        state, entries = raft.bootstrap(contexts)
        if self._wal is not None:
            self._wal.append(
                1,
                1,
                [each.data for each in entries],
                flags=RecordFlag.CONF_CHANGE,
                hard_state=HardState(state.term, state.vote, state.commit),
            )
        return Recovered((0, 0), entries, state)

    def _among_others(self, recovered: Recovered) -> RaftLog:
        storage, backend = self._storage, self._storage.backend
        conf_state = load_conf_state(backend)
        if not conf_state.voters and _began_alone(recovered):
            conf_state = ConfState(voters=(storage.member_id,))
        cache = EntryCache(recovered.base, recovered.entries, recovered.hard_state, conf_state)
        return self._replicated(cache, backend.consistent_index)

    def _replicated(self, cache: EntryCache, applied: int) -> RaftLog:
        node, storage, config = self._node, self._storage, self._config
        ticks = config.election_timeout_ms // config.heartbeat_interval_ms
        wait = (5000 + 2 * config.election_timeout_ms) // config.heartbeat_interval_ms
        retry = max(1, 500 // config.heartbeat_interval_ms)
        replica = Replica(
            replica_options(
                storage.member_id,
                cache,
                draw=randbelow,
                applied=applied,
                election_ticks=ticks,
                pre_vote=config.pre_vote,
            ),
            cache,
            _Sink(node),
            first_id=randbits(64),
            times=ReplicaTimes(wait, wait, retry, keep=config.snapshot_catchup_entries),
        )
        node.state.cluster.alone = False
        installer = Installer(storage.backend, storage.snapshot_directory, node.reload)
        self._raft = RaftLog(
            replica,
            self._wal,
            installer,
            node,
            tick_s=config.heartbeat_interval_ms / 1000,
            observe_flush=storage.fsync_seconds.observe,
        )
        return self._raft

    def replay(self) -> int:
        """Apply what the backend has not yet; a replicated log does so by itself later."""
        log = self._node.log.current
        if isinstance(log, RaftLog):
            return 0
        return log.replay(self._node.state.applied_index)

    def start(self) -> None:
        """Speak to the other members, if there are any."""
        if self._raft is None:
            return
        self._peers = Peers(
            Identity(self._storage.cluster_id, self._storage.member_id),
            self._raft,
            self._logger,
            peer_client_tls(self._config),
            throttle_bytes_s=self._config.peer_snapshot_rate,
            gzip=self._config.peer_compression == "gzip",
        )
        cluster = self._node.state.cluster
        cluster.observer = self._members_changed
        self._peers.on_removed = self._node.removed
        self._raft.start(self._peers)
        self._members_changed()
        self.on_replicated()

    def _members_changed(self) -> None:
        self._node.members_changed()
        if self._peers is None:
            return
        cluster = self._node.state.cluster
        addresses = cluster.peers()
        for member in self._storage.start_as.members:  # until the log has named them
            if member.id != self._storage.member_id and not cluster.is_removed(member.id):
                if not cluster.members():
                    addresses.setdefault(member.id, member.peer_urls)
        self._peers.connect(addresses)
        if cluster.is_removed(self._storage.member_id):
            self._node.removed("it is not on the list of members any more")

    # ---- from one member to several

    def become_replicated(self, change: ConfChange, data: bytes, context: object) -> None:
        """Put a replicated log in the lone one's place, then propose the change to it."""
        self._waiting.append((change, data, context))
        log = self._node.log.current
        if self._switching or isinstance(log, RaftLog):
            self._drain()
            return
        self._switching = True
        log.hand_over(self._switch)

    def _switch(self, entries: Sequence[bytes], contexts: Sequence[object]) -> None:
        node, storage = self._node, self._storage
        before = node.log.current
        index, term = node.state.applied_index, before.term
        me = storage.member_id
        if not index:
            # Whoever joins must begin with a snapshot, for the log does not name this member.
            index, empty = 1, entry.encode(Kind.EMPTY, b"")
            if self._wal is not None:
                self._wal.append(term, index, [empty])
            node.state.apply(index, [empty], [None])
        state = HardState(term, me, index)
        if self._wal is not None:
            self._wal.save_hard_state(state)
        conf_state = ConfState(voters=(me,))
        store_conf_state(storage.backend, conf_state)
        hard = raft.HardState(term, me, index)
        log = self._replicated(EntryCache((index, term), (), hard, conf_state), index)
        node.log.use(log)
        self.start()
        log.campaign()
        for data, context in zip(entries, contexts, strict=True):
            log.propose(data, context)
        self._switching = False
        self._drain()

    def _drain(self) -> None:
        log = self._node.log.current
        if not isinstance(log, RaftLog):
            return
        waiting, self._waiting = self._waiting, []
        for change, data, context in waiting:
            log.propose_membership(change, data, context)

    # ---- what the Peer service asks (`PeerHost`)

    @property
    def raft(self) -> RaftLog | None:
        """The replicated log, if this member has one."""
        return self._raft

    @property
    def peers(self) -> Peers | None:
        """The transport to the other members."""
        return self._peers

    def peer_sink(self) -> PeerSink | None:
        """Whoever takes messages of other members."""
        return self._raft

    def is_removed(self, member_id: int) -> bool:
        """Whether a member was removed from the cluster."""
        return self._node.state.cluster.is_removed(member_id)

    def heard_from(self, member_id: int) -> None:
        """Hear that a member has connected to this one."""
        if self._peers is not None:
            self._peers.heard_from(member_id)

    def traffic_of(self, member_id: int) -> PeerTraffic:
        """The counters of a member."""
        return PeerTraffic() if self._peers is None else self._peers.traffic_of(member_id)

    @property
    def traffic(self) -> Mapping[int, PeerTraffic]:
        """The counters of all other members."""
        return {} if self._peers is None else self._peers.traffic

    async def _clock(self, _: bytes) -> bytes:
        return clock_now()

    def answer(self, subject: str, answerer: Callable[[bytes], Awaitable[bytes]]) -> None:
        """Let other members ask for something."""
        self._questions[subject] = answerer

    def answerers(self) -> Mapping[str, Callable[[bytes], Awaitable[bytes]]]:
        """What may be asked, by subject."""
        return self._questions

    async def ask(self, member_id: int, subject: str, body: bytes, timeout_s: float = 5.0) -> bytes:
        """Ask a member for something; this one too. Raises RpcError."""
        if member_id == self._storage.member_id:
            return await self._questions[subject](body)
        if self._peers is None:
            raise errors.MEMBER_NOT_FOUND()
        return await self._peers.ask(member_id, subject, body, timeout_s)

    async def ask_leader(self, subject: str, body: bytes) -> bytes:
        """Ask the leader for something, and a new one if it is none any more.

        Raises what it answers, NO_LEADER or TIMEOUT.
        """
        clock = asyncio.get_running_loop().time
        until_s = clock() + (5000 + 2 * self._config.election_timeout_ms) / 1000
        while True:
            leader = self._node.log.leader
            try:
                if leader:
                    return await self.ask(leader, subject, body, until_s - clock())
            except RpcError as error:
                if error.code is not Code.UNAVAILABLE and not errors.NOT_LEADER.matches(error):
                    raise
            pause_s = self._config.heartbeat_interval_ms / 1000
            if clock() + pause_s >= until_s:
                raise errors.TIMEOUT() if leader else errors.NO_LEADER()
            await asyncio.sleep(pause_s)

    def connected_for_s(self, member_id: int) -> float:
        """Return how long a member has been connected, 0 if it is not; infinite for this one."""
        if member_id == self._storage.member_id:
            return inf
        since_s = None if self._peers is None else self._peers.active_since_s(member_id)
        return 0.0 if since_s is None else asyncio.get_running_loop().time() - since_s

    def in_sync(self, member_id: int) -> bool:
        """Whether a member has nearly all of the log, as this leader sees it. Raises NOT_LEADER."""
        if self._raft is None:
            return True
        if not self._raft.leads:
            raise errors.NOT_LEADER()
        status = self._raft.replica.node.status()
        found = status.progress.get(member_id)
        return found is not None and found.match >= _IN_SYNC * status.last_index

    async def move_leader(self, target: int) -> None:
        """Let `target` lead. Raises RpcError when it does not come about."""
        if self._raft is None or target == self._storage.member_id:
            return
        await self._raft.move_leader(target, 2 * self._config.election_timeout_ms / 1000)

    async def _members(self, body: bytes) -> bytes:
        del body
        cluster = self._node.state.cluster
        known = [
            peer_pb2.Members.Known(
                id=member.id,
                name=member.name,
                peer_urls=member.peer_urls,
                client_urls=member.client_urls,
                is_learner=member.is_learner,
            )
            for member in cluster.members()
        ]
        answer = peer_pb2.Members(cluster=cluster.cluster_id, members=known)
        return answer.SerializeToString()


def _began_alone(recovered: Recovered) -> bool:
    """Tell whether a log is that of a lone member, which names no founders."""
    entries = recovered.entries
    return bool(entries) and not recovered.base[0] and entries[0].type is EntryType.NORMAL


def _plain(each: Entry) -> bytes:
    """Return an entry of a replicated log as a lone member applies it."""
    if each.type is EntryType.CONF_CHANGE:
        return entry.encode(Kind.EMPTY, b"")
    return unwrap(each.data)
