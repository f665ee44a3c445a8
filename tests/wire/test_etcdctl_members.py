"""The real etcdctl and members that move, lag, or lose their certificates."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.certificates import Authority
from tests.cluster import Cluster, free_port
from tests.etcdctl import Running
from tests.wire.cluster_ctl import (
    PACE,
    argv,
    clean_env,
    followers,
    member_ids,
    ok,
    until,
)


def test_a_member_moves_to_another_peer_url(tmp_path: Path) -> None:
    with Cluster(tmp_path, PACE) as three:
        until(lambda: three.leader() >= 0)
        number = followers(three)[0]
        name = member_ids(three.endpoints)[f"m{number}"]
        rest = three.address((number + 1) % 3)
        ok(three.endpoints, "put", "before", "moving")
        mover = three.servers[number]
        mover.stop()
        url = f"http://127.0.0.1:{free_port()}"
        ok(rest, "member", "update", name, f"--peer-urls={url}")
        ok(rest, "put", "while", "moving")
        mover.flags = [
            flag
            for flag in mover.flags
            if not flag.startswith(("--listen-peer", "--initial-advertise", "--initial-cluster="))
        ]
        founders = three.founders.split(",")
        founders[number] = f"m{number}={url}"
        mover.flags = [
            *mover.flags,
            f"--listen-peer-urls={url}",
            f"--initial-advertise-peer-urls={url}",
            f"--initial-cluster={','.join(founders)}",
        ]
        mover.start()
        assert ok(three.address(number), "get", "while") == "while\nmoving\n"
        assert url in ok(rest, "member", "list")


def test_a_watcher_of_a_member_that_takes_a_snapshot_misses_nothing(tmp_path: Path) -> None:
    """It was away for longer than the others keep entries, so it is sent the whole store."""
    flags = (*PACE, "--snapshot-catchup-entries=10")
    with Cluster(tmp_path, flags) as three:
        until(lambda: three.leader() >= 0)
        number = followers(three)[0]
        late, others = three.servers[number], three.address((number + 1) % 3)
        ok(three.endpoints, "put", "n", "first")
        watch = Running(argv(three.address(number), "watch", "n", "--rev=1"), clean_env())
        try:
            watch.until("first")
            late.kill()
            for at in range(60):
                ok(others, "put", "n", f"value-{at}-")
            late.start()
            late.until("took over a snapshot", 30)
            watch.until("value-59-")
            told = [line for line in watch.text().splitlines() if line.startswith("value-")]
            assert told == [f"value-{at}-" for at in range(60)]
        finally:
            watch.end()


def test_members_with_certificates_of_their_own_making_find_each_other(tmp_path: Path) -> None:
    with Cluster(tmp_path, (*PACE, "--peer-auto-tls"), peer_scheme="https") as three:
        until(lambda: three.leader() >= 0)
        ok(three.endpoints, "put", "over", "TLS")
        for number in range(3):
            assert ok(three.address(number), "get", "over") == "over\nTLS\n"
        keys = list(tmp_path.glob("m*/fixtures/peer/*key*")) or list(tmp_path.rglob("*key*.pem"))
        assert keys and all(path.stat().st_mode & 0o077 == 0 for path in keys)
        url = three.founders.split(",")[0].partition("=")[2]
        probe = subprocess.run(
            ["curl", "-sS", "--max-time", "5", url.replace("https", "http")],
            capture_output=True,
            check=False,
        )
        assert probe.returncode != 0


def test_a_revoked_certificate_counts_no_more(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    pairs = [authority.issue(f"member{number}") for number in range(3)]
    revoked = authority.revoke()
    three = Cluster(
        tmp_path,
        (
            *PACE,
            f"--peer-trusted-ca-file={authority.path}",
            "--peer-client-cert-auth",
            f"--peer-crl-file={revoked}",
        ),
        peer_scheme="https",
    )
    for server, (cert, key) in zip(three.servers, pairs, strict=True):
        server.flags = [*server.flags, f"--peer-cert-file={cert}", f"--peer-key-file={key}"]
    with three:
        until(lambda: three.leader() >= 0)
        ok(three.endpoints, "put", "all", "three")
        number = followers(three)[0]
        outcast = three.servers[number]
        outcast.stop()
        authority.revoke(pairs[number][0])
        outcast.launch()
        outcast.until("cannot talk to a member", 30)
        rest = three.address((number + 1) % 3)
        ok(rest, "put", "without", "it")
        serializable = argv(three.address(number), "get", "without", "--consistency=s")
        done = subprocess.run(
            serializable, capture_output=True, text=True, env=clean_env(), check=False, timeout=40
        )
        assert "it" not in done.stdout


def test_members_may_compress_what_they_send(tmp_path: Path) -> None:
    flags = (*PACE, "--peer-compression=gzip", "--snapshot-catchup-entries=10")
    with Cluster(tmp_path, flags) as three:
        until(lambda: three.leader() >= 0)
        number = followers(three)[0]
        three.servers[number].kill()
        rest = three.address((number + 1) % 3)
        for at in range(40):
            ok(rest, "put", f"k{at}", "long " * 1000)
        three.servers[number].start()
        three.servers[number].until("took over a snapshot", 30)
        assert ok(three.address(number), "get", "k39", "--print-value-only").startswith("long ")
