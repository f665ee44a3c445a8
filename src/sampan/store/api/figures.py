"""What a node has counted, gathered when metrics or health are asked for."""

from __future__ import annotations

from collections.abc import Sequence

from sampan.loop.rpc_stats import RpcStats
from sampan.store.api.maintenance import DEFAULT_QUOTA_BYTES
from sampan.store.api.metrics import Figures
from sampan.store.api.service import Context
from sampan.store.core import errors
from sampan.store.pb import rpc_pb2 as pb
from sampan.store.shell.node import Node

__all__ = ["NodeHealth", "figures_of"]

_HEALTH_KEY = b"health"


class NodeHealth:
    """What the health routes ask of a node."""

    def __init__(self, node: Node, context: Context) -> None:
        self._node = node
        self._context = context

    @property
    def alarms(self) -> Sequence[str]:
        """The active alarms: `NOSPACE`, `CORRUPT`."""
        active = self._node.state.alarms.get()
        return sorted({pb.AlarmType.Name(alarm.alarm) for alarm in active})

    @property
    def has_leader(self) -> bool:
        """Whether somebody leads; a cluster of one leads itself as long as its log works."""
        return self._node.has_leader

    @property
    def is_learner(self) -> bool:
        """Whether this member may not vote yet."""
        return self._node.state.cluster.me.is_learner

    async def read(self, *, serializable: bool) -> None:
        """Read one key as a client would. Raises RpcError."""
        if not serializable:
            if not self._node.has_leader:
                raise errors.NO_LEADER()
            await self._context.read_barrier()
        self._context.read(pb.RangeRequest(key=_HEALTH_KEY, serializable=True))


def figures_of(node: Node, stats: RpcStats, server_version: str, cluster_version: str) -> Figures:
    """Return everything that `/metrics` tells, as of now."""
    state, mvcc, lessor, hub, storage = (
        node.state,
        node.mvcc,
        node.lessor,
        node.hub,
        node.storage,
    )
    methods = stats.methods

    def answered(name: str) -> int:
        method = methods.get(f"/etcdserverpb.KV/{name}")
        return method.handled[0] if method is not None else 0

    return Figures(
        server_id=storage.member_id,
        server_version=server_version,
        cluster_version=cluster_version,
        has_leader=node.has_leader,
        is_leader=node.leading,
        is_learner=state.cluster.me.is_learner,
        leader_changes_seen=node.leader_changes,
        proposals_committed=node.log.committed_index,
        proposals_applied=state.applied_index,
        proposals_pending=node.log.pending,
        proposals_failed=state.rejected_total,
        quota_backend_bytes=node.config.quota_backend_bytes or DEFAULT_QUOTA_BYTES,
        db_size_bytes=storage.backend.size_bytes,
        db_size_in_use_bytes=storage.backend.size_in_use_bytes,
        current_revision=mvcc.revision,
        compact_revision=mvcc.compact_revision,
        keys=len(mvcc.index.live),
        puts=mvcc.put_total,
        deletes=mvcc.delete_total,
        ranges=answered("Range"),
        txns=answered("Txn"),
        events=hub.events_total,
        watch_streams=hub.stream_count,
        watchers=hub.watcher_count,
        slow_watchers=hub.slow_watcher_count,
        leases_granted=lessor.granted_total,
        leases_renewed=lessor.renewed_total,
        leases_revoked=lessor.revoked_total,
        leases_expired=lessor.expired_total,
        auth_revision=state.auth.revision,
        wal_fsync=storage.fsync_seconds,
        backend_commit=storage.commit_seconds,
        defrag=storage.defrag_seconds,
        grpc_received_bytes=stats.bytes_received,
        grpc_sent_bytes=stats.bytes_sent,
        methods=methods,
        peers=node.membership.traffic,
    )
