"""etcd's metrics, put together when they are asked for.

Nothing is counted here: the parts of the server keep plain integers and `Histogram`s, the node
hands them over as `Figures`, and the names and help texts are added at scrape time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from sampan.base.histogram import Histogram, exponential
from sampan.store.api.metrics_peers import peer_families
from sampan.store.shell.peers import PeerTraffic
from sampan.wire.exposition import Family, Labels, Number, counter, gauge, histogram, render
from sampan.wire.grpc.service import MethodTable, UnaryMethod
from sampan.wire.grpc.status import Code

__all__ = [
    "COMMIT_BOUNDS_S",
    "DEFRAG_BOUNDS_S",
    "FSYNC_BOUNDS_S",
    "LEASE_TTL_BOUNDS_S",
    "Figures",
    "HealthCounts",
    "MethodFigures",
    "NoCalls",
    "exposition",
]

FSYNC_BOUNDS_S = exponential(0.001, 2, 14)
"""Buckets of etcd_disk_wal_fsync_duration_seconds: 1 ms to 8 s."""
COMMIT_BOUNDS_S = exponential(0.001, 2, 14)
"""Buckets of etcd_disk_backend_commit_duration_seconds: 1 ms to 8 s."""
DEFRAG_BOUNDS_S = exponential(0.1, 2, 13)
"""Buckets of the defragmentation's duration: 100 ms to 409 s."""
LEASE_TTL_BOUNDS_S = exponential(1, 2, 24)
"""Buckets of granted leases by TTL: 1 s to 97 days."""


class MethodFigures(Protocol):
    """What has been counted of one gRPC method."""

    @property
    def started(self) -> int:
        """Calls that arrived."""
        ...

    @property
    def handled(self) -> Sequence[int]:
        """Calls that ended; the index is the status code."""
        ...

    @property
    def msg_received(self) -> int:
        """Request messages read."""
        ...

    @property
    def msg_sent(self) -> int:
        """Response messages written."""
        ...


@dataclass(frozen=True, slots=True)
class NoCalls:
    """The figures of a method that was never called."""

    started: int = 0
    handled: Sequence[int] = ()
    msg_received: int = 0
    msg_sent: int = 0


@dataclass(slots=True)
class HealthCounts:
    """How often health was asked for, kept by the HTTP routes.

    `results` and `checks` are the latest and all results by (endpoint, check): 1 for success.
    """

    success: int = 0
    failures: int = 0
    results: dict[tuple[str, str], int] = field(default_factory=dict)
    checks: dict[tuple[str, str, str], int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """Everything `/metrics` tells about the store, at one moment. Names follow etcd's metrics.

    A figure that is None is not counted, and its metric is left out rather than shown as 0.
    """

    server_id: int
    server_version: str
    cluster_version: str
    has_leader: bool
    is_leader: bool
    is_learner: bool = False
    leader_changes_seen: int
    proposals_committed: int
    proposals_applied: int
    proposals_pending: int
    proposals_failed: int | None = None
    quota_backend_bytes: int
    slow_apply: int | None = None
    slow_read_indexes: int | None = None
    read_indexes_failed: int | None = None

    db_size_bytes: int
    db_size_in_use_bytes: int
    current_revision: int
    compact_revision: int
    keys: int
    puts: int = 0
    deletes: int = 0
    ranges: int = 0
    txns: int = 0
    put_size_bytes: int | None = None
    compacted_keys: int | None = None
    events: int = 0
    pending_events: int | None = None
    watch_streams: int = 0
    watchers: int = 0
    slow_watchers: int = 0

    leases_granted: int = 0
    leases_renewed: int = 0
    leases_revoked: int = 0
    leases_expired: int = 0
    lease_ttl: Histogram | None = None
    auth_revision: int = 1

    wal_fsync: Histogram = field(default_factory=lambda: Histogram(FSYNC_BOUNDS_S))
    wal_written_bytes: int | None = None
    backend_commit: Histogram = field(default_factory=lambda: Histogram(COMMIT_BOUNDS_S))
    defrag: Histogram = field(default_factory=lambda: Histogram(DEFRAG_BOUNDS_S))
    defrag_inflight: bool | None = None

    grpc_received_bytes: int = 0
    grpc_sent_bytes: int = 0
    methods: Mapping[str, MethodFigures] = field(default_factory=dict)
    """By full method name, `/etcdserverpb.KV/Range`; a method never called may be missing."""
    peers: Mapping[int, PeerTraffic] = field(default_factory=dict)
    """By the id of the other member; none when there is no other."""


def exposition(
    figures: Figures, table: MethodTable, health: HealthCounts, process: Iterable[Family]
) -> bytes:
    """Return the text of `/metrics`; `process` are the families of the process itself."""
    return render(
        [
            *_server(figures),
            *_health(health),
            *_mvcc(figures),
            *_watch_and_lease(figures),
            *_disk(figures),
            *_grpc(figures, table),
            *peer_families(figures.peers, figures.server_id),
            *process,
        ]
    )


def _server(f: Figures) -> Iterator[Family]:
    s = "etcd_server_"
    version = f.cluster_version.rpartition(".")[0]
    yield gauge(
        "etcd_cluster_version",
        "The version all members speak, as a label.",
        [({"cluster_version": version}, 1)],
    )
    yield gauge(
        s + "version",
        "This server's version, as a label.",
        [({"server_version": f.server_version}, 1)],
    )
    yield gauge(
        s + "id", "This server's id in hex, as a label.", [({"server_id": f"{f.server_id:x}"}, 1)]
    )
    yield gauge(s + "has_leader", "Whether a leader is known.", f.has_leader)
    yield gauge(s + "is_leader", "Whether this member leads.", f.is_leader)
    yield gauge(s + "is_learner", "Whether this member is a learner.", f.is_learner)
    yield counter(s + "leader_changes_seen_total", "Changes of leader seen.", f.leader_changes_seen)
    yield gauge(
        s + "proposals_committed_total", "Consensus proposals committed.", f.proposals_committed
    )
    yield gauge(s + "proposals_applied_total", "Consensus proposals applied.", f.proposals_applied)
    yield gauge(s + "proposals_pending", "Proposals waiting for commit.", f.proposals_pending)
    yield counter(s + "proposals_failed_total", "Proposals that failed.", f.proposals_failed)
    yield gauge(
        s + "quota_backend_bytes", "Size at which writes stop, in bytes.", f.quota_backend_bytes
    )
    yield counter(s + "slow_apply_total", "Requests slow to apply.", f.slow_apply)
    yield counter(s + "slow_read_indexes_total", "Read barriers slow to pass.", f.slow_read_indexes)
    yield counter(
        s + "read_indexes_failed_total", "Read barriers that failed.", f.read_indexes_failed
    )
    yield gauge("etcd_debugging_auth_revision", "Revision of the auth store.", f.auth_revision)


def _health(counts: HealthCounts) -> Iterator[Family]:
    s = "etcd_server_"
    yield counter(s + "health_success", "Health checks passed.", counts.success)
    yield counter(s + "health_failures", "Health checks failed.", counts.failures)
    latest = [({"type": t, "name": n}, v) for (t, n), v in sorted(counts.results.items())]
    every = [
        ({"type": t, "name": n, "status": s}, v) for (t, n, s), v in sorted(counts.checks.items())
    ]
    yield gauge(s + "healthcheck", "The latest result of each check, 1 for success.", latest)
    yield counter(s + "healthchecks_total", "Results of each check.", every)


def _mvcc(f: Figures) -> Iterator[Family]:
    m, d = "etcd_mvcc_", "etcd_debugging_mvcc_"
    yield gauge(m + "db_total_size_in_bytes", "Bytes allocated by the database.", f.db_size_bytes)
    yield gauge(
        m + "db_total_size_in_use_in_bytes",
        "Bytes of the database in use.",
        f.db_size_in_use_bytes,
    )
    for name, text, value in (
        ("put_total", "Puts seen by this member.", f.puts),
        ("delete_total", "Deletes seen by this member.", f.deletes),
        ("range_total", "Ranges seen by this member.", f.ranges),
        ("txn_total", "Transactions seen by this member.", f.txns),
    ):
        yield counter(m + name, text, value)
        yield counter(d + name, text, value)
    yield gauge(d + "keys_total", "Keys.", f.keys)
    yield gauge(d + "current_revision", "The current revision.", f.current_revision)
    yield gauge(d + "compact_revision", "The last compacted revision.", f.compact_revision)
    yield gauge(d + "total_put_size_in_bytes", "Bytes put, keys and values.", f.put_size_bytes)
    yield counter(d + "db_compaction_keys_total", "Revisions compacted.", f.compacted_keys)


def _watch_and_lease(f: Figures) -> Iterator[Family]:
    d, lease = "etcd_debugging_mvcc_", "etcd_debugging_lease_"
    yield counter(d + "events_total", "Events sent to watchers.", f.events)
    yield gauge(d + "pending_events_total", "Events waiting to be sent.", f.pending_events)
    yield gauge(d + "watch_stream_total", "Watch streams.", f.watch_streams)
    yield gauge(d + "watcher_total", "Watchers.", f.watchers)
    yield gauge(d + "slow_watcher_total", "Watchers that are behind.", f.slow_watchers)
    yield counter(lease + "granted_total", "Leases granted.", f.leases_granted)
    yield counter(lease + "renewed_total", "Lease renewals.", f.leases_renewed)
    yield counter(lease + "revoked_total", "Leases revoked.", f.leases_revoked)
    yield histogram(lease + "ttl_total", "Granted leases by TTL in seconds.", f.lease_ttl)
    yield counter("etcd_debugging_server_lease_expired_total", "Leases expired.", f.leases_expired)


def _disk(f: Figures) -> Iterator[Family]:
    d = "etcd_disk_"
    yield histogram(
        d + "wal_fsync_duration_seconds", "Time to sync the write-ahead log.", f.wal_fsync
    )
    yield gauge(d + "wal_write_bytes_total", "Bytes written to the log.", f.wal_written_bytes)
    yield histogram(
        d + "backend_commit_duration_seconds", "Time to commit the backend.", f.backend_commit
    )
    yield histogram(d + "backend_defrag_duration_seconds", "Time to defragment.", f.defrag)
    yield gauge(d + "defrag_inflight", "Whether a defragmentation runs.", f.defrag_inflight)


_CODE_NAMES = {code: code.name.title().replace("_", "") for code in Code} | {
    Code.OK: "OK",
    Code.CANCELLED: "Canceled",
}


def _grpc(f: Figures, table: MethodTable) -> Iterator[Family]:
    n = "etcd_network_client_grpc_"
    yield counter(n + "received_bytes_total", "Bytes from gRPC clients.", f.grpc_received_bytes)
    yield counter(n + "sent_bytes_total", "Bytes to gRPC clients.", f.grpc_sent_bytes)
    started: list[tuple[Labels, Number]] = []
    handled: list[tuple[Labels, Number]] = []
    received: list[tuple[Labels, Number]] = []
    sent: list[tuple[Labels, Number]] = []
    for path in sorted(table):
        labels = _method_labels(path, table)
        figures = f.methods.get(path, NoCalls())
        started.append((labels, figures.started))
        received.append((labels, figures.msg_received))
        sent.append((labels, figures.msg_sent))
        for code, count in enumerate(figures.handled):
            if count:
                handled.append(({"grpc_code": _CODE_NAMES[Code(code)], **labels}, count))
    yield counter("grpc_server_started_total", "RPCs started.", started)
    yield counter("grpc_server_handled_total", "RPCs completed, by status.", handled)
    yield counter("grpc_server_msg_received_total", "RPC messages received.", received)
    yield counter("grpc_server_msg_sent_total", "RPC messages sent.", sent)


def _method_labels(path: str, table: MethodTable) -> Labels:
    service, _, method = path.removeprefix("/").partition("/")
    entry = table[path]
    if isinstance(entry, UnaryMethod):
        shape = "unary"
    elif entry.client_streaming:
        shape = "bidi_stream" if entry.server_streaming else "client_stream"
    else:
        shape = "server_stream"
    return {"grpc_method": method, "grpc_service": service, "grpc_type": shape}
