"""Measure `sampan etcd` beside a real etcd: same machine, same run, same load, in turns.

Prints a table of ratios with their least, median and greatest value over the rounds and writes it
to docs/benchmarks.md. `--only NAME` picks measurements; `--list` names them.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from bench.loads import PROBE, fill, h2load, watch_events_per_s
from bench.peers import Peer, Running
from bench.report import MIB, Metric, Results, in_turns, machine, write_section

STARTS: Final = 5
"""Starts a round; the median of them is its figure."""


Args = argparse.Namespace

LOADS: Final = {
    "put_1x1": ("Put", 1, 1),
    "put_10x10": ("Put", 10, 10),
    "put_100x10": ("Put", 100, 10),
    "range_10x10": ("Range", 10, 10),
}

METRICS: Final = {
    "put_1x1": Metric("put, 1 connection × 1 stream", "requests/s", 1, True),
    "put_10x10": Metric("put, 10 × 10", "requests/s", 1.5, True),
    "put_100x10": Metric("put, 100 × 10", "requests/s", 2.5, True),
    "range_10x10": Metric("linearizable range of one key, 10 × 10", "requests/s", 8, True),
    "watch_1000": Metric("1,000 watches of one key", "events/s", 2, True),
    "start": Metric("exec to first answered request", "s", 0.5, False),
    "rss_idle": Metric("resident memory, idle", "MiB", 60, False, absolute=True),
    "rss_filled": Metric("resident memory, filled", "MiB", 1.2, False),
    "restart_filled": Metric("kill -9, then exec to first answer, filled", "s", 1, False),
}


def loads(
    peers: Sequence[Peer],
    names: Sequence[str],
    place: Path,
    results: Results,
    args: argparse.Namespace,
) -> None:
    """Rounds with fresh, small stores; both servers are up and the loads alternate."""
    small = [name for name in names if not name.endswith("_filled")]
    for round_ in range(args.rounds if small else 0):
        print(f"round {round_ + 1} of {args.rounds}", flush=True)
        with tempfile.TemporaryDirectory(dir=place) as text:
            run_round(in_turns(round_, peers), small, Path(text), results, args)


def starts(peers: Sequence[Peer], place: Path, results: Results) -> None:
    """Start each server some times over new directories; the median counts.

    etcd waits for a randomly long election each time.
    """
    took: dict[str, list[float]] = {peer.name: [] for peer in peers}
    for number in range(STARTS):
        for peer in peers:
            server = peer.start(place / f"start-{peer.name}-{number}", PROBE)
            server.kill()
            took[peer.name].append(server.ready_s)
    for name, figures in took.items():
        results.add("start", name, statistics.median(figures))


def run_round(
    peers: Sequence[Peer],
    names: Sequence[str],
    place: Path,
    results: Results,
    args: argparse.Namespace,
) -> None:
    if "start" in names:
        starts(peers, place, results)
    running: list[Running] = []
    try:
        for peer in peers:
            server = peer.start(place / peer.name, PROBE)
            running.append(server)
            if "rss_idle" in names:
                results.add("rss_idle", peer.name, server.resident_bytes() / MIB)
        for name in names:
            for server in running:
                if name in LOADS:
                    method, connections, streams = LOADS[name]
                    rate = h2load(server, place, method, connections, streams, args.seconds)
                    results.add(name, server.peer.name, rate)
                elif name == "watch_1000":
                    results.add(name, server.peer.name, watch_events_per_s(server, place))
    finally:
        for server in running:
            server.kill()


def filled(
    peers: Sequence[Peer],
    names: Sequence[str],
    place: Path,
    results: Results,
    args: argparse.Namespace,
) -> None:
    """One store of many keys for each server; restarts of it in turns."""
    if not any(name.endswith("_filled") for name in names):
        return
    print(f"filling {args.keys:,} keys", flush=True)
    for peer in peers:
        server = peer.start(place / peer.name, PROBE)
        try:
            fill(server, args.keys)
            if "rss_filled" in names:
                results.add("rss_filled", peer.name, server.resident_bytes() / MIB)
        finally:
            server.kill()
    for round_ in range(args.rounds if "restart_filled" in names else 0):
        for peer in in_turns(round_, peers):
            server = peer.start(place / peer.name, PROBE)
            results.add("restart_filled", peer.name, server.ready_s)
            server.kill()


def report(results: Results, peers: Sequence[Peer], args: argparse.Namespace) -> str:
    arguments = " ".join(sys.argv[1:])
    command = f'make bench ARGS="store {arguments}"'.replace(' "', '"')
    versions = " and ".join(f"`{peer.version()}`" for peer in peers)
    return f"""Written by `{command}` on {datetime.now(UTC):%Y-%m-%d}.

{results.table()}

Every cell is the median, with the least and the greatest of {args.rounds} rounds in parentheses. A
ratio is taken within one round, ours divided by etcd's; only ratios mean anything, for the load
generator shares the machine with the servers. Memory with the filled store is measured once.

- Machine: {machine()}.
- Servers: {versions}; default settings, fsync on for both, `--quota-backend-bytes=8589934592`, data
  on the same file system. Both are up at the same time and take turns; who is first changes from
  round to round.
- Put and range: `h2load -D {args.seconds} -t 1 -c CONNECTIONS -m STREAMS` with one body: an 8-byte
  key and, for the put, a value of 256 bytes. After a put load the store's revision must have
  moved by as much as was answered, or the run fails.
- Watches: 10 connections with 100 watches each on one key, read by a client that only counts bytes;
  h2load puts the key 10,000 times over 4 connections × 8 streams; the clock stops when the last
  event is there.
- First answer: a raw connection asks for a linearizable range, again and again, from exec on; the
  median of {STARTS} starts over new directories is the figure of a round.
- Filled: {args.keys:,} keys of 20 bytes with values of 100 bytes, put in transactions of 125.
"""


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="rounds, 3 at least for a report")
    parser.add_argument("--seconds", type=int, default=4, help="duration of each load")
    parser.add_argument("--keys", type=int, default=1_000_000, help="keys of the filled store")
    parser.add_argument("--only", action="append", choices=METRICS, help="measure only this")
    parser.add_argument("--etcd", default=shutil.which("etcd"), help="the real etcd")
    parser.add_argument("--place", type=Path, default=None, help="where the data goes")
    parser.add_argument("--no-report", action="store_true", help="print, do not write the report")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    args = parse(arguments)
    if args.etcd is None or shutil.which("h2load") is None:
        print("needs etcd and h2load (Debian: etcd-server, nghttp2-client)", file=sys.stderr)
        return 2
    peers = [Peer.etcd(args.etcd), Peer.sampan()]
    names = args.only or list(METRICS)
    results = Results(METRICS, "etcd")
    steps: list[Callable[..., None]] = [loads, filled]
    with tempfile.TemporaryDirectory(dir=args.place, prefix="bench-") as text:
        for step in steps:
            step(peers, names, Path(text), results, args)
    print()
    print(results.table())
    if not args.no_report:
        write_section("The store", report(results, peers, args))
    return 0


if __name__ == "__main__":
    sys.exit(main())
