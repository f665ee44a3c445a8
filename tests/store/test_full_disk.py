"""One member of three has a full disk: the others go on, whoever led, and it comes back."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from tests.cluster import Cluster, ask, call

from sampan.store.pb import rpc_pb2

TIMING = ["--heartbeat-interval=50", "--election-timeout=500"]


@pytest.mark.timeout(90)
@pytest.mark.parametrize("leads", [True, False], ids=["leader", "follower"])
def test_a_full_disk_of_one_member_stops_nobody_else(tmp_path: Path, leads: bool) -> None:
    with Cluster(tmp_path, TIMING) as cluster:
        put(cluster, (0, 1, 2), b"before")
        leader = cluster.leader()
        full = leader if leads else (leader + 1) % 3
        others = tuple(number for number in range(3) if number != full)
        cluster.fail(full, "walBeforeSave", "return(ENOSPC)")
        for number in range(5):
            put(cluster, others, b"meanwhile %d" % number)
        cluster.servers[full].until("the disk of this member is full", 20)
        assert cluster.leader() in others
        assert ask(cluster.switches[full], "PUT", "/walBeforeSave", "off")[0] == 200
        until_read(cluster.address(full), b"meanwhile 4")
        put(cluster, (full,), b"after")


def put(cluster: Cluster, numbers: tuple[int, ...], key: bytes) -> None:
    """Put at whichever of these members takes it: a change of leader may come between."""
    request = rpc_pb2.PutRequest(key=key, value=key)
    for turn in range(40):
        address = cluster.address(numbers[turn % len(numbers)])
        if call(address, "KV/Put", request, rpc_pb2.PutResponse, 3) is not None:
            return
        threading.Event().wait(0.1)
    pytest.fail(f"nobody takes {key!r}")


def until_read(address: str, key: bytes) -> None:
    """Wait until a member has a key by itself."""
    request = rpc_pb2.RangeRequest(key=key, serializable=True)
    for _ in range(200):
        found = call(address, "KV/Range", request, rpc_pb2.RangeResponse)
        if found is not None and found.kvs:
            return
        threading.Event().wait(0.05)
    pytest.fail(f"{key!r} does not arrive")
