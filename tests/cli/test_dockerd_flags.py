"""dockerd's flags and configuration file: syntax, rules and words, nothing is started."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sampan.base.errors import SampanError
from sampan.cli.dockerd.settings import load, reloaded
from sampan.engine.daemon.core.options import AddressPool, Ulimit

USAGE = "\nSee 'dockerd --help'., Code: 125"


def test_every_way_to_write_a_flag() -> None:
    words = [
        "-Hunix:///a",
        "-H",
        "unix:///b",
        "--host=tcp://:1",
        "-Dldebug",
        "-G=ops",
        "--tls=false",
    ]
    settings = load([*words, "--data-root", "/d", "--default-ulimit", "nofile=10:20"])
    assert settings.hosts == ("unix:///a", "unix:///b", "tcp://localhost:1")
    assert (settings.log_level, settings.group, settings.plain_tcp) == ("debug", "ops", True)
    assert settings.engine.data_root == Path("/d")
    assert settings.engine.containers.ulimits == (Ulimit("nofile", 10, 20),)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--nosuch"], "Status: unknown flag: --nosuch" + USAGE),
        (["-x"], "Status: unknown shorthand flag: 'x' in -x" + USAGE),
        (["-Dx"], "Status: unknown shorthand flag: 'x' in -x" + USAGE),
        (["--data-root"], "Status: flag needs an argument: --data-root" + USAGE),
        (["-H"], "Status: flag needs an argument: 'H' in -H" + USAGE),
        (
            ["--mtu", "x"],
            'Status: invalid argument "x" for "--mtu" flag: strconv.ParseInt: parsing "x": '
            "invalid syntax" + USAGE,
        ),
        (
            ["--debug=maybe"],
            'Status: invalid argument "maybe" for "-D, --debug" flag: strconv.ParseBool: parsing '
            '"maybe": invalid syntax' + USAGE,
        ),
        (
            ["--label", "foo"],
            'Status: invalid argument "foo" for "--label" flag: bad attribute format: foo' + USAGE,
        ),
        (
            ["--default-ulimit", "foo"],
            'Status: invalid argument "foo" for "--default-ulimit" flag: invalid ulimit argument: '
            "foo" + USAGE,
        ),
        (
            ["--default-shm-size", "x"],
            'Status: invalid argument "x" for "--default-shm-size" flag: invalid size: \'x\''
            + USAGE,
        ),
        (
            ["--dns", "foo"],
            'Status: invalid argument "foo" for "--dns" flag: foo is not an ip address' + USAGE,
        ),
        (
            ["--default-address-pool", "x"],
            'Status: invalid argument "x" for "--default-address-pool" flag: invalid field \'x\' '
            "must be a key=value pair" + USAGE,
        ),
        (
            ["--registry-mirror", "foo"],
            'Status: invalid argument "foo" for "--registry-mirror" flag: invalid mirror: '
            'unsupported scheme "" in "foo"' + USAGE,
        ),
        (
            ["--default-ipc-mode", "foo"],
            'default IPC mode setting (foo) is invalid; use "shareable" or "private"',
        ),
        (["--selinux-enabled"], "--selinux-enabled is not supported yet"),
        (
            ["--swarm-default-advertise-addr=eth0"],
            "--swarm-default-advertise-addr is not supported yet",
        ),
        (
            ["--exec-opt", "native.cgroupdriver=systemd"],
            "native.cgroupdriver option systemd is not supported yet",
        ),
        (["--log-level=loud"], "invalid logging level: loud"),
    ],
)
def test_what_is_refused(words: list[str], message: str) -> None:
    with pytest.raises(SampanError) as caught:
        load(words)
    assert str(caught.value) == message


def written(place: Path, text: str) -> list[str]:
    path = place / "daemon.json"
    path.write_text(text)
    return ["--config-file", str(path)]


def test_the_file_says_what_flags_say(tmp_path: Path) -> None:
    document = {
        "hosts": ["unix:///a"],
        "mtu": 1400,
        "labels": ["k=v"],
        "log-opts": {"max-size": "1m"},
        "default-shm-size": "32M",
        "default-address-pools": [{"base": "10.10.0.0/16", "size": 24}],
        "default-ulimits": {"nofile": {"Name": "nofile", "Soft": 1, "Hard": 2}},
        "registry-mirrors": ["https://mirror.example"],
        "proxies": {"http-proxy": "http://p:1"},
        "features": {"buildkit": True},
    }
    settings = load([*written(tmp_path, json.dumps(document)), "--icc=false"])
    engine = settings.engine
    assert settings.hosts == ("unix:///a",)
    assert (engine.network.mtu, engine.network.icc, engine.labels) == (1400, False, ("k=v",))
    assert engine.network.address_pools == (AddressPool("10.10.0.0/16", 24),)
    assert engine.containers.shm_size_bytes == 32 << 20
    assert engine.containers.ulimits == (Ulimit("nofile", 1, 2),)
    assert engine.registry.mirrors == ("https://mirror.example/",)
    assert engine.registry.http_proxy == "http://p:1"
    assert settings.warnings == ("features has no effect yet",)


@pytest.mark.parametrize(
    ("text", "words", "reason"),
    [
        ("{", [], "unexpected EOF"),
        ('{"a" 1}', [], "invalid character '1' after object key"),
        (
            '{"nope":1,"zz":{"a":1}}',
            [],
            "the following directives don't match any configuration option: a, nope",
        ),
        (
            '{"mtu":1400,"labels":["a=b"],"debug":true,"log-opts":{"max-size":"1m"}}',
            "--mtu 1500 --label c=d --debug --log-opt max-size=2m".split(),
            "the following directives are specified both as a flag and in the configuration "
            "file: debug: (from flag: true, from file: true), labels: (from flag: [c=d], from "
            "file: [a=b]), log-opts: (from flag: map[max-size:2m], from file: map[max-size:1m]), "
            "mtu: (from flag: 1500, from file: 1400)",
        ),
        (
            '{"mtu":"x"}',
            [],
            "json: cannot unmarshal string into Go struct field Config.mtu of type int",
        ),
    ],
)
def test_what_the_file_may_not_say(
    tmp_path: Path, text: str, words: list[str], reason: str
) -> None:
    flags = written(tmp_path, text)
    with pytest.raises(SampanError) as caught:
        load([*flags, *words])
    start = f"unable to configure the Docker daemon with file {flags[1]}: "
    assert str(caught.value) == start + reason


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    path = tmp_path / "none.json"
    with pytest.raises(SampanError) as caught:
        load(["--config-file", str(path)])
    reason = f"open {path}: no such file or directory"
    assert str(caught.value).endswith(f"with file {path}: {reason}")


def test_a_reload_changes_what_dockerd_reloads(tmp_path: Path) -> None:
    flags = [*written(tmp_path, "{}"), "--mtu=1400"]
    before = load(flags).engine
    written(tmp_path, '{"debug":true,"live-restore":true,"max-concurrent-downloads":7,"ipv6":true}')
    after = reloaded(before, load(flags).engine)
    assert (after.debug, after.live_restore) == (True, True)
    assert after.registry.max_concurrent_downloads == 7
    assert after.network == before.network
