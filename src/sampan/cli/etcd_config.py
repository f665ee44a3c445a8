"""From flags, environment and file to an `EtcdConfig`, by etcd's rules.

Flags are written as Go programs take them. A flag beats its environment variable; a configuration
file, when there is one, replaces both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from sampan.base.errors import SampanError
from sampan.base.units import parse_bool
from sampan.cli.etcd_file import read_config_file
from sampan.cli.etcd_flags import FEATURE_GATES, FLAGS, Flag, Kind, Status
from sampan.cli.etcd_values import Value, Values, did_you_mean, parse_value
from sampan.store.shell.config import ConfigError, EtcdConfig, FeatureGates, TlsConfig, Url

__all__ = ["FlagError", "Settings", "load", "parse_flags"]

FAST_HEARTBEAT_MS: Final = 30
FAST_ELECTION_MS: Final = 150
"""What `--fast` sets: an election begins 150 to 300 ms after the leader was last heard."""

Note = tuple[str, dict[str, object]]

_GATE_FLAGS = {
    "experimental-initial-corrupt-check": "InitialCorruptCheck",
    "experimental-compact-hash-check-enabled": "CompactHashCheck",
    "experimental-enable-lease-checkpoint": "LeaseCheckpoint",
    "experimental-enable-lease-checkpoint-persist": "LeaseCheckpointPersist",
    "experimental-stop-grpc-service-on-defrag": "StopGRPCServiceOnDefrag",
}


class FlagError(SampanError):
    """The command line cannot be read; the exit code is 2, as for every Go program."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What the user asked for; `config` is None when the help or the version is wanted.

    `notes` are to be logged as warnings once there is a log.
    """

    config: EtcdConfig | None = None
    help: bool = False
    notes: tuple[Note, ...] = field(default=())


def load(
    arguments: Sequence[str], environ: Mapping[str, str], read_file: Callable[[str], str]
) -> Settings:
    """Return the checked settings of `sampan etcd <arguments>`.

    Raises FlagError for a command line that cannot be read and ConfigError for settings that are
    wrong. `read_file(path)` returns a text and raises OSError.
    """
    given = parse_flags(arguments)
    if "help" in given:
        return Settings(help=True)
    if _is_true(given.get("version", "false")):
        return Settings()
    path = given.get("config-file") or environ.get("ETCD_CONFIG_FILE", "")
    notes: list[Note] = []
    if path:
        texts = read_config_file(path, read_file)
        ignored = sorted(given.keys() - {"config-file"})
        message = "loaded server configuration, other flags and environment variables are ignored"
        notes.append((message, {"path": path, **({"ignored": ignored} if ignored else {})}))
    else:
        texts = {**_from_environment(environ, given, notes), **given}
    values = _values(texts, notes)
    config = _config(values, values.keys(), from_file=bool(path))
    config.check()
    return Settings(config, notes=tuple(notes))


def _is_true(text: str) -> bool:
    try:
        return parse_bool(text)
    except ValueError:
        return False


def parse_flags(arguments: Sequence[str]) -> dict[str, str]:
    """Return the text given for each flag; `help` stands for `-h` and `--help`.

    A flag is `-name`, `--name=value` or `--name value`; a bool takes its value only after `=`.
    Raises FlagError for an unknown flag (naming the nearest), a missing value and a loose word.
    """
    given: dict[str, str] = {}
    rest = list(arguments)
    while rest:
        word = rest.pop(0)
        if not word.startswith("-") or word == "-":
            raise FlagError(f'"{word}" is not a valid flag')
        if word == "--":
            if rest:
                raise FlagError(f'"{rest[0]}" is not a valid flag')
            break
        name, equals, value = word[2 if word.startswith("--") else 1 :].partition("=")
        if not name or name.startswith("-"):
            raise FlagError(f"bad flag syntax: {word}")
        if name in ("h", "help"):
            given["help"] = "true"
            continue
        flag = FLAGS.get(name)
        if flag is None:
            raise FlagError(f"flag provided but not defined: -{name}{did_you_mean(name, FLAGS)}")
        if not equals:
            if flag.kind is Kind.BOOL:
                value = "true"
            elif rest:
                value = rest.pop(0)
            else:
                raise FlagError(f"flag needs an argument: -{name}")
        _check_value(flag, value)
        given[name] = value
    return given


def _check_value(flag: Flag, text: str) -> None:
    try:
        parse_value(flag, text)
    except (ValueError, ConfigError) as error:
        if flag.kind is Kind.BOOL:
            raise FlagError(f'invalid boolean value "{text}" for -{flag.name}') from None
        raise FlagError(f'invalid value "{text}" for flag -{flag.name}: {error}') from None


def _from_environment(
    environ: Mapping[str, str], given: Mapping[str, str], notes: list[Note]
) -> dict[str, str]:
    by_variable = {flag.env: flag for flag in FLAGS.values()}
    texts: dict[str, str] = {}
    for variable, text in sorted(environ.items()):
        if not variable.startswith("ETCD_") or not text:
            continue
        flag = by_variable.get(variable)
        if flag is None or flag.name == "version":
            notes.append(("unrecognized environment variable", {"environment-variable": variable}))
        elif flag.name in given:
            notes.append(
                ("command-line flag beats environment variable", {"environment-variable": variable})
            )
        else:
            try:
                parse_value(flag, text)
            except (ValueError, ConfigError) as error:
                raise ConfigError(f'invalid value "{text}" for {variable}: {error}') from None
            texts[flag.name] = text
    return texts


def _values(texts: Mapping[str, str], notes: list[Note]) -> dict[str, Value]:
    """Return the values of the flags that were given, older names put under the newer."""
    values: dict[str, Value] = {}
    without_effect: list[str] = []
    for name, text in texts.items():
        flag = FLAGS[name]
        value = parse_value(flag, text)
        if value != parse_value(flag, flag.default):
            if flag.status is Status.NOT_YET:
                raise ConfigError(f"--{name} is not supported yet")
            if flag.status is Status.ACCEPTED:
                without_effect.append(name)
        if flag.target:
            notes.append((f"--{name} is deprecated, use --{flag.target}", {}))
            if flag.target in texts:
                continue
        values[flag.target or name] = value
    if without_effect:
        notes.append(("flags without effect on this server", {"flags": sorted(without_effect)}))
    return values


def _config(given: Mapping[str, Value], explicit: Iterable[str], *, from_file: bool) -> EtcdConfig:
    v = Values(given)
    explicit = set(explicit)
    return EtcdConfig(
        name=v.text("name"),
        data_dir=v.text("data-dir"),
        wal_dir=v.text("wal-dir"),
        memory=v.flag("memory"),
        endpoints_file=v.text("endpoints-file"),
        listen_client_urls=v.urls("listen-client-urls"),
        listen_client_http_urls=v.urls("listen-client-http-urls"),
        listen_metrics_urls=v.urls("listen-metrics-urls"),
        listen_peer_urls=v.urls("listen-peer-urls"),
        advertise_client_urls=_advertised(v, explicit, from_file=from_file),
        initial_advertise_peer_urls=v.urls("initial-advertise-peer-urls"),
        initial_cluster=_initial_cluster(v.text("initial-cluster")),
        initial_cluster_state=v.text("initial-cluster-state"),
        initial_cluster_token=v.text("initial-cluster-token"),
        force_new_cluster=v.flag("force-new-cluster"),
        strict_reconfig_check=v.flag("strict-reconfig-check"),
        socket_reuse_port=v.flag("socket-reuse-port"),
        socket_reuse_address=v.flag("socket-reuse-address"),
        heartbeat_interval_ms=_pace(v, explicit, "heartbeat-interval", FAST_HEARTBEAT_MS),
        election_timeout_ms=_pace(v, explicit, "election-timeout", FAST_ELECTION_MS),
        pre_vote=v.flag("pre-vote"),
        max_learners=v.number("max-learners"),
        snapshot_count=v.number("snapshot-count"),
        snapshot_catchup_entries=v.number("snapshot-catchup-entries"),
        corrupt_check_time_s=v.seconds("corrupt-check-time"),
        compact_hash_check_time_s=v.seconds("compact-hash-check-time"),
        unsafe_no_fsync=v.flag("unsafe-no-fsync"),
        quota_backend_bytes=v.number("quota-backend-bytes"),
        backend_batch_interval_s=v.seconds("backend-batch-interval"),
        backend_batch_limit=v.number("backend-batch-limit"),
        bootstrap_defrag_threshold_megabytes=v.number("bootstrap-defrag-threshold-megabytes"),
        max_request_bytes=v.number("max-request-bytes"),
        max_txn_ops=v.number("max-txn-ops"),
        max_concurrent_streams=v.number("max-concurrent-streams"),
        grpc_keepalive_min_time_s=v.seconds("grpc-keepalive-min-time"),
        grpc_keepalive_interval_s=v.seconds("grpc-keepalive-interval"),
        grpc_keepalive_timeout_s=v.seconds("grpc-keepalive-timeout"),
        auto_compaction_mode=v.text("auto-compaction-mode"),
        auto_compaction_retention=v.text("auto-compaction-retention"),
        compaction_batch_limit=v.number("compaction-batch-limit"),
        compaction_sleep_interval_s=v.seconds("compaction-sleep-interval"),
        watch_progress_notify_interval_s=v.seconds("watch-progress-notify-interval"),
        warning_apply_duration_s=v.seconds("warning-apply-duration"),
        warning_unary_request_duration_s=v.seconds("warning-unary-request-duration"),
        client_tls=_tls(v),
        peer_tls=_peer_tls(v),
        peer_compression=v.text("peer-compression"),
        peer_snapshot_rate=v.number("peer-snapshot-rate"),
        auth_token=v.text("auth-token"),
        auth_token_ttl_s=v.number("auth-token-ttl"),
        bcrypt_cost=v.number("bcrypt-cost"),
        enable_grpc_gateway=v.flag("enable-grpc-gateway"),
        cors=frozenset(v.words("cors") or ("*",)),
        host_whitelist=frozenset(v.words("host-whitelist") or ("*",)),
        metrics=v.text("metrics"),
        log_level="debug" if v.flag("debug") else v.text("log-level"),
        log_format=v.text("log-format"),
        log_outputs=v.words("log-outputs") or ("default",),
        feature_gates=_feature_gates(v, given),
    )


def _pace(v: Values, explicit: set[str], name: str, fast_ms: int) -> int:
    """Return a flag's milliseconds; those of `--fast` when that is given and the flag is not."""
    return fast_ms if v.flag("fast") and name not in explicit else v.number(name)


def _advertised(v: Values, explicit: set[str], *, from_file: bool) -> tuple[Url, ...]:
    """Return the client URLs to advertise; none when etcd would insist on being told.

    A listener on port 0 cannot be advertised by hand, so the real addresses are taken.
    """
    listen = v.urls("listen-client-urls")
    if "advertise-client-urls" not in explicit and "listen-client-urls" in explicit:
        if any(not url.unix and url.port == 0 for url in listen):
            return listen
        if not from_file:
            return ()
    return v.urls("advertise-client-urls")


def _initial_cluster(text: str) -> tuple[tuple[str, Url], ...]:
    members: list[tuple[str, Url]] = []
    for pair in filter(None, (word.strip() for word in text.split(","))):
        name, equals, url = pair.partition("=")
        if not name or not equals or not url:
            raise ConfigError(f'--initial-cluster: "{pair}" is not name=URL')
        members.append((name, Url.parse(url)))
    return tuple(members)


def _tls(v: Values) -> TlsConfig:
    return TlsConfig(
        cert_file=v.text("cert-file"),
        key_file=v.text("key-file"),
        client_cert_auth=v.flag("client-cert-auth"),
        trusted_ca_file=v.text("trusted-ca-file"),
        client_crl_file=v.text("client-crl-file"),
        allowed_hostnames=v.words("client-cert-allowed-hostname"),
        auto_tls=v.flag("auto-tls"),
        self_signed_cert_validity_years=v.number("self-signed-cert-validity"),
        cipher_suites=v.words("cipher-suites"),
        min_version=v.text("tls-min-version"),
        max_version=v.text("tls-max-version"),
    )


def _peer_tls(v: Values) -> TlsConfig:
    return replace(
        _tls(v),
        cert_file=v.text("peer-cert-file"),
        key_file=v.text("peer-key-file"),
        client_cert_auth=v.flag("peer-client-cert-auth"),
        trusted_ca_file=v.text("peer-trusted-ca-file"),
        client_crl_file=v.text("peer-crl-file"),
        allowed_hostnames=v.words("peer-cert-allowed-hostname"),
        allowed_names=v.words("peer-cert-allowed-cn"),
        auto_tls=v.flag("peer-auto-tls"),
        connect_cert_file=v.text("peer-client-cert-file"),
        connect_key_file=v.text("peer-client-key-file"),
    )


def _feature_gates(v: Values, given: Mapping[str, Value]) -> FeatureGates:
    enabled = {gate: v.flag(flag) for flag, gate in _GATE_FLAGS.items() if flag in given}
    for pair in filter(None, (word.strip() for word in v.text("feature-gates").split(","))):
        gate, equals, text = pair.partition("=")
        if not equals:
            raise ConfigError(f"--feature-gates: missing bool value for {gate}")
        if gate not in FEATURE_GATES:
            hint = did_you_mean(gate, FEATURE_GATES, "")
            raise ConfigError(f"--feature-gates: unrecognized feature gate: {gate}{hint}")
        try:
            value = parse_bool(text)
        except ValueError:
            raise ConfigError(f"--feature-gates: invalid value of {gate}: {text}") from None
        if gate in enabled:
            raise ConfigError(f"{gate} is set by --feature-gates and by its experimental flag")
        enabled[gate] = value
    return FeatureGates(
        lease_checkpoint=enabled.get("LeaseCheckpoint", False),
        lease_checkpoint_persist=enabled.get("LeaseCheckpointPersist", False),
        compact_hash_check=enabled.get("CompactHashCheck", False),
        initial_corrupt_check=enabled.get("InitialCorruptCheck", False),
        stop_grpc_service_on_defrag=enabled.get("StopGRPCServiceOnDefrag", False),
    )
