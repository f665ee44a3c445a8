"""The settings of one etcd server, checked and ready to use.

`EtcdConfig()` is etcd's own default configuration. Field names are etcd's flag names with units
last; where etcd counts in nanoseconds or a bare number, the unit is in the name.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from sampan.base.errors import SampanError
from sampan.base.log import Level
from sampan.store.shell.compactor import make_policy

__all__ = [
    "CompactionMode",
    "ConfigError",
    "EtcdConfig",
    "FeatureGates",
    "TlsConfig",
    "Url",
]

CompactionMode = str
"""`periodic` or `revision`; see `sampan.store.shell.compactor`."""

_SCHEMES = ("http", "https", "unix", "unixs")
_MAX_ELECTION_MS = 50_000
_MESSAGE_OVERHEAD_BYTES = 512 * 1024
_TLS_VERSIONS = ("", "TLS1.2", "TLS1.3")


class ConfigError(SampanError):
    """A setting is wrong or contradicts another; the message names the flag."""


@dataclass(frozen=True, slots=True)
class Url:
    """An address to listen on or to advertise: `http[s]://host:port` or `unix[s]://path`.

    `host` is the socket's path for the unix schemes, with port 0.
    """

    scheme: str
    host: str
    port: int = 0

    @classmethod
    def parse(cls, text: str) -> Url:
        """Return the address that `text` names. Raises ConfigError as etcd words it."""
        text = text.strip()
        try:
            parts = urlsplit(text)
            port = parts.port if parts.scheme in ("http", "https") else 0
        except ValueError:
            raise ConfigError(f'URL address does not have the form "host:port": {text}') from None
        if parts.scheme not in _SCHEMES:
            raise ConfigError(f"URL scheme must be http, https, unix, or unixs: {text}")
        if parts.scheme.startswith("unix"):
            return cls(parts.scheme, parts.netloc + parts.path)
        if port is None:
            raise ConfigError(f'URL address does not have the form "host:port": {text}')
        if parts.path or parts.query or parts.fragment:
            raise ConfigError(f"URL must not contain a path: {text}")
        return cls(parts.scheme, parts.hostname or "", port)

    @property
    def tls(self) -> bool:
        """Whether the scheme asks for TLS."""
        return self.scheme in ("https", "unixs")

    @property
    def unix(self) -> bool:
        """Whether this names a Unix socket; `host` is its path."""
        return self.scheme.startswith("unix")

    def __str__(self) -> str:
        if self.unix:
            return f"{self.scheme}://{self.host}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"

    def check_bindable(self) -> None:
        """Raise ConfigError unless the host is an IP address, `localhost` or a socket's path."""
        if self.unix or self.host == "localhost":
            return
        try:
            ipaddress.ip_address(self.host)
        except ValueError:
            raise ConfigError(f"expected IP in URL for binding ({self})") from None


@dataclass(frozen=True, slots=True)
class TlsConfig:
    """TLS of listeners, and between members of connections too; empty strings mean not given.

    `connect_cert_file` and `connect_key_file` are shown to other members, if not the listener's.
    """

    cert_file: str = ""
    key_file: str = ""
    client_cert_auth: bool = False
    trusted_ca_file: str = ""
    client_crl_file: str = ""
    allowed_hostnames: tuple[str, ...] = ()
    allowed_names: tuple[str, ...] = ()
    connect_cert_file: str = ""
    connect_key_file: str = ""
    auto_tls: bool = False
    self_signed_cert_validity_years: int = 1
    cipher_suites: tuple[str, ...] = ()
    min_version: str = "TLS1.2"
    max_version: str = ""

    @property
    def has_certificate(self) -> bool:
        """Whether a certificate and its key were given."""
        return bool(self.cert_file and self.key_file)

    def check(self, prefix: str = "--") -> None:
        """Raise ConfigError for unknown or contradicting versions and half a key pair.

        `prefix` is what the flags' names begin with.
        """
        for flag, version in (
            ("--tls-min-version", self.min_version),
            ("--tls-max-version", self.max_version),
        ):
            if version not in _TLS_VERSIONS:
                raise ConfigError(f'{flag}: unexpected TLS version "{version}" (TLS1.2 or TLS1.3)')
        if self.max_version and (self.min_version or "TLS1.2") > self.max_version:
            raise ConfigError(
                f"min version ({self.min_version}) is greater than max version ({self.max_version})"
            )
        if self.min_version == "TLS1.3" and self.cipher_suites:
            raise ConfigError("cipher suites cannot be configured when only TLS1.3 is enabled")
        self._check_files(prefix)

    def _check_files(self, prefix: str) -> None:
        authority = f"needs {prefix}trusted-ca-file"
        if self.client_crl_file and not self.trusted_ca_file:
            name = "--client-crl-file" if prefix == "--" else f"{prefix}crl-file"
            raise ConfigError(f"{name} {authority}")
        for of in ("", "client-"):
            cert, key = self._pair(of)
            if bool(cert) != bool(key):
                raise ConfigError(
                    f"{prefix}{of}cert-file and {prefix}{of}key-file must both be given"
                )
        if self.client_cert_auth and not self.trusted_ca_file:
            raise ConfigError(f"{prefix}client-cert-auth {authority}")
        if self.allowed_names and self.allowed_hostnames:
            raise ConfigError(
                f"{prefix}cert-allowed-cn and {prefix}cert-allowed-hostname exclude each other"
            )
        if (self.allowed_names or self.allowed_hostnames) and not self.trusted_ca_file:
            raise ConfigError(f"{prefix}cert-allowed-cn and -hostname need {authority[6:]}")

    def _pair(self, of: str) -> tuple[str, str]:
        if of:
            return self.connect_cert_file, self.connect_key_file
        return self.cert_file, self.key_file


@dataclass(frozen=True, slots=True)
class FeatureGates:
    """The feature gates that change what one member does."""

    lease_checkpoint: bool = False
    lease_checkpoint_persist: bool = False
    initial_corrupt_check: bool = False
    compact_hash_check: bool = False
    stop_grpc_service_on_defrag: bool = False


_DEFAULT_CLIENT = (Url("http", "localhost", 2379),)
_DEFAULT_PEER = (Url("http", "localhost", 2380),)


@dataclass(frozen=True, slots=True)
class EtcdConfig:
    """Everything a node needs to know before it starts.

    `data_dir` empty means `<name>.etcd`; `initial_cluster` empty means this member alone at its
    `initial_advertise_peer_urls`. Port 0 in a listen URL takes a free port; port 0 in an advertised
    URL stands for the port of the listen URL at the same place. `max_concurrent_streams` counts per
    connection. A quota of 0 means the default of 2 GiB, below 0 none.
    """

    name: str = "default"
    data_dir: str = ""
    wal_dir: str = ""
    memory: bool = False
    endpoints_file: str = ""

    listen_client_urls: tuple[Url, ...] = _DEFAULT_CLIENT
    listen_client_http_urls: tuple[Url, ...] = ()
    listen_metrics_urls: tuple[Url, ...] = ()
    listen_peer_urls: tuple[Url, ...] = _DEFAULT_PEER
    advertise_client_urls: tuple[Url, ...] = _DEFAULT_CLIENT
    initial_advertise_peer_urls: tuple[Url, ...] = _DEFAULT_PEER
    initial_cluster: tuple[tuple[str, Url], ...] = ()
    initial_cluster_state: str = "new"
    initial_cluster_token: str = "etcd-cluster"
    force_new_cluster: bool = False
    strict_reconfig_check: bool = True
    socket_reuse_port: bool = False
    socket_reuse_address: bool = False

    heartbeat_interval_ms: int = 100
    election_timeout_ms: int = 1000
    snapshot_count: int = 10_000
    snapshot_catchup_entries: int = 5000
    corrupt_check_time_s: float = 0.0
    compact_hash_check_time_s: float = 60.0
    unsafe_no_fsync: bool = False
    quota_backend_bytes: int = 0
    backend_batch_interval_s: float = 0.0
    backend_batch_limit: int = 0
    bootstrap_defrag_threshold_megabytes: int = 0

    max_request_bytes: int = 1_572_864
    max_txn_ops: int = 128
    max_concurrent_streams: int = 2**32 - 1
    grpc_keepalive_min_time_s: float = 5.0
    grpc_keepalive_interval_s: float = 7200.0
    grpc_keepalive_timeout_s: float = 20.0

    auto_compaction_mode: CompactionMode = "periodic"
    auto_compaction_retention: str = "0"
    compaction_batch_limit: int = 1000
    compaction_sleep_interval_s: float = 0.01
    watch_progress_notify_interval_s: float = 600.0
    warning_apply_duration_s: float = 0.1
    warning_unary_request_duration_s: float = 0.3

    client_tls: TlsConfig = field(default_factory=TlsConfig)
    peer_tls: TlsConfig = field(default_factory=TlsConfig)
    peer_compression: str = "none"
    peer_snapshot_rate: int = 0
    pre_vote: bool = True
    max_learners: int = 1
    auth_token: str = "simple"
    auth_token_ttl_s: int = 300
    bcrypt_cost: int = 10

    enable_grpc_gateway: bool = True
    cors: frozenset[str] = frozenset(("*",))
    host_whitelist: frozenset[str] = frozenset(("*",))
    metrics: str = "basic"

    log_level: str = "info"
    log_format: str = "json"
    log_outputs: tuple[str, ...] = ("default",)

    feature_gates: FeatureGates = field(default_factory=FeatureGates)

    @property
    def directory(self) -> str:
        """The data directory: as given, else `<name>.etcd`."""
        return self.data_dir or f"{self.name}.etcd"

    @property
    def min_lease_ttl_s(self) -> int:
        """The shortest lease granted: 1.5 election timeouts, rounded up (etcd's `minTTL`)."""
        return -(-3 * self.election_timeout_ms // 2000)

    @property
    def max_message_bytes(self) -> int:
        """The largest gRPC message taken: a request of the largest size and what surrounds it."""
        return self.max_request_bytes + _MESSAGE_OVERHEAD_BYTES

    def check(self) -> None:
        """Raise ConfigError for the first setting that is wrong, worded as etcd words it."""
        if not self.listen_client_urls:
            raise ConfigError("--listen-client-urls must name at least one URL")
        for urls in (
            self.listen_peer_urls,
            self.listen_client_urls,
            self.listen_client_http_urls,
            self.listen_metrics_urls,
        ):
            for url in urls:
                url.check_bindable()
        self._check_advertised()
        self._check_cluster()
        self._check_timing()
        self._check_choices()
        self.client_tls.check()
        self.peer_tls.check("--peer-")
        self._check_schemes()

    def _check_advertised(self) -> None:
        for flag, urls in (
            ("--initial-advertise-peer-urls", self.initial_advertise_peer_urls),
            ("--advertise-client-urls", self.advertise_client_urls),
        ):
            for url in urls:
                if not url.host:
                    raise ConfigError(f'{flag} must be "host:port" (unexpected empty host ({url}))')
        if not self.advertise_client_urls:
            raise ConfigError(
                "--advertise-client-urls is required when --listen-client-urls is set explicitly"
            )

    def _check_cluster(self) -> None:
        if self.initial_cluster_state not in ("new", "existing"):
            raise ConfigError(f'unexpected clusterState "{self.initial_cluster_state}"')
        if not self.initial_cluster:
            return
        mine = {url for name, url in self.initial_cluster if name == self.name}
        if not mine:
            raise ConfigError(
                f'couldn\'t find local name "{self.name}" in the initial cluster configuration'
            )
        if mine != set(self.initial_advertise_peer_urls):
            given = ",".join(f"{self.name}={url}" for url in sorted(map(str, mine)))
            advertised = ",".join(sorted(map(str, self.initial_advertise_peer_urls)))
            raise ConfigError(
                f"--initial-cluster has {given} but --initial-advertise-peer-urls is {advertised}"
            )

    def _check_timing(self) -> None:
        heartbeat, election = self.heartbeat_interval_ms, self.election_timeout_ms
        if heartbeat <= 0:
            raise ConfigError(f"--heartbeat-interval must be >0 (set to {heartbeat}ms)")
        if election <= 0:
            raise ConfigError(f"--election-timeout must be >0 (set to {election}ms)")
        if 5 * heartbeat > election:
            raise ConfigError(
                f"--election-timeout[{election}ms] should be at least as 5 times as "
                f"--heartbeat-interval[{heartbeat}ms]"
            )
        if election > _MAX_ELECTION_MS:
            raise ConfigError(
                f"--election-timeout[{election}ms] is too long, "
                f"and should be set less than {_MAX_ELECTION_MS}ms"
            )

    def _check_choices(self) -> None:
        if self.max_learners <= 0:
            raise ConfigError(f"--max-learners must be > 0 (set to {self.max_learners})")
        if self.corrupt_check_time_s < 0 or self.compact_hash_check_time_s <= 0:
            raise ConfigError("--corrupt-check-time and --compact-hash-check-time must be > 0")
        if self.metrics not in ("basic", "extensive"):
            raise ConfigError(f'--metrics must be "basic" or "extensive", not "{self.metrics}"')
        try:
            make_policy(self.auto_compaction_mode, self.auto_compaction_retention, 0.0)
            Level.parse(self.log_level)
        except ValueError as error:
            raise ConfigError(str(error)) from None
        if self.peer_compression not in ("none", "gzip"):
            raise ConfigError(f'--peer-compression is none or gzip, not "{self.peer_compression}"')
        if self.log_format not in ("json", "console"):
            raise ConfigError(f'unknown log format: "{self.log_format}"')
        if not 4 <= self.bcrypt_cost <= 31:
            raise ConfigError(f"--bcrypt-cost must be between 4 and 31, not {self.bcrypt_cost}")
        gates = self.feature_gates
        if gates.lease_checkpoint_persist and not gates.lease_checkpoint:
            raise ConfigError(
                "enabling feature gate LeaseCheckpointPersist requires enabling "
                "feature gate LeaseCheckpoint"
            )

    def _check_schemes(self) -> None:
        tls = self.client_tls
        for url in (*self.listen_client_urls, *self.listen_client_http_urls):
            if url.tls and not tls.has_certificate and not tls.auto_tls:
                raise ConfigError(
                    "TLS key/cert (--cert-file, --key-file) must be provided for client url "
                    f"{url} with HTTPS scheme"
                )
        tls = self.peer_tls
        for url in (*self.listen_peer_urls, *self.initial_advertise_peer_urls):
            if url.tls and not tls.has_certificate and not tls.auto_tls:
                raise ConfigError(
                    "TLS key/cert (--peer-cert-file, --peer-key-file) must be provided for peer "
                    f"url {url} with HTTPS scheme"
                )
