"""The real etcdctl, our server and a real etcd: endpoints, members, alarms, snapshots."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from tests import real
from tests.etcdctl import Ctl, Step, play
from tests.servers import Server, debian_etcd

pytestmark = pytest.mark.real

Compare = Callable[..., list[str]]

DATA: list[Step] = ["put a 1", "put b 2", "put a 3", "del b", "put c ''", "lease grant 600"]

ENDPOINT: list[Step] = [
    *DATA,
    "version",
    "endpoint health",
    "endpoint health -w json",
    "endpoint status -w json",
    "endpoint status -w fields",
    "endpoint hashkv",
    "endpoint hashkv -w fields",
    "endpoint hashkv --rev=3",
    "compaction 4",
    "endpoint hashkv",
    "endpoint hashkv --rev=5",
    "endpoint hashkv --rev=2",
    "endpoint hashkv --rev=100",
]

MAINTENANCE: list[Step] = [
    *DATA,
    "alarm list",
    "alarm disarm",
    "defrag",
    "get '' --prefix -w json",
    "move-leader 123",
    "move-leader {member}",
    "move-leader",
]

MEMBER: list[Step] = [
    "member list -w fields",
    "member list",
    "member list -w json",
    "member promote 1234",
    "member promote {member}",
    "member remove 1234",
    "member update 1234 --peer-urls=http://127.0.0.1:3",
    "member update {member} --peer-urls=http://127.0.0.1:4",
    "member list",
    "member update {member}",
    "member update xyz",
]

DOWNGRADE: list[Step] = [
    "downgrade validate 3.5",
    "downgrade validate 3.0",
    "downgrade validate x",
    "downgrade cancel",
]


@pytest.mark.parametrize(
    "steps",
    [
        pytest.param(ENDPOINT, id="endpoint"),
        pytest.param(MAINTENANCE, id="maintenance"),
        pytest.param(MEMBER, id="member"),
    ],
)
def test_the_output_is_the_same_as_from_etcd(steps: list[Step], compare: Compare) -> None:
    transcript = compare(play(steps))
    assert transcript.count("exit 0") > len(steps) // 3


@pytest.mark.parametrize("client", ["etcdctl36"], indirect=True)
def test_downgrade_answers_as_etcd_does(compare: Compare) -> None:
    compare(play(DOWNGRADE))


def test_a_full_backend_raises_the_alarm_until_it_is_disarmed(compare: Compare) -> None:
    def scenario(ctl: Ctl) -> None:
        value = "x" * 1_000_000
        for number in range(60):
            done = ctl.raw("put", f"k{number % 3}", stdin=value)
            if done.returncode:
                break
        else:
            raise AssertionError("60 MB went into a backend of 12 MB")
        ctl.run("put", "k", "v")
        ctl.run("alarm", "list")
        ctl.run("get", "k0", "--keys-only")
        ctl.run("lease", "grant", "100")
        status = ctl.ok("get", "k0", "-w=fields")
        revision = next(line.split()[-1] for line in status.splitlines() if "Revision" in line)
        ctl.ok("compaction", "--physical", revision)
        ctl.run("defrag")
        ctl.run("alarm", "disarm")
        ctl.run("alarm", "list")
        ctl.run("del", "", "--prefix")
        ctl.run("put", "k", "v")

    assert "memberID:ID" in "".join(compare(scenario, "--quota-backend-bytes=12000000"))


def write_and_save(ctl: Ctl, file: Path) -> str:
    """Fill a store, save a snapshot, change the store afterwards; returns what was saved."""
    play([*DATA, "put leased v --lease={lease}"])(ctl)
    saved = ctl.ok("get", "", "--prefix", "-w=fields")
    ctl.ok("snapshot", "save", str(file))
    ctl.ok("put", "after", "the snapshot")
    return "\n".join(line for line in saved.splitlines() if "ID" not in line and "Raft" not in line)


@pytest.mark.parametrize("client", ["etcdctl"], indirect=True)
def test_a_real_etcd_restores_our_snapshot(ours: Ctl, tmp_path: Path) -> None:
    """etcdctl 3.4 checks the hash, restores a data directory, and Debian's etcd serves it."""
    file, restored = tmp_path / "snapshot.db", tmp_path / "restored"
    peer = debian_etcd(real.require("etcd"))
    with ours.server:
        expected = write_and_save(ours, file)
        status = ours.ok("snapshot", "status", str(file), "-w=fields")
        ours.ok("snapshot", "restore", str(file), f"--data-dir={restored}")
    assert '"Revision" : 7' in status
    with Server(peer, restored) as server:
        copy = Ctl(ours.binary, server)
        got = copy.ok("get", "", "--prefix", "-w=fields")
        assert "after" not in got
        strip = [line for line in got.splitlines() if "ID" not in line and "Raft" not in line]
        assert "\n".join(strip) == expected
        assert copy.ok("lease", "list").startswith("found 1 leases")


@pytest.mark.parametrize("client", ["etcdctl"], indirect=True)
def test_snapshots_hold_the_same_keys_as_those_of_etcd(compare: Compare) -> None:
    def scenario(ctl: Ctl) -> None:
        file = (ctl.scratch or Path()) / "snapshot.db"
        write_and_save(ctl, file)
        status = ctl.ok("snapshot", "status", str(file), "-w=fields")
        ctl.note("status", "\n".join(line for line in status.splitlines() if "Revision" in line))
        assert os.path.getsize(file) > 4096

    compare(scenario)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("client", ["etcdctl"], indirect=True)
@pytest.mark.parametrize("check", ["perf", "datascale"])
def test_the_checks_of_etcdctl_pass(check: str, ours: Ctl) -> None:
    with ours.server:
        running = ours.spawn("check", check, "--load=s", "--auto-compact", "--auto-defrag")
        text = running.until("PASS", timeout_s=240)
        running.end()
    assert "FAIL" not in text
