"""The real etcdctl against three of our members: what operators do with a cluster."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from time import monotonic

import grpc
import pytest
from tests.certificates import Authority
from tests.cluster import Cluster, ask, call, free_port
from tests.etcdctl import Running
from tests.servers import SAMPAN, Server
from tests.wire.cluster_ctl import (
    PACE,
    PAUSE,
    argv,
    clean_env,
    etcdctl,
    followers,
    member_ids,
    ok,
    parsed,
    refused,
    until,
)

from sampan.store.pb import rpc_pb2


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with Cluster(tmp_path_factory.mktemp("cluster"), PACE) as three:
        until(lambda: three.leader() >= 0)
        yield three


def revision_of(endpoints: str) -> int:
    found: int = parsed(endpoints, "get", "saved")["header"]["revision"]
    return found


def test_every_member_tells_the_same_of_the_cluster(cluster: Cluster) -> None:
    status = [one["Status"] for one in parsed(cluster.endpoints, "endpoint", "status")]
    assert len({one["leader"] for one in status}) == 1
    assert len({one["header"]["member_id"] for one in status}) == 3
    assert status[0]["leader"] in {one["header"]["member_id"] for one in status}
    assert len({one["raftTerm"] for one in status}) == 1
    assert not any(one.get("errors") for one in status)
    health = ok(cluster.address(0), "endpoint", "health", "--cluster", "-w", "json")
    assert [one["health"] for one in json.loads(health)] == [True] * 3
    ok(cluster.address(1), "put", "told", "everywhere")
    for number in range(3):
        assert ok(cluster.address(number), "get", "told") == "told\neverywhere\n"
    found = parsed(cluster.address(2), "endpoint", "hashkv", "--cluster")
    assert len({one["HashKV"]["hash"] for one in found}) == 1


def test_metrics_tell_of_the_other_members(cluster: Cluster) -> None:
    """Connected, bytes both ways, round trips; and that all of what is proposed is committed."""
    ok(cluster.address(0), "put", "counted", "x" * 1000)
    leader = cluster.leader()
    port = cluster.ports[leader]
    samples = dict(
        line.rsplit(" ", 1)
        for line in ask(port, "GET", "/metrics")[1].splitlines()
        if not line.startswith("#")
    )
    ids = member_ids(cluster.endpoints)
    for other in (ids[f"m{number}"] for number in range(3) if number != leader):
        between = f'{{Local="{ids[f"m{leader}"]}",Remote="{other}"}}'
        assert samples[f"etcd_network_active_peers{between}"] == "1"
        assert float(samples[f'etcd_network_peer_received_bytes_total{{From="{other}"}}']) > 100
        assert float(samples[f'etcd_network_peer_sent_bytes_total{{To="{other}"}}']) > 100
        count = f'etcd_network_peer_round_trip_time_seconds_count{{To="{other}"}}'
        assert float(samples[count]) >= 1
    committed = float(samples["etcd_server_proposals_committed_total"])
    assert committed == float(samples["etcd_server_proposals_applied_total"]) > 3


def test_leadership_is_moved_by_its_leader_only(cluster: Cluster) -> None:
    target = followers(cluster)[0]
    name = member_ids(cluster.endpoints)[f"m{target}"]
    leader = cluster.leader()
    assert "no leader endpoint given" in refused(cluster.address(target), "move-leader", name)
    moved = ok(cluster.address(leader), "move-leader", name)
    assert moved.startswith("Leadership transferred from ")
    until(lambda: cluster.leader() == target)
    assert "bad leader transferee" in refused(cluster.address(target), "move-leader", "abc")


def test_leases_are_kept_alive_and_told_of_by_followers(cluster: Cluster) -> None:
    follower = cluster.address(followers(cluster)[0])
    lease = ok(follower, "lease", "grant", "60").split()[1]
    ok(follower, "put", "leased", "x", f"--lease={lease}")
    assert "keepalived with TTL(60)" in ok(follower, "lease", "keep-alive", "--once", lease)
    told = ok(follower, "lease", "timetolive", lease, "--keys")
    assert "granted with TTL(60s), remaining(" in told and "attached keys([leased])" in told
    ok(follower, "lease", "revoke", lease)
    assert ok(cluster.endpoints, "get", "leased") == ""


def test_a_learner_joins_is_promoted_goes_and_comes_again(cluster: Cluster, tmp_path: Path) -> None:
    known = cluster.address(0)
    peer, port = f"http://127.0.0.1:{free_port()}", free_port()
    until(lambda: "unhealthy" not in etcdctl(known, "member", "add", "x", "--learner").stderr)
    add = ("member", "add", "m3", "--learner", f"--peer-urls={peer}")
    until(lambda: etcdctl(known, *add).returncode == 0)
    other = f"--peer-urls=http://127.0.0.1:{free_port()}"
    assert "too many learner" in refused(known, "member", "add", "m4", "--learner", other)
    new = member_ids(known)[peer]
    assert "in sync with leader" in refused(known, "member", "promote", new)
    joiner = Server(
        SAMPAN,
        tmp_path / "m3",
        [
            "--name=m3",
            f"--listen-client-urls=http://127.0.0.1:{port}",
            f"--advertise-client-urls=http://127.0.0.1:{port}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster={cluster.founders},m3={peer}",
            "--initial-cluster-state=existing",
            *PACE,
        ],
    )
    with joiner:
        address = f"127.0.0.1:{port}"
        until(lambda: member_ids(known).get("m3") == new)
        assert "rpc not supported for learner" in refused(address, "get", "told")
        assert "rpc not supported for learner" in refused(address, "put", "told", "x")
        until(lambda: "everywhere" in ok(address, "get", "told", "--consistency=s"))
        assert parsed(address, "endpoint", "status")[0]["Status"]["isLearner"] is True
        assert "not supported for learner" in ask(port, "GET", "/readyz")[1]
        until(lambda: etcdctl(cluster.endpoints, "member", "promote", new).returncode == 0)
        assert "can only promote a learner" in refused(known, "member", "promote", new)
        ok(address, "put", "told", "by the new one")
        assert "removed" in ok(known, "member", "remove", new)
        assert joiner.wait() == 0
        assert "permanently removed from the cluster" in joiner.text()
    assert "m3" not in member_ids(known)
    joiner.launch()
    assert joiner.wait() == 0, "it has no place in the cluster any more"
    assert "member not found" in refused(known, "member", "remove", new)


def test_locks_watches_and_leases_survive_the_death_of_the_leader(cluster: Cluster) -> None:
    leader = cluster.leader()
    alive = cluster.address(followers(cluster)[0])
    lease = ok(alive, "lease", "grant", "30").split()[1]
    ok(alive, "put", "held", "x", f"--lease={lease}")
    watch = Running(argv(alive, "watch", "seen"), clean_env())
    lock = Running(argv(cluster.endpoints, "lock", "mutex"), clean_env())
    try:
        lock.until("mutex/")
        watch_ready(watch, alive)
        cluster.servers[leader].kill()
        until(lambda: etcdctl(alive, "put", "seen", "after").returncode == 0)
        watch.until("after")
        waiting = Running(argv(alive, "lock", "mutex"), clean_env())
        try:
            assert "remaining(" in ok(alive, "lease", "timetolive", lease)
            lock.end()
            waiting.until("mutex/")
        finally:
            waiting.end()
    finally:
        watch.end()
        lock.end()
        cluster.servers[leader].start()
    assert ok(cluster.address(leader), "get", "held") == "held\nx\n"
    ok(alive, "lease", "revoke", lease)


def watch_ready(watch: Running, address: str) -> None:
    """Write until the watcher tells of it: only then is it known to have begun."""
    end_s = monotonic() + 20
    while "begun" not in watch.text():
        assert monotonic() < end_s
        ok(address, "put", "seen", "begun")
        PAUSE.wait(0.1)


def test_a_rolling_restart_fails_no_request_of_a_client_that_tries_again(cluster: Cluster) -> None:
    stop, written = threading.Event(), []

    def write() -> None:
        number = 0
        while not stop.is_set():
            request = rpc_pb2.PutRequest(key=b"rolling/%d" % number, value=b"x")
            end_s = monotonic() + 15
            while not any(
                call(cluster.address(each), "KV/Put", request, rpc_pb2.PutResponse, 3)
                for each in range(3)
            ):
                if monotonic() > end_s:
                    return
            written.append(number)
            number += 1

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for server in cluster.servers:
            before = len(written)
            assert server.stop() == 0
            until(lambda before=before: len(written) > before)  # type: ignore[misc]
            server.start()
            until(lambda: cluster.leader() >= 0)
    finally:
        stop.set()
        writer.join()
    count = ok(cluster.endpoints, "get", "--prefix", "rolling/", "--count-only", "-w", "fields")
    assert f'"Count" : {len(written)}' in count


def test_a_token_counts_on_every_member(cluster: Cluster) -> None:
    rest = followers(cluster)
    leader = cluster.leader()
    ok(cluster.endpoints, "user", "add", "root:pw")
    ok(cluster.endpoints, "user", "grant-role", "root", "root")
    ok(cluster.endpoints, "auth", "enable")
    try:
        login = rpc_pb2.AuthenticateRequest(name="root", password="pw")
        for _ in range(5):
            found = call(
                cluster.address(leader), "Auth/Authenticate", login, rpc_pb2.AuthenticateResponse
            )
            assert found is not None
            for number in rest:
                request = rpc_pb2.PutRequest(key=b"by-token", value=b"x")
                answer, why = with_metadata(
                    cluster.address(number), "KV/Put", request, ("token", found.token)
                )
                assert answer, why
    finally:
        ok(cluster.endpoints, "--user=root:pw", "auth", "disable")


def with_metadata(
    address: str, method: str, request: object, *metadata: tuple[str, str]
) -> tuple[bool, str]:
    """Make a call; returns whether it succeeded, and why not."""
    with grpc.insecure_channel(address) as channel:
        method_ = channel.unary_unary(
            f"/etcdserverpb.{method}",
            request_serializer=type(request).SerializeToString,  # type: ignore[attr-defined]
        )
        try:
            method_(request, timeout=10, metadata=metadata)
        except grpc.RpcError as error:
            return False, str(error.details())
        return True, ""


def test_without_a_leader_who_needs_one_is_told(cluster: Cluster) -> None:
    left = followers(cluster)[0]
    lost = [number for number in range(3) if number != left]
    port = cluster.ports[left]
    needs = ("hasleader", "true")
    with grpc.insecure_channel(cluster.address(left)) as channel:
        watch = channel.stream_stream(
            "/etcdserverpb.Watch/Watch",
            request_serializer=rpc_pb2.WatchRequest.SerializeToString,
            response_deserializer=rpc_pb2.WatchResponse.FromString,
        )
        create = rpc_pb2.WatchCreateRequest(key=b"k")
        asked = threading.Event()

        def requests() -> Iterator[rpc_pb2.WatchRequest]:
            yield rpc_pb2.WatchRequest(create_request=create)
            asked.wait()

        events = watch(requests(), metadata=[needs])
        assert next(events).created
        try:
            for number in lost:
                cluster.servers[number].kill()
            with pytest.raises(grpc.RpcError) as failed:
                next(events)
            assert failed.value.details() == "etcdserver: no leader"
            asked.set()
            request = rpc_pb2.RangeRequest(key=b"told", serializable=True)
            assert with_metadata(cluster.address(left), "KV/Range", request)[0]
            answer = with_metadata(cluster.address(left), "KV/Range", request, needs)
            assert answer == (False, "etcdserver: no leader")
            assert "RAFT NO LEADER" in ask(port, "GET", "/health")[1]
            assert "etcdserver: no leader" in ask(port, "GET", "/readyz")[1]
            assert "etcd_server_has_leader 0" in ask(port, "GET", "/metrics")[1]
            status = parsed(cluster.address(left), "endpoint", "status")[0]["Status"]
            assert status["errors"] == ["etcdserver: no leader"]
        finally:
            for number in lost:
                cluster.servers[number].launch()
            for number in lost:
                cluster.servers[number].until("ready to serve client requests", 30)
    until(lambda: cluster.leader() >= 0)
    assert with_metadata(cluster.address(left), "KV/Range", request, needs) == (True, "")


def test_members_speak_tls_and_take_only_certificates_they_were_told(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    cert, key = authority.issue("member")
    flags = [
        f"--peer-cert-file={cert}",
        f"--peer-key-file={key}",
        f"--peer-trusted-ca-file={authority.path}",
        "--peer-client-cert-auth",
        "--peer-cert-allowed-cn=member",
        *PACE,
    ]
    with Cluster(tmp_path, flags, peer_scheme="https") as three:
        until(lambda: three.leader() >= 0)
        ok(three.endpoints, "put", "over", "TLS")
        stranger = followers(three)[0]
        server = three.servers[stranger]
        server.stop()
        wrong, wrong_key = authority.issue("stranger")
        server.flags = [
            *server.flags,
            f"--peer-client-cert-file={wrong}",
            f"--peer-client-key-file={wrong_key}",
        ]
        server.launch()
        server.until("--peer-cert-allowed-cn", 30)


def test_a_snapshot_becomes_a_cluster_of_three(cluster: Cluster, tmp_path: Path) -> None:
    ok(cluster.address(0), "put", "saved", "once")
    ok(cluster.address(0), "snapshot", "save", str(tmp_path / "saved.db"))
    ok(cluster.address(0), "put", "saved", "twice")
    old = revision_of(cluster.address(0))
    three = Cluster(tmp_path, [*PACE])
    for server, name in zip(three.servers, ("m0", "m1", "m2"), strict=True):
        server.flags = [*server.flags, f"--wal-dir={tmp_path / 'logs' / name}"]
    (tmp_path / "logs").mkdir()
    peers = dict(pair.split("=", 1) for pair in three.founders.split(","))
    restores = [
        subprocess.Popen(
            [
                *SAMPAN.command[:-1],
                *("etcdutl", "snapshot", "restore", str(tmp_path / "saved.db")),
                f"--data-dir={tmp_path / name}",
                f"--wal-dir={tmp_path / 'logs' / name}",
                *("--bump-revision=1000", "--mark-compacted"),
                f"--name={name}",
                f"--initial-cluster={three.founders}",
                f"--initial-advertise-peer-urls={url}",
            ],
            stdout=subprocess.DEVNULL,
        )
        for name, url in peers.items()
    ]
    assert [one.wait() for one in restores] == [0, 0, 0]
    with three:
        until(lambda: three.leader() >= 0)
        for number in range(3):
            assert ok(three.address(number), "get", "saved") == "saved\nonce\n"
        assert {"m0", "m1", "m2"} == set(member_ids(three.endpoints))
        assert member_ids(three.endpoints) != member_ids(cluster.endpoints)
        # Who watched the old store from some revision on learns that it is another one.
        assert revision_of(three.address(1)) == old - 1 + 1000
        assert "compacted" in refused(three.address(2), "get", "saved", f"--rev={old}")
        ok(three.address(1), "put", "saved", "anew")
        assert revision_of(three.address(0)) == old + 1000
        for server in three.servers:
            assert not (server.data_dir / "member" / "wal").exists()
