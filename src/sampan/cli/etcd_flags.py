"""Every flag that etcd 3.4 to 3.6 takes, and ours, as data.

A flag's environment variable is `ETCD_` and its name in capitals with underscores; its key in the
configuration file is its name.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

__all__ = ["FEATURE_GATES", "FLAGS", "GROUPS", "Flag", "Kind", "Status"]


class Kind(Enum):
    """What a flag's value is; the value is what the help shows."""

    STRING = "string"
    BOOL = "bool"
    INT = "int"
    UINT = "uint"
    UINT32 = "uint32"
    DURATION = "duration"
    URLS = "urls"
    LIST = "list"


class Status(Enum):
    """What happens when a flag is given."""

    SUPPORTED = "supported"
    ACCEPTED = "accepted"
    """Read and checked, without effect on this server."""
    NOT_YET = "not yet"
    """An error, unless the value is the default."""


@dataclass(frozen=True, slots=True)
class Flag:
    """One flag; `default` as a user writes it, `target` the flag that an older name sets."""

    name: str
    kind: Kind
    default: str
    help: str
    status: Status = Status.SUPPORTED
    group: str = ""
    target: str = ""

    @property
    def env(self) -> str:
        """The environment variable that sets it."""
        return "ETCD_" + self.name.upper().replace("-", "_")


S, B, N, U, U32, D, URLS, L = (
    Kind.STRING,
    Kind.BOOL,
    Kind.INT,
    Kind.UINT,
    Kind.UINT32,
    Kind.DURATION,
    Kind.URLS,
    Kind.LIST,
)
_OK, _NOOP, _LATER = Status.SUPPORTED, Status.ACCEPTED, Status.NOT_YET

_ROTATION = '{"maxsize": 100, "maxage": 0, "maxbackups": 0, "localtime": false, "compress": false}'

_Row = tuple[str, Kind, str, Status, str]

_MEMBER: tuple[_Row, ...] = (
    ("name", S, "default", _OK, "Name of this member."),
    ("data-dir", S, "", _OK, "Directory of the data; '<name>.etcd' when empty."),
    ("wal-dir", S, "", _OK, "Directory of the write-ahead log, when not in the data directory."),
    ("snapshot-count", U, "10000", _NOOP, "The log is cut when the backend has what it holds."),
    (
        "heartbeat-interval",
        U,
        "100",
        _OK,
        "Time between heartbeats of the leader, in milliseconds.",
    ),
    (
        "election-timeout",
        U,
        "1000",
        _OK,
        "In milliseconds, randomly up to twice that; sets the shortest lease.",
    ),
    (
        "initial-election-tick-advance",
        B,
        "true",
        _NOOP,
        "A start is never hurried: a member waits its time-out.",
    ),
    ("listen-peer-urls", URLS, "http://localhost:2380", _OK, "Where other members are served."),
    ("listen-client-urls", URLS, "http://localhost:2379", _OK, "Where clients are served."),
    ("listen-client-http-urls", URLS, "", _OK, "Where HTTP is served instead, gRPC stays."),
    ("max-snapshots", U, "5", _NOOP, "Snapshot files to keep."),
    ("max-wals", U, "5", _NOOP, "Log files to keep."),
    ("quota-backend-bytes", N, "0", _OK, "Size at which writes stop; 0 is 2 GiB, below 0 none."),
    ("backend-bbolt-freelist-type", S, "map", _NOOP, "The backend is not bbolt."),
    (
        "backend-batch-interval",
        D,
        "0s",
        _NOOP,
        "The backend is committed behind the log at its own pace.",
    ),
    (
        "backend-batch-limit",
        N,
        "0",
        _NOOP,
        "The backend is committed behind the log at its own pace.",
    ),
    ("max-txn-ops", U, "128", _OK, "Most operations of one transaction."),
    ("max-request-bytes", U, "1572864", _OK, "Largest client request."),
    ("max-concurrent-streams", U32, "4294967295", _OK, "Most open streams of one connection."),
    ("enable-grpc-gateway", B, "true", _OK, "Serve the JSON gateway under /v3/."),
    ("grpc-keepalive-min-time", D, "5s", _OK, "Least time between a client's pings."),
    ("grpc-keepalive-interval", D, "2h", _OK, "Time between the server's pings; 0 for none."),
    ("grpc-keepalive-timeout", D, "20s", _OK, "Wait for the answer to a ping before closing."),
    ("socket-reuse-port", B, "false", _LATER, "Set SO_REUSEPORT on listeners."),
    ("socket-reuse-address", B, "false", _NOOP, "SO_REUSEADDR is always set on listeners."),
    ("raft-read-timeout", D, "5s", _NOOP, "Connections are checked by pings every 10 s."),
    ("raft-write-timeout", D, "5s", _NOOP, "Connections are checked by pings every 10 s."),
    ("snapshot-catchup-entries", U, "5000", _OK, "Applied entries kept for members that lag."),
    ("max-learners", N, "1", _OK, "Most learners in the cluster."),
    ("warning-apply-duration", D, "100ms", _NOOP, "Log requests that take longer to apply."),
    ("warning-unary-request-duration", D, "300ms", _NOOP, "Log unary requests that take longer."),
    ("watch-progress-notify-interval", D, "10m", _OK, "Time between progress notifications."),
    ("compaction-batch-limit", N, "1000", _NOOP, "A compaction yields to requests by itself."),
    ("compaction-sleep-interval", D, "10ms", _NOOP, "A compaction yields to requests by itself."),
    ("bootstrap-defrag-threshold-megabytes", U, "0", _NOOP, "Defragment on start to free as much."),
    ("memory-mlock", B, "false", _NOOP, "Keep the process in memory."),
    ("downgrade-check-time", D, "5s", _NOOP, "Time between checks of a downgrade."),
    (
        "corrupt-check-time",
        D,
        "0s",
        _OK,
        "Time between comparisons of the members' data; 0 for none.",
    ),
    ("compact-hash-check-time", D, "1m", _OK, "Time between them with gate CompactHashCheck."),
    ("feature-gates", S, "", _OK, "Comma-separated Gate=true|false pairs."),
)

_CLUSTER: tuple[_Row, ...] = (
    (
        "initial-advertise-peer-urls",
        URLS,
        "http://localhost:2380",
        _OK,
        "Told to the other members.",
    ),
    ("initial-cluster", S, "", _OK, "name=URL of every first member, separated by commas."),
    ("initial-cluster-state", S, "new", _OK, "'new', or 'existing' to join a cluster."),
    ("initial-cluster-token", S, "etcd-cluster", _OK, "Makes the cluster's id unique."),
    ("advertise-client-urls", URLS, "http://localhost:2379", _OK, "Listed for this member."),
    ("discovery", S, "", _LATER, "Discovery URL of the v2 discovery service."),
    ("discovery-fallback", S, "exit", _NOOP, "What to do when v2 discovery fails."),
    ("discovery-proxy", S, "", _LATER, "HTTP proxy for the v2 discovery service."),
    ("discovery-srv", S, "", _LATER, "DNS domain with the members' SRV records."),
    ("discovery-srv-name", S, "", _LATER, "Suffix of the SRV service name."),
    ("discovery-token", S, "", _LATER, "v3 discovery: token of the new cluster."),
    ("discovery-endpoints", L, "", _LATER, "v3 discovery: endpoints of the service."),
    ("discovery-dial-timeout", D, "2s", _NOOP, "v3 discovery."),
    ("discovery-request-timeout", D, "5s", _NOOP, "v3 discovery."),
    ("discovery-keepalive-time", D, "2s", _NOOP, "v3 discovery."),
    ("discovery-keepalive-timeout", D, "6s", _NOOP, "v3 discovery."),
    ("discovery-insecure-transport", B, "true", _NOOP, "v3 discovery."),
    ("discovery-insecure-skip-tls-verify", B, "false", _NOOP, "v3 discovery."),
    ("discovery-cert", S, "", _NOOP, "v3 discovery."),
    ("discovery-key", S, "", _NOOP, "v3 discovery."),
    ("discovery-cacert", S, "", _NOOP, "v3 discovery."),
    ("discovery-user", S, "", _NOOP, "v3 discovery."),
    ("discovery-password", S, "", _NOOP, "v3 discovery."),
    (
        "strict-reconfig-check",
        B,
        "true",
        _OK,
        "Refuse changes of members that could cost the quorum.",
    ),
    ("pre-vote", B, "true", _OK, "Ask whether an election could be won before starting one."),
    ("auto-compaction-retention", S, "0", _OK, "History to keep: a duration, hours or revisions."),
    ("auto-compaction-mode", S, "periodic", _OK, "'periodic' or 'revision'."),
    ("v2-deprecation", S, "write-only", _NOOP, "There is no v2 store."),
)

_SECURITY: tuple[_Row, ...] = (
    ("cert-file", S, "", _OK, "TLS certificate of the client listeners."),
    ("key-file", S, "", _OK, "TLS key of the client listeners."),
    ("client-cert-auth", B, "false", _OK, "Require and verify client certificates."),
    ("client-cert-file", S, "", _NOOP, "The server makes no connections to itself."),
    ("client-key-file", S, "", _NOOP, "The server makes no connections to itself."),
    ("client-crl-file", S, "", _OK, "Certificate revocation list for client certificates."),
    ("client-cert-allowed-hostname", L, "", _LATER, "Accept only client certificates for these."),
    ("trusted-ca-file", S, "", _OK, "CA that client certificates are verified against."),
    ("auto-tls", B, "false", _OK, "Serve clients with a generated certificate."),
    ("peer-cert-file", S, "", _OK, "TLS certificate for speaking and listening to members."),
    ("peer-key-file", S, "", _OK, "Its key."),
    ("peer-client-cert-auth", B, "false", _OK, "Require and verify certificates of members."),
    ("peer-trusted-ca-file", S, "", _OK, "CA that certificates of members are verified against."),
    ("peer-cert-allowed-cn", L, "", _OK, "Accept only certificates of members with these CNs."),
    ("peer-cert-allowed-hostname", L, "", _OK, "Accept only members' certificates for these."),
    ("peer-auto-tls", B, "false", _OK, "Speak TLS between members with a generated certificate."),
    ("peer-client-cert-file", S, "", _OK, "Certificate for speaking to members, if another one."),
    ("peer-client-key-file", S, "", _OK, "Its key."),
    ("peer-crl-file", S, "", _OK, "Certificate revocation list for certificates of members."),
    ("peer-skip-client-san-verification", B, "false", _NOOP, "Nothing to skip: never compared."),
    ("self-signed-cert-validity", U, "1", _OK, "Years that a generated certificate is valid."),
    ("cipher-suites", L, "", _OK, "TLS 1.2 cipher suites by their IANA names."),
    ("cors", L, "*", _OK, "Origins that browsers may call from; * is any."),
    ("host-whitelist", L, "*", _OK, "Host names served without TLS; * is any."),
    ("tls-min-version", S, "TLS1.2", _OK, "TLS1.2 or TLS1.3."),
    ("tls-max-version", S, "", _OK, "TLS1.2 or TLS1.3; empty is the newest."),
    ("auth-token", S, "simple", _OK, "'simple' or 'jwt,<options>'."),
    ("bcrypt-cost", U, "10", _OK, "Cost of hashing passwords, 4 to 31."),
    ("auth-token-ttl", U, "300", _OK, "Seconds that a simple token lives unused."),
)

_OBSERVE: tuple[_Row, ...] = (
    ("enable-pprof", B, "false", _NOOP, "There is no Go runtime to profile."),
    (
        "metrics",
        S,
        "basic",
        _NOOP,
        "'basic' or 'extensive'; there are no latency histograms by method.",
    ),
    ("listen-metrics-urls", URLS, "", _OK, "More places that serve /metrics and /health."),
    ("logger", S, "zap", _NOOP, "Lines always have zap's form."),
    ("log-outputs", L, "default", _OK, "stderr, stdout or files."),
    ("log-level", S, "info", _OK, "debug, info, warn, error, panic or fatal."),
    ("log-format", S, "json", _OK, "json or console."),
    ("enable-log-rotation", B, "false", _LATER, "Rotate the log file."),
    ("log-rotation-config-json", S, _ROTATION, _NOOP, "How to rotate the log file."),
    ("disable-log-sampling", B, "false", _NOOP, "No line is ever left out."),
    ("enable-distributed-tracing", B, "false", _LATER, "Export OpenTelemetry traces."),
    ("distributed-tracing-address", S, "localhost:4317", _NOOP, "Where traces go."),
    ("distributed-tracing-service-name", S, "etcd", _NOOP, "Service name in traces."),
    ("distributed-tracing-instance-id", S, "", _NOOP, "Instance id in traces."),
    ("distributed-tracing-sampling-rate", N, "0", _NOOP, "Traces in a million spans."),
)

_UNSAFE: tuple[_Row, ...] = (
    ("force-new-cluster", B, "false", _OK, "Go on alone, forgetting all other members."),
    ("unsafe-no-fsync", B, "false", _OK, "Do not wait for the disk: a crash loses data."),
)

_OURS: tuple[_Row, ...] = (
    ("fast", B, "false", _OK, "Heartbeats of 30 ms and elections of 150 ms, unless given."),
    ("peer-compression", S, "none", _OK, "What is sent to members is packed: none or gzip."),
    ("peer-snapshot-rate", U, "0", _OK, "Bytes a second that a snapshot to a member may take."),
    ("memory", B, "false", _OK, "Keep everything in memory, nothing on disk."),
    ("endpoints-file", S, "", _OK, "Where to write the addresses; <data-dir>/endpoints.json."),
    ("config-file", S, "", _OK, "YAML file; other flags and the environment are ignored."),
    ("version", B, "false", _OK, "Print the version and exit."),
)

_OLD: tuple[_Row, ...] = (
    ("debug", B, "false", _OK, "3.4: the same as --log-level=debug."),
    ("log-package-levels", S, "", _NOOP, "3.4: levels of single packages."),
    ("enable-v2", B, "false", _LATER, "The v2 API, removed in etcd 3.6."),
    ("proxy", S, "off", _LATER, "The v2 proxy, removed in etcd 3.6."),
    ("proxy-failure-wait", U, "5000", _NOOP, "The v2 proxy."),
    ("proxy-refresh-interval", U, "30000", _NOOP, "The v2 proxy."),
    ("proxy-dial-timeout", U, "1000", _NOOP, "The v2 proxy."),
    ("proxy-write-timeout", U, "5000", _NOOP, "The v2 proxy."),
    ("proxy-read-timeout", U, "0", _NOOP, "The v2 proxy."),
    ("experimental-enable-v2v3", S, "", _LATER, "The v2 API on v3 data, removed in etcd 3.6."),
    ("experimental-initial-corrupt-check", B, "false", _OK, "Gate InitialCorruptCheck."),
    ("experimental-compact-hash-check-enabled", B, "false", _OK, "Gate CompactHashCheck."),
    ("experimental-enable-lease-checkpoint", B, "false", _OK, "Gate LeaseCheckpoint."),
    (
        "experimental-enable-lease-checkpoint-persist",
        B,
        "false",
        _NOOP,
        "Gate LeaseCheckpointPersist.",
    ),
    (
        "experimental-txn-mode-write-with-shared-buffer",
        B,
        "true",
        _NOOP,
        "Gate TxnModeWriteWithSharedBuffer.",
    ),
    (
        "experimental-stop-grpc-service-on-defrag",
        B,
        "false",
        _NOOP,
        "Gate StopGRPCServiceOnDefrag.",
    ),
    ("experimental-set-member-localaddr", B, "false", _NOOP, "Gate SetMemberLocalAddr."),
)

_RENAMED = (
    "backend-bbolt-freelist-type",
    "bootstrap-defrag-threshold-megabytes",
    "compact-hash-check-time",
    "compaction-batch-limit",
    "compaction-sleep-interval",
    "corrupt-check-time",
    "distributed-tracing-address",
    "distributed-tracing-instance-id",
    "distributed-tracing-sampling-rate",
    "distributed-tracing-service-name",
    "downgrade-check-time",
    "enable-distributed-tracing",
    "max-learners",
    "memory-mlock",
    "peer-skip-client-san-verification",
    "snapshot-catchup-entries",
    "warning-apply-duration",
    "warning-unary-request-duration",
    "watch-progress-notify-interval",
)
"""Flags that were once spelt with `experimental-` in front."""

_IGNORED = (
    "cluster-active-size",
    "cluster-remove-delay",
    "cluster-sync-interval",
    "config",
    "force",
    "max-result-buffer",
    "max-retry-attempts",
    "peer-heartbeat-interval",
    "peer-election-timeout",
    "retry-interval",
    "snapshot",
    "v",
    "vv",
)
"""Flags of etcd 0.x that every later etcd takes and ignores."""

GROUPS: tuple[tuple[str, tuple[_Row, ...]], ...] = (
    ("Member", _MEMBER),
    ("Clustering", _CLUSTER),
    ("Security", _SECURITY),
    ("Monitoring and logging", _OBSERVE),
    ("Unsafe", _UNSAFE),
    ("Program", _OURS),
    ("Older etcd", _OLD),
)

FEATURE_GATES: dict[str, Status] = {
    "AllAlpha": _NOOP,
    "AllBeta": _NOOP,
    "CompactHashCheck": _OK,
    "InitialCorruptCheck": _OK,
    "LeaseCheckpoint": _OK,
    "LeaseCheckpointPersist": _NOOP,
    "SetMemberLocalAddr": _NOOP,
    "StopGRPCServiceOnDefrag": _NOOP,
    "TxnModeWriteWithSharedBuffer": _NOOP,
}
"""The gates of `--feature-gates`."""


def _all() -> Iterator[Flag]:
    rows: dict[str, _Row] = {}
    for group, members in GROUPS:
        for row in members:
            name, kind, default, status, text = rows[row[0]] = row
            yield Flag(name, kind, default, text, status, group)
    for name in _RENAMED:
        _, kind, default, status, _ = rows[name]
        text = f"The older name of --{name}."
        yield Flag(f"experimental-{name}", kind, default, text, status, "Older etcd", name)
    for name in _IGNORED:
        yield Flag(name, S, "", "Of etcd 0.x; ignored.", _NOOP, "Older etcd")


FLAGS: dict[str, Flag] = {flag.name: flag for flag in _all()}
"""Every flag by name, in the order of the help."""
