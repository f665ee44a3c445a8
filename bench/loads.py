"""The measurements: each takes a running server and returns one figure."""

from __future__ import annotations

import re
import subprocess
import time
from collections import deque
from pathlib import Path
from typing import Any, Final

import grpc
from bench.peers import Running
from bench.raw_client import WatchReader, grpc_body

from sampan.store.pb import rpc_pb2 as pb

__all__ = ["KEY", "PROBE", "fill", "h2load", "put_many", "revision", "watch_events_per_s"]

KEY: Final = b"benchkey"
PUT: Final = pb.PutRequest(key=KEY, value=b"v" * 256).SerializeToString()
RANGE: Final = pb.RangeRequest(key=KEY).SerializeToString()
PROBE: Final = pb.RangeRequest(key=b"probe").SerializeToString()
MARKER: Final = b"<an-event-value>"
RATE: Final = re.compile(r"finished in [\d.]+\w+, ([\d.]+) req/s")
REQUESTS: Final = re.compile(r"(\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout")
PUTS_WATCHED: Final = 10_000
WATCH_CONNECTIONS: Final = 10
WATCHES_EACH: Final = 100


class LoadError(RuntimeError):
    """The load did not do the work that it claims; its figure means nothing."""


def revision(port: int) -> int:
    """The store's newest revision."""
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        read = channel.unary_unary(
            "/etcdserverpb.KV/Range",
            request_serializer=pb.RangeRequest.SerializeToString,
            response_deserializer=pb.RangeResponse.FromString,
        )
        return int(read(pb.RangeRequest(key=KEY), timeout=30).header.revision)


def h2load_argv(
    port: int, method: str, body: Path, connections: int, streams: int, *more: str
) -> list[str]:
    """The command line of the load tool."""
    return [
        "h2load",
        f"--clients={connections}",
        f"--max-concurrent-streams={streams}",
        "--threads=1",
        *more,
        f"--data={body}",
        "--header=content-type: application/grpc",
        "--header=te: trailers",
        f"http://127.0.0.1:{port}/etcdserverpb.KV/{method}",
    ]


def h2load(
    server: Running, place: Path, method: str, connections: int, streams: int, seconds: int
) -> float:
    """Requests per second; for puts it is checked that the store's revision moved as far."""
    body = place / f"{method}.body"
    body.write_bytes(grpc_body(PUT if method == "Put" else RANGE))
    before = revision(server.port)
    argv = h2load_argv(server.port, method, body, connections, streams, f"--duration={seconds}")
    output = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    rate, counts = RATE.search(output), REQUESTS.search(output)
    if rate is None or counts is None:
        raise LoadError(output)
    done = float(rate[1]) * seconds
    if int(counts[1]) == 0 or int(counts[2]):
        raise LoadError(output)
    moved = revision(server.port) - before
    if method == "Put" and moved < 0.98 * done:
        raise LoadError(f"{done:.0f} puts were answered, the store moved by {moved} revisions")
    return float(rate[1])


def put_many(port: int, place: Path, count: int) -> None:
    """Put one key so many times over 50 connections × 10 streams."""
    body = place / "many.body"
    body.write_bytes(grpc_body(PUT))
    before = revision(port)
    argv = h2load_argv(port, "Put", body, 50, 10, f"--requests={count}")
    subprocess.run(argv, capture_output=True, check=True)
    moved = revision(port) - before
    if moved < 0.98 * count:
        raise LoadError(f"{count} puts were sent, the store moved by {moved} revisions")


def watch_events_per_s(server: Running, place: Path) -> float:
    """Events delivered per second to 1,000 watches of one key while it is put again and again."""
    body = place / "watched.body"
    put = pb.PutRequest(key=b"watched", value=MARKER)
    body.write_bytes(grpc_body(put.SerializeToString()))
    create = pb.WatchCreateRequest(key=b"watched")
    requests = [pb.WatchRequest(create_request=create).SerializeToString()] * WATCHES_EACH
    reader = WatchReader(server.port, MARKER)
    watches = WATCH_CONNECTIONS * WATCHES_EACH
    try:
        reader.open(WATCH_CONNECTIONS, requests)
        warm_up(reader, server.port, put, watches)
        argv = h2load_argv(server.port, "Put", body, 4, 8, f"--requests={PUTS_WATCHED}")
        expected = watches * PUTS_WATCHED
        started = time.monotonic()
        with subprocess.Popen(argv, stdout=subprocess.DEVNULL) as load:
            counted, ended = reader.count(int(expected * 0.998), idle_s=3)
            load.wait()
    finally:
        reader.close()
    if not 0.99 * expected <= counted <= expected:
        raise LoadError(f"{counted} of {expected} events arrived")
    return float(counted / (ended - started))


def warm_up(reader: WatchReader, port: int, put: Any, watches: int) -> None:
    """Wait until a put is seen by every watch: then all of them stand."""
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        write = channel.unary_unary(
            "/etcdserverpb.KV/Put",
            request_serializer=pb.PutRequest.SerializeToString,
            response_deserializer=pb.PutResponse.FromString,
        )
        for _ in range(100):
            write(put, timeout=30)
            counted, _ = reader.count(watches, idle_s=0.5)
            if counted >= watches * 0.99:
                reader.count(watches, idle_s=0.2)
                return
    raise LoadError("not all watches were created")


def fill(server: Running, keys: int, value_bytes: int = 100, batch: int = 125) -> None:
    """Put `keys` keys in transactions of `batch`, some of them under way at any time."""
    value = b"x" * value_bytes
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        commit = channel.unary_unary(
            "/etcdserverpb.KV/Txn",
            request_serializer=pb.TxnRequest.SerializeToString,
            response_deserializer=pb.TxnResponse.FromString,
        )
        under_way: deque[Any] = deque()
        for first in range(0, keys, batch):
            ops = [
                pb.RequestOp(request_put=pb.PutRequest(key=b"key-%016d" % number, value=value))
                for number in range(first, min(first + batch, keys))
            ]
            under_way.append(commit.future(pb.TxnRequest(success=ops), timeout=60))
            if len(under_way) >= 32:
                under_way.popleft().result()
        for answer in under_way:
            answer.result()
