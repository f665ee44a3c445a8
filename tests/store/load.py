"""A load of writers that know, write by write, what was acknowledged and what there may be."""

from __future__ import annotations

import random
import threading
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any, Final

import grpc

from sampan.store.pb import kv_pb2
from sampan.store.pb import rpc_pb2 as pb

__all__ = ["Ledger", "Write", "events", "write_until_it_fails"]

IN_FLIGHT: Final = 8
Change = tuple[bytes, bytes | None]


@dataclass(frozen=True, slots=True)
class Write:
    """One request and the changes that it makes, all in one revision."""

    method: str
    request: Any
    changes: tuple[Change, ...]


@dataclass(slots=True)
class Ledger:
    """All writes ever sent: acknowledged ones by revision, and those without an answer."""

    acknowledged: dict[int, tuple[Change, ...]] = field(default_factory=dict)
    unanswered: list[tuple[Change, ...]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def check(self, history: dict[int, list[Change]], after_rev: int) -> None:
        """Compare the events after `after_rev` with what was acknowledged; raise when they differ.

        Every acknowledged write is there, at its revision. What is there besides was sent, each
        write once, and revisions have no gap.
        """
        revisions = sorted(history)
        assert revisions == list(range(after_rev + 1, after_rev + 1 + len(revisions)))
        with self.lock:
            expected = {rev: c for rev, c in self.acknowledged.items() if rev > after_rev}
        lost = sorted(set(expected) - set(history))
        assert not lost, f"acknowledged revisions are gone: {lost[:10]} of {len(lost)}"
        for revision, changes in expected.items():
            assert tuple(history[revision]) == changes, f"revision {revision} changed"
        remaining = list(self.unanswered)
        for revision in revisions:
            if revision not in expected:
                changes = tuple(history[revision])
                assert changes in remaining, f"revision {revision} was never written: {changes}"
                remaining.remove(changes)
                self.acknowledged[revision] = changes
        self.unanswered = remaining


def some_write(dice: random.Random, worker: int, number: int, round_: int) -> Write:
    """A put, or a transaction of two puts, with a value that occurs once."""
    key = b"w%d/%d" % (worker, number % 40)
    value = b"%d.%d.%d." % (round_, worker, number) + b"x" * dice.choice([0, 10, 200, 5000])
    put = pb.PutRequest(key=key, value=value)
    if dice.random() < 0.8:
        return Write("Put", put, ((key, value),))
    other = pb.PutRequest(key=b"t" + key, value=value)
    ops = [pb.RequestOp(request_put=put), pb.RequestOp(request_put=other)]
    return Write("Txn", pb.TxnRequest(success=ops), ((key, value), (b"t" + key, value)))


def write_until_it_fails(address: str, ledger: Ledger, worker: int, seed: int, round_: int) -> None:
    """Keep `IN_FLIGHT` writes under way until the server is gone; note every answer."""
    dice = random.Random(seed)
    with grpc.insecure_channel(address) as channel:
        call = {
            name: channel.unary_unary(
                f"/etcdserverpb.KV/{name}",
                request_serializer=lambda message: message.SerializeToString(),
                response_deserializer=answer.FromString,
            )
            for name, answer in (("Put", pb.PutResponse), ("Txn", pb.TxnResponse))
        }
        number, alive = 0, True
        while alive:
            batch = [some_write(dice, worker, number + i, round_) for i in range(IN_FLIGHT)]
            number += IN_FLIGHT
            pending = [(write, call[write.method].future(write.request)) for write in batch]
            for write, future in pending:
                try:
                    revision = future.result(timeout=30).header.revision
                except (grpc.RpcError, grpc.FutureTimeoutError):
                    alive = False
                    with ledger.lock:
                        ledger.unanswered.append(write.changes)
                else:
                    with ledger.lock:
                        ledger.acknowledged[revision] = write.changes


def events(address: str, after_rev: int) -> dict[int, list[Change]]:
    """Everything that a watch from `after_rev` + 1 tells up to the newest revision."""
    history: dict[int, list[Change]] = defaultdict(list)
    with grpc.insecure_channel(address) as channel:
        read = channel.unary_unary(
            "/etcdserverpb.KV/Range",
            request_serializer=pb.RangeRequest.SerializeToString,
            response_deserializer=pb.RangeResponse.FromString,
        )
        newest = read(pb.RangeRequest(key=b"none"), timeout=30).header.revision
        if newest <= after_rev:
            return history
        watch = channel.stream_stream(
            "/etcdserverpb.Watch/Watch",
            request_serializer=pb.WatchRequest.SerializeToString,
            response_deserializer=pb.WatchResponse.FromString,
        )
        create = pb.WatchCreateRequest(key=b"\0", range_end=b"\0", start_revision=after_rev + 1)
        stream = watch(iter([pb.WatchRequest(create_request=create)]), timeout=60)
        for answer in stream:
            assert not answer.canceled, answer.cancel_reason
            for event in answer.events:
                deleted = event.type == kv_pb2.Event.DELETE
                change = (event.kv.key, None if deleted else event.kv.value)
                history[event.kv.mod_revision].append(change)
            if history and max(history) >= newest:  # all events of a revision come together
                break
        stream.cancel()
    return history
