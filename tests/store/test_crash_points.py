"""A crash at each failpoint in turn, under load: what clients were told stays true."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
from tests.cluster import Cluster, ask, call, free_port, refusal
from tests.servers import SAMPAN, Server

from sampan.store.pb import rpc_pb2
from sampan.store.shell.failpoints import EXIT_CODE, NAMES
from sampan.verify import Budget, check
from sampan.verify.shell.files import load


def nothing(address: str) -> None:
    """The load reaches the place by itself."""


def compact(address: str, revision: int) -> None:
    """So far behind that no watcher misses what it is to be told."""
    request = rpc_pb2.CompactionRequest(revision=revision)
    call(address, "KV/Compact", request, rpc_pb2.CompactionResponse)


def defragment(address: str) -> None:
    request = rpc_pb2.DefragmentRequest()
    call(address, "Maintenance/Defragment", request, rpc_pb2.DefragmentResponse)


def add_learner(address: str) -> None:
    """Add a member that is never started; refused until all have been in touch for a while."""
    url = f"http://127.0.0.1:{free_port()}"
    add = rpc_pb2.MemberAddRequest(peerURLs=[url], isLearner=True)
    for _ in range(60):
        if "unhealthy" not in refusal(address, "Cluster/MemberAdd", add):
            return
        threading.Event().wait(0.25)
    pytest.fail("the cluster does not get healthy")


def remove_learner(address: str) -> None:
    """Remove what was added."""
    found = call(
        address, "Cluster/MemberList", rpc_pb2.MemberListRequest(), rpc_pb2.MemberListResponse
    )
    for member in found.members if found else ():
        if member.isLearner:
            refusal(address, "Cluster/MemberRemove", rpc_pb2.MemberRemoveRequest(ID=member.ID))


Provocation = Callable[[str], None]
LOADED: dict[str, tuple[str, Provocation]] = {
    **{
        name: ("20*off->panic", nothing)
        for name in NAMES
        if name.startswith(("wal", "before", "after"))
    },
    "backendBeforeCommit": ("panic", nothing),
    "backendAfterCommit": ("panic", nothing),
    "compactBefore": ("panic", partial(compact, revision=5)),
    "compactAfter": ("panic", partial(compact, revision=10)),
    "defragBefore": ("panic", defragment),
    "defragAfter": ("panic", defragment),
}
"""How a member that writes gets to each place: terms, and what is done to it."""
MEMBERSHIP: dict[str, tuple[str, Provocation]] = {
    "membershipBeforeApply": ("panic", add_learner),
    "membershipAfterApply": ("panic", remove_learner),
}
SNAPSHOT = ("snapshotBeforeSave", "snapshotAfterSave")


def test_no_place_is_left_out() -> None:
    assert {*LOADED, *MEMBERSHIP, *SNAPSHOT} == set(NAMES)


@contextmanager
def recorded(endpoints: str, out: Path, *more: str) -> Iterator[None]:
    """Clients write down what they are told; at the end it must have been possible."""
    command = [sys.executable, "-m", "sampan.cli.main", "record", f"--out={out}"]
    words = [f"--endpoints={endpoints}", "--seconds=120", "--timeout=1", "--no-compact", *more]
    with subprocess.Popen(
        [*command, *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as recording:
        try:
            until_written(out)
            yield
        except BaseException:
            recording.kill()
            raise
        recording.send_signal(signal.SIGTERM)
        text, _ = recording.communicate(timeout=60)
    assert recording.returncode == 0, text
    report = check(load(out), Budget(steps=100_000_000))
    assert report.ok, str(report)


def crashed(server: Server, name: str) -> None:
    """Wait until a server has ended at a place."""
    try:
        assert server.wait(15) == EXIT_CODE
    except (AssertionError, subprocess.TimeoutExpired) as error:
        pytest.fail(f"no crash at {name} ({error}):\n{server.text()[-3000:]}")


def until_written(out: Path) -> None:
    """Wait until some answers are written down."""
    for _ in range(1000):
        if out.exists() and out.read_bytes().count(b'"type":"ok"') > 60:
            return
        threading.Event().wait(0.02)
    pytest.fail("the recording did not begin")


@pytest.mark.timeout(120)
def test_a_crash_anywhere_loses_nothing_of_one_member(tmp_path: Path) -> None:
    port, switch = free_port(), free_port()
    address = f"127.0.0.1:{port}"
    env = {"SAMPAN_FAILPOINTS_HTTP": f"127.0.0.1:{switch}"}
    flags = [f"--listen-client-urls=http://{address}"]
    with Server(SAMPAN, tmp_path / "data", flags, env) as server:
        with recorded(address, tmp_path / "history.jsonl"):
            for name, (terms, provoke) in LOADED.items():
                assert ask(switch, "PUT", f"/{name}", terms)[0] == 200
                provoke(address)
                crashed(server, name)
                server.start()


@pytest.mark.timeout(180)
def test_a_crash_anywhere_loses_nothing_of_three(tmp_path: Path) -> None:
    """By turns the leader crashes and one that follows."""
    timing = ["--heartbeat-interval=50", "--election-timeout=500"]
    places = {**LOADED, **MEMBERSHIP}
    with Cluster(tmp_path, timing) as cluster:
        with recorded(cluster.endpoints, tmp_path / "history.jsonl"):
            for turn, (name, (terms, provoke)) in enumerate(places.items()):
                number = (leader_of(cluster) + turn % 2) % 3
                cluster.fail(number, name, terms)
                provoke(cluster.address(number))
                crashed(cluster.servers[number], name)
                cluster.servers[number].start()


def leader_of(cluster: Cluster) -> int:
    for _ in range(200):
        leader = cluster.leader()
        if leader >= 0:
            return leader
        threading.Event().wait(0.05)
    pytest.fail("nobody leads")


@pytest.mark.timeout(120)
def test_a_crash_while_a_snapshot_is_taken_over_loses_nothing(tmp_path: Path) -> None:
    """A member falls far behind; what it is sent it takes over whole, whenever it crashes."""
    with Cluster(tmp_path, ["--heartbeat-interval=50", "--election-timeout=500"]) as cluster:
        # Large values, outside of what is recorded, push old entries out of the others' memory.
        with recorded(cluster.endpoints, tmp_path / "history.jsonl", "--shared"):
            for name in SNAPSHOT:
                leader = leader_of(cluster)
                behind = (leader + 1) % 3
                server = cluster.servers[behind]
                server.kill()
                put_megabytes(cluster.address(leader), 80)
                env, server.env = server.env, {"SAMPAN_FAILPOINTS": f"{name}=panic"}
                server.launch()
                crashed(server, name)
                server.env = env
                server.start()
                until_level(cluster, behind)


def put_megabytes(address: str, count: int) -> None:
    for number in range(count):
        put = rpc_pb2.PutRequest(key=b"large", value=bytes([number]) * (1 << 20))
        assert call(address, "KV/Put", put, rpc_pb2.PutResponse, 20) is not None


def until_level(cluster: Cluster, number: int) -> None:
    """Wait until a member has by itself what the leader has now."""
    read = rpc_pb2.RangeRequest(key=b"large", count_only=True)
    now = call(cluster.address(leader_of(cluster)), "KV/Range", read, rpc_pb2.RangeResponse)
    own = rpc_pb2.RangeRequest(key=b"large", count_only=True, serializable=True)
    for _ in range(400):
        found = call(cluster.address(number), "KV/Range", own, rpc_pb2.RangeResponse)
        if now and found and found.header.revision >= now.header.revision:
            return
        threading.Event().wait(0.05)
    pytest.fail(f"m{number} does not catch up")
