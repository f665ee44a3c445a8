"""Flags, environment and configuration file become one configuration, by etcd's rules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from sampan.cli.etcd_config import FlagError, Settings, load
from sampan.cli.etcd_flags import FLAGS, Status
from sampan.store.shell.config import ConfigError, EtcdConfig, Url


def settings(
    *arguments: str, env: Mapping[str, str] | None = None, file: str | None = None
) -> Settings:
    def read_file(path: str) -> str:
        if file is None:
            raise FileNotFoundError(2, "No such file or directory", path)
        return file

    return load(arguments, env or {}, read_file)


def config(*arguments: str, env: Mapping[str, str] | None = None) -> EtcdConfig:
    loaded = settings(*arguments, env=env).config
    assert loaded is not None
    return loaded


def config_of_file(text: str, *more: str) -> EtcdConfig:
    loaded = settings("--config-file", "etcd.yml", *more, file=text).config
    assert loaded is not None
    return loaded


def test_no_flag_gives_etcd_s_defaults() -> None:
    assert config() == EtcdConfig()


@pytest.mark.parametrize(
    "arguments",
    [
        ["-name", "m1", "-max-txn-ops", "5", "-unsafe-no-fsync"],
        ["--name=m1", "--max-txn-ops=5", "--unsafe-no-fsync=true"],
        ["-name=m1", "--max-txn-ops", "5", "--unsafe-no-fsync=T", "--"],
        ["--name", "x", "--name", "m1", "--max-txn-ops=0x5", "--unsafe-no-fsync=1"],
    ],
)
def test_flags_as_go_programs_take_them(arguments: Sequence[str]) -> None:
    got = config(*arguments)
    assert (got.name, got.max_txn_ops, got.unsafe_no_fsync) == ("m1", 5, True)


def test_a_bool_does_not_take_the_next_word() -> None:
    with pytest.raises(FlagError, match='"false" is not a valid flag'):
        settings("--unsafe-no-fsync", "false")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--listen-client-url", "x"],
            "flag provided but not defined: -listen-client-url "
            "(did you mean --listen-client-urls?)",
        ),
        (["--qqqqqqqqqq"], "flag provided but not defined: -qqqqqqqqqq"),
        (["--name"], "flag needs an argument: -name"),
        (["start"], '"start" is not a valid flag'),
        (["---name", "x"], "bad flag syntax: ---name"),
        (["--=x"], "bad flag syntax: --=x"),
        (["--max-txn-ops=many"], 'invalid value "many" for flag -max-txn-ops: parse error'),
        (["--max-txn-ops=-1"], 'invalid value "-1" for flag -max-txn-ops: value out of range'),
        (["--unsafe-no-fsync=maybe"], 'invalid boolean value "maybe" for -unsafe-no-fsync'),
        (
            ["--grpc-keepalive-timeout=5"],
            'invalid value "5" for flag -grpc-keepalive-timeout: missing unit in duration "5"',
        ),
        (
            ["--listen-client-urls=ftp://127.0.0.1:1"],
            'invalid value "ftp://127.0.0.1:1" for flag -listen-client-urls: '
            "URL scheme must be http, https, unix, or unixs: ftp://127.0.0.1:1",
        ),
    ],
)
def test_a_command_line_that_cannot_be_read(arguments: Sequence[str], message: str) -> None:
    with pytest.raises(FlagError) as error:
        settings(*arguments)
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--listen-client-urls", "http://127.0.0.1:5"],
            "--advertise-client-urls is required when --listen-client-urls is set explicitly",
        ),
        (
            ["--listen-peer-urls", "http://example.com:2380"],
            "expected IP in URL for binding (http://example.com:2380)",
        ),
        (["--heartbeat-interval=0"], "--heartbeat-interval must be >0 (set to 0ms)"),
        (
            ["--heartbeat-interval=300"],
            "--election-timeout[1000ms] should be at least as 5 times as "
            "--heartbeat-interval[300ms]",
        ),
        (
            ["--election-timeout=60000"],
            "--election-timeout[60000ms] is too long, and should be set less than 50000ms",
        ),
        (["--auto-compaction-mode=daily"], 'unknown auto-compaction-mode "daily"'),
        (["--auto-compaction-retention=soon"], None),
        (["--initial-cluster-state=old"], 'unexpected clusterState "old"'),
        (
            ["--initial-cluster=a=http://localhost:2380"],
            'couldn\'t find local name "default" in the initial cluster configuration',
        ),
        (
            ["--initial-cluster=default=http://127.0.0.1:9"],
            "--initial-cluster has default=http://127.0.0.1:9 but "
            "--initial-advertise-peer-urls is http://localhost:2380",
        ),
        (["--discovery-srv=example.com"], "--discovery-srv is not supported yet"),
        (["--proxy=on"], "--proxy is not supported yet"),
        (["--enable-v2=true"], "--enable-v2 is not supported yet"),
        (["--cert-file=a.pem"], "--cert-file and --key-file must both be given"),
        (["--client-cert-auth"], "--client-cert-auth needs --trusted-ca-file"),
        (
            ["--tls-min-version=TLS1.3", "--tls-max-version=TLS1.2"],
            "min version (TLS1.3) is greater than max version (TLS1.2)",
        ),
        (["--tls-min-version=SSL3"], None),
        (
            ["--listen-client-urls=https://127.0.0.1:1", "--advertise-client-urls=https://x:1"],
            "TLS key/cert (--cert-file, --key-file) must be provided for client url "
            "https://127.0.0.1:1 with HTTPS scheme",
        ),
        (["--bcrypt-cost=3"], "--bcrypt-cost must be between 4 and 31, not 3"),
        (["--log-level=loud"], 'unrecognized level: "loud"'),
        (["--log-format=xml"], 'unknown log format: "xml"'),
        (["--metrics=some"], '--metrics must be "basic" or "extensive", not "some"'),
        (
            ["--feature-gates=LeaseCheckpoints=true"],
            "--feature-gates: unrecognized feature gate: LeaseCheckpoints "
            "(did you mean LeaseCheckpoint?)",
        ),
        (
            ["--feature-gates=LeaseCheckpointPersist=true"],
            "enabling feature gate LeaseCheckpointPersist requires enabling "
            "feature gate LeaseCheckpoint",
        ),
    ],
)
def test_settings_that_are_wrong(arguments: Sequence[str], message: str | None) -> None:
    with pytest.raises(ConfigError) as error:
        settings(*arguments)
    if message is not None:
        assert str(error.value) == message


def test_the_environment_stands_behind_the_flags() -> None:
    env = {"ETCD_NAME": "env", "ETCD_MAX_TXN_OPS": "7", "ETCD_WAL_DIR": "", "HOME": "/root"}
    got = config("--name=flag", env=env)
    assert (got.name, got.max_txn_ops, got.wal_dir) == ("flag", 7, "")


def test_an_unknown_variable_is_noted_and_a_wrong_value_is_an_error() -> None:
    notes = settings(env={"ETCD_NMAE": "x"}).notes
    assert notes == (("unrecognized environment variable", {"environment-variable": "ETCD_NMAE"}),)
    with pytest.raises(ConfigError, match='invalid value "x" for ETCD_MAX_TXN_OPS: parse error'):
        settings(env={"ETCD_MAX_TXN_OPS": "x"})


def test_a_configuration_file_replaces_flags_and_environment() -> None:
    text = """
name: from-file
wal-dir:
max-txn-ops: 9
grpc-keepalive-timeout: 30000000000
watch-progress-notify-interval: 5m
unsafe-no-fsync: true
log-outputs: [stderr, /tmp/etcd.log]
listen-client-urls: http://127.0.0.1:1,http://127.0.0.1:2
advertise-client-urls: http://127.0.0.1:1
client-transport-security:
  cert-file: c.pem
  key-file: k.pem
  client-cert-auth: true
  trusted-ca-file: ca.pem
peer-transport-security:
  auto-tls: true
"""
    got = config_of_file(text, "--name=flag", "--max-request-bytes=1")
    assert got.name == "from-file"
    assert got.max_txn_ops == 9
    assert got.max_request_bytes == 1572864
    assert got.grpc_keepalive_timeout_s == 30.0
    assert got.watch_progress_notify_interval_s == 300.0
    assert got.unsafe_no_fsync
    assert got.log_outputs == ("stderr", "/tmp/etcd.log")
    assert list(map(str, got.listen_client_urls)) == ["http://127.0.0.1:1", "http://127.0.0.1:2"]
    assert (got.client_tls.cert_file, got.client_tls.client_cert_auth) == ("c.pem", True)
    assert got.peer_tls.auto_tls and not got.client_tls.auto_tls


def test_the_file_may_be_named_by_the_environment() -> None:
    env = {"ETCD_CONFIG_FILE": "etcd.yml", "ETCD_NAME": "env"}
    loaded = settings(env=env, file="name: file").config
    assert loaded is not None and loaded.name == "file"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nmae: x", 'etcd.yml: unknown key "nmae" (did you mean name?)'),
        (
            "client-transport-security: {cert-fiel: x}",
            'etcd.yml: unknown key "client-transport-security.cert-fiel" (did you mean cert-file?)',
        ),
        ("client-transport-security: yes", "etcd.yml: client-transport-security must be a mapping"),
        ("- a", "--config-file etcd.yml must hold a mapping of flag names to values"),
        ("max-txn-ops: many", 'etcd.yml: invalid value "many" for max-txn-ops: parse error'),
        ("max-txn-ops: {a: 1}", "etcd.yml: max-txn-ops must be a uint"),
        ("discovery-config: {token: abc}", "--discovery-token is not supported yet"),
    ],
)
def test_a_wrong_configuration_file(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        config_of_file(text)
    assert str(error.value) == message


def test_a_file_that_is_missing_or_not_yaml() -> None:
    with pytest.raises(ConfigError, match=r"cannot read --config-file x\.yml: No such file"):
        settings("--config-file=x.yml")
    with pytest.raises(ConfigError, match="is not YAML"):
        config_of_file("name: [")


def test_a_port_of_zero_needs_no_advertised_url() -> None:
    got = config("--listen-client-urls=http://127.0.0.1:0")
    assert got.advertise_client_urls == got.listen_client_urls == (Url("http", "127.0.0.1", 0),)


def test_an_older_name_sets_the_newer_and_loses_to_it() -> None:
    assert config("--experimental-compaction-batch-limit=5").compaction_batch_limit == 5
    both = config("--experimental-compaction-batch-limit=5", "--compaction-batch-limit=6")
    assert both.compaction_batch_limit == 6
    gates = config(
        "--experimental-enable-lease-checkpoint", "--feature-gates=LeaseCheckpointPersist=true"
    ).feature_gates
    assert gates.lease_checkpoint and gates.lease_checkpoint_persist
    assert config("--debug").log_level == "debug"


def test_accepted_flags_are_noted() -> None:
    notes = settings("--max-wals=50", "--pre-vote=false", "--enable-pprof").notes
    assert notes == (
        (
            "flags without effect on this server",
            {"flags": ["enable-pprof", "max-wals"]},
        ),
    )


def test_fast_sets_what_is_not_given() -> None:
    got = config("--fast")
    assert (got.heartbeat_interval_ms, got.election_timeout_ms) == (30, 150)
    got = config("--fast", "--election-timeout=400")
    assert (got.heartbeat_interval_ms, got.election_timeout_ms) == (30, 400)


def test_a_cluster_of_several_and_its_certificates() -> None:
    got = config(
        "--initial-cluster=default=http://localhost:2380,b=http://127.0.0.1:3",
        "--peer-cert-file=c",
        "--peer-key-file=k",
        "--peer-trusted-ca-file=ca",
        "--peer-cert-allowed-cn=a,b",
        "--peer-client-cert-file=cc",
        "--peer-client-key-file=ck",
        "--cert-file=x",
        "--key-file=y",
    )
    assert [name for name, _ in got.initial_cluster] == ["default", "b"]
    tls = got.peer_tls
    assert (tls.cert_file, tls.key_file, tls.trusted_ca_file) == ("c", "k", "ca")
    assert (tls.connect_cert_file, tls.connect_key_file) == ("cc", "ck")
    assert tls.allowed_names == ("a", "b")
    assert got.client_tls.cert_file == "x"


def test_help_and_version() -> None:
    assert settings("-h").help and settings("--help").help
    assert settings("--version") == Settings()


def test_every_flag_takes_its_own_default() -> None:
    for flag in FLAGS.values():
        if flag.name in ("version", "config-file"):
            continue
        advertised = "--advertise-client-urls=http://localhost:2379"
        loaded = settings(f"--{flag.name}={flag.default}", advertised).config
        assert loaded is not None, flag.name
        assert flag.status in Status


@pytest.mark.parametrize(
    "text",
    ["http://127.0.0.1:2379", "https://[::1]:2379", "unix:///run/etcd.sock", "http://localhost:0"],
)
def test_urls_are_written_as_they_were_read(text: str) -> None:
    assert str(Url.parse(text)) == text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("http://127.0.0.1", 'URL address does not have the form "host:port": http://127.0.0.1'),
        ("http://127.0.0.1:x", 'URL address does not have the form "host:port": '),
        ("http://127.0.0.1:1/path", "URL must not contain a path: http://127.0.0.1:1/path"),
        ("localhost:2379", "URL scheme must be http, https, unix, or unixs: localhost:2379"),
        ("", "URL scheme must be http, https, unix, or unixs: "),
    ],
)
def test_wrong_urls(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        Url.parse(text)
    assert str(error.value).startswith(message)


def test_the_shortest_lease_follows_the_election_timeout() -> None:
    assert EtcdConfig().min_lease_ttl_s == 2
    assert EtcdConfig(election_timeout_ms=5000).min_lease_ttl_s == 8
