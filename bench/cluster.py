"""Measure three members of `sampan etcd` beside three of a real etcd, in turns, on one machine.

Prints a table of ratios and writes it to docs/benchmarks.md. `--only NAME` picks measurements.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import grpc
from bench.loads import KEY, PROBE, fill, h2load, put_many, revision
from bench.members import Members, NoAnswer
from bench.peers import Peer
from bench.report import MIB, Metric, Results, in_turns, machine, write_section

from sampan.store.pb import rpc_pb2 as pb

LOADS: Final = {
    "put_1x1": ("Put", 1, 1),
    "put_10x10": ("Put", 10, 10),
    "put_100x10": ("Put", 100, 10),
    "range_follower": ("Range", 10, 10),
}

METRICS: Final = {
    "put_1x1": Metric("put at the leader, 1 connection × 1 stream", "requests/s", 1, True),
    "put_10x10": Metric("put at the leader, 10 × 10", "requests/s", 1, True),
    "put_100x10": Metric("put at the leader, 100 × 10", "requests/s", 1.5, True),
    "range_follower": Metric("linearizable range at a follower, 10 × 10", "requests/s", 4, True),
    "failover": Metric("kill -9 of the leader to the next answered put", "s", 1, False),
    "memory": Metric("resident memory of a member, filled", "MiB", 1.2, False),
    "catch_up": Metric("exec of a member that is behind to all of it there", "s", 1, False),
}

ATTEMPT_S: Final = 0.1
LATE_S: Final = 600.0


def measure(
    clusters: Sequence[Members], place: Path, results: Results, args: argparse.Namespace
) -> None:
    """All measurements, those that fill the stores last."""
    names = args.only or list(METRICS)
    for round_ in range(args.rounds):
        print(f"round {round_ + 1} of {args.rounds}", flush=True)
        for name in (name for name in names if name in LOADS):
            for cluster in in_turns(round_, clusters):
                method, connections, streams = LOADS[name]
                server = cluster.leading() if method == "Put" else cluster.following()
                rate = h2load(server, place, method, connections, streams, args.seconds)
                results.add(name, cluster.peer.name, rate)
        if "failover" in names:
            for cluster in in_turns(round_, clusters):
                took = [failover_s(cluster) for _ in range(args.kills)]
                results.add("failover", cluster.peer.name, statistics.median(took))
    for cluster in clusters:
        if "memory" in names:
            fill(cluster.leading(), args.keys)
            results.add("memory", cluster.peer.name, cluster.resident_bytes() / MIB)
        if "catch_up" in names:
            results.add("catch_up", cluster.peer.name, catch_up_s(cluster, place, args.entries))


def failover_s(cluster: Members) -> float:
    """Kill the leader; the seconds until one of the others answers a put. Then start it again."""
    dead = cluster.leader()
    others = [one.port for number, one in cluster.running.items() if number != dead]
    with ExitStack() as stack:
        calls = [put_call(stack, port) for port in others]
        for call in calls:
            call(pb.PutRequest(key=KEY, value=b"before"), timeout=10)
        cluster.kill(dead)
        began = time.monotonic()
        while time.monotonic() - began < 60:
            for call in calls:
                try:
                    call(pb.PutRequest(key=KEY, value=b"after"), timeout=ATTEMPT_S)
                except grpc.RpcError:
                    time.sleep(0.005)
                    continue
                took = time.monotonic() - began
                restart(cluster, dead)
                return took
    raise NoAnswer(f"{cluster.peer.name}: no put was answered within 60 s of the leader's end")


def put_call(stack: ExitStack, port: int) -> grpc.UnaryUnaryMultiCallable:
    channel = stack.enter_context(grpc.insecure_channel(f"127.0.0.1:{port}"))
    return channel.unary_unary(
        "/etcdserverpb.KV/Put",
        request_serializer=pb.PutRequest.SerializeToString,
        response_deserializer=pb.PutResponse.FromString,
    )


def restart(cluster: Members, number: int) -> None:
    """Start a member and wait until it has caught up."""
    target = revision(cluster.leading().port)
    port = cluster.start(number).port
    until_at(port, target, time.monotonic() + 60)


def catch_up_s(cluster: Members, place: Path, entries: int) -> float:
    """Stop a follower, put so many entries, start it; the seconds until it has all of them."""
    leader = cluster.leader()
    behind = next(number for number in cluster.running if number != leader)
    cluster.kill(behind)
    put_many(cluster.running[leader].port, place, entries)
    target = revision(cluster.running[leader].port)
    began = time.monotonic()
    port = cluster.start(behind).port
    until_at(port, target, began + LATE_S)
    return time.monotonic() - began


def until_at(port: int, target: int, deadline: float) -> None:
    """Ask a member for what it has itself until that is revision `target`."""
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        read = channel.unary_unary(
            "/etcdserverpb.KV/Range",
            request_serializer=pb.RangeRequest.SerializeToString,
            response_deserializer=pb.RangeResponse.FromString,
        )
        request = pb.RangeRequest(key=KEY, serializable=True)
        while time.monotonic() < deadline:
            try:
                reply = read(request, timeout=2, wait_for_ready=True)
            except grpc.RpcError:
                continue
            if reply.header.revision >= target:
                return
            time.sleep(0.02)
    raise NoAnswer(f"the member at port {port} did not get to revision {target}")


def report(results: Results, peers: Sequence[Peer], args: argparse.Namespace) -> str:
    command = f'make bench ARGS="{" ".join(["cluster", *args.given])}"'
    versions = " and ".join(f"`{peer.version()}`" for peer in peers)
    return f"""Written by `{command}` on {datetime.now(UTC):%Y-%m-%d}.

{results.table()}

Three members of each server on this one machine, all of them up at the same time; loads take
turns. A cell is the median, with the least and the greatest of {args.rounds} rounds in parentheses;
a ratio is taken within one round.

- Machine: {machine()}.
- Servers: {versions}; default settings (heartbeat 100 ms, election time-out 1 s), fsync on, data on
  the same file system.
- Loads: `h2load -D {args.seconds} -t 1 -c CONNECTIONS -m STREAMS`, an 8-byte key and, for the put,
  a value of 256 bytes, as for one member. After a put load the store's revision must have moved by
  as much as was answered.
- Without a leader: the leader gets kill -9; puts with a deadline of {ATTEMPT_S * 1000:.0f} ms go to
  the other two in turns until one is answered; the median of {args.kills} kills counts.
- Memory: the mean of the three after {args.keys:,} keys with values of 100 bytes, put in
  transactions of 125, and the loads.
- Catching up: a follower is killed, {args.entries:,} puts of 256 bytes are made, it is started; the
  clock stops when its own state is the leader's. Measured once.
"""


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="rounds, 3 at least for a report")
    parser.add_argument("--seconds", type=int, default=4, help="duration of each load")
    parser.add_argument("--kills", type=int, default=5, help="kills of the leader a round")
    parser.add_argument("--keys", type=int, default=200_000, help="keys of the filled store")
    parser.add_argument("--entries", type=int, default=1_000_000, help="entries to catch up with")
    parser.add_argument("--only", action="append", choices=METRICS, help="measure only this")
    parser.add_argument("--etcd", default=shutil.which("etcd"), help="the real etcd")
    parser.add_argument("--place", type=Path, default=None, help="where the data goes")
    parser.add_argument("--no-report", action="store_true", help="print, do not write the report")
    given = list(sys.argv[1:] if arguments is None else arguments)
    return parser.parse_args(given, argparse.Namespace(given=given))


def main(arguments: Sequence[str] | None = None) -> int:
    args = parse(arguments)
    if args.etcd is None or shutil.which("h2load") is None:
        print("needs etcd and h2load (Debian: etcd-server, nghttp2-client)", file=sys.stderr)
        return 2
    peers = [Peer.etcd(args.etcd), Peer.sampan()]
    results = Results(METRICS, "etcd")
    with tempfile.TemporaryDirectory(dir=args.place, prefix="bench-") as text, ExitStack() as stack:
        clusters = [Members(peer, Path(text)) for peer in peers]
        for cluster in clusters:
            stack.callback(cluster.close)
            cluster.start_all(PROBE)
        measure(clusters, Path(text), results, args)
    print()
    print(results.table())
    if not args.no_report:
        write_section("The cluster", report(results, peers, args))
    return 0


if __name__ == "__main__":
    sys.exit(main())
