"""Random operation sequences for the differential test, and what is compared of the answers.

A sequence is drawn from a seed. Revisions in it are relative to what the server answered last, so
that past, present, compacted and future ones all occur; both servers get the same bytes.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import grpc

from sampan.store.pb import rpc_pb2 as pb

__all__ = ["Call", "Draw", "Outcome", "Player", "same"]

KEYS: Final = [b"a", b"a/1", b"a/2", b"b", b"b/x", b"c", b"\x00", b"\xff", b"\xff\xff"]
ENDS: Final = [b"", b"", b"", b"\x00", b"b", b"c", b"a", b"a0", b"\xff\xff\xff", b"0"]
LEASES: Final = [101, 102, 103]
RpcCall = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Call:
    """One request: the method's full name and the message."""

    method: str
    request: Any


@dataclass(frozen=True, slots=True)
class Outcome:
    """A response message, or the code and text of the error."""

    response: Any
    error: tuple[str, str] | None = None


RESPONSES: Final[dict[str, Any]] = {
    "/etcdserverpb.KV/Range": pb.RangeResponse,
    "/etcdserverpb.KV/Put": pb.PutResponse,
    "/etcdserverpb.KV/DeleteRange": pb.DeleteRangeResponse,
    "/etcdserverpb.KV/Txn": pb.TxnResponse,
    "/etcdserverpb.KV/Compact": pb.CompactionResponse,
    "/etcdserverpb.Lease/LeaseGrant": pb.LeaseGrantResponse,
    "/etcdserverpb.Lease/LeaseRevoke": pb.LeaseRevokeResponse,
    "/etcdserverpb.Lease/LeaseTimeToLive": pb.LeaseTimeToLiveResponse,
    "/etcdserverpb.Lease/LeaseLeases": pb.LeaseLeasesResponse,
    "/etcdserverpb.Maintenance/HashKV": pb.HashKVResponse,
}


class Draw:
    """Draws requests; knows the revision reached so far."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.revision = 1

    def some_revision(self) -> int:
        """Mostly 0 (now), else something around the history, sometimes the future."""
        dice = self.random.random()
        if dice < 0.5:
            return 0
        if dice < 0.55:
            return self.revision + self.random.randint(1, 5)
        if dice < 0.57:
            return -self.random.randint(1, 3)
        return self.random.randint(max(1, self.revision - 12), self.revision)

    def key(self) -> bytes:
        return b"" if self.random.random() < 0.02 else self.random.choice(KEYS)

    def value(self) -> bytes:
        return self.random.choice([b"", b"1", b"22", b"333", bytes([self.random.randrange(256)])])

    def bounds(self) -> tuple[bytes, bytes]:
        return self.key(), self.random.choice(ENDS)

    def range(self) -> pb.RangeRequest:
        key, end = self.bounds()
        request = pb.RangeRequest(key=key, range_end=end, revision=self.some_revision())
        if self.random.random() < 0.5:
            request.sort_order = self.random.randint(0, 2)  # type: ignore[assignment]
            request.sort_target = self.random.randint(0, 4)  # type: ignore[assignment]
        request.limit = self.random.choice([0, 0, 0, 1, 2, 5])
        request.serializable = self.random.random() < 0.3
        request.keys_only = self.random.random() < 0.15
        request.count_only = self.random.random() < 0.15
        for bound in ("min_mod", "max_mod", "min_create", "max_create"):
            if self.random.random() < 0.1:
                setattr(request, f"{bound}_revision", self.random.randint(0, self.revision + 1))
        return request

    def put(self) -> pb.PutRequest:
        request = pb.PutRequest(key=self.key(), value=self.value())
        request.prev_kv = self.random.random() < 0.4
        if self.random.random() < 0.25:
            request.lease = self.random.choice([*LEASES, 999])
        if self.random.random() < 0.08:
            request.ignore_value = True
            if self.random.random() < 0.7:
                request.value = b""
        if self.random.random() < 0.08:
            request.ignore_lease = True
            if self.random.random() < 0.7:
                request.lease = 0
        return request

    def delete(self) -> pb.DeleteRangeRequest:
        key, end = self.bounds()
        if end and self.random.random() < 0.6:
            end = b""
        return pb.DeleteRangeRequest(key=key, range_end=end, prev_kv=self.random.random() < 0.5)

    def compare(self) -> pb.Compare:
        compare = pb.Compare(key=self.key(), result=self.random.randint(0, 3))  # type: ignore[arg-type]
        compare.target = self.random.randint(0, 4)  # type: ignore[assignment]
        number = self.random.choice([0, 1, 2, self.random.randint(0, self.revision)])
        if compare.target == pb.Compare.VERSION:
            compare.version = number
        elif compare.target == pb.Compare.CREATE:
            compare.create_revision = number
        elif compare.target == pb.Compare.MOD:
            compare.mod_revision = number
        elif compare.target == pb.Compare.VALUE:
            compare.value = self.value()
        else:
            compare.lease = self.random.choice([0, *LEASES])
        if self.random.random() < 0.2:
            compare.range_end = self.random.choice(ENDS)
        return compare

    def op(self, depth: int) -> pb.RequestOp:
        dice = self.random.random()
        if dice < 0.4:
            return pb.RequestOp(request_put=self.put())
        if dice < 0.65:
            return pb.RequestOp(request_range=self.range())
        if dice < 0.85 or depth >= 2:
            return pb.RequestOp(request_delete_range=self.delete())
        return pb.RequestOp(request_txn=self.txn(depth + 1))

    def txn(self, depth: int = 0) -> pb.TxnRequest:
        request = pb.TxnRequest()
        request.compare.extend(self.compare() for _ in range(self.random.choice([0, 1, 1, 2])))
        request.success.extend(self.op(depth) for _ in range(self.random.choice([0, 1, 2, 3])))
        request.failure.extend(self.op(depth) for _ in range(self.random.choice([0, 1, 2])))
        if depth == 0 and self.random.random() < 0.02:
            many = self.random.choice([128, 129])
            del request.success[:]
            request.success.extend(
                pb.RequestOp(request_put=pb.PutRequest(key=b"n%d" % i)) for i in range(many)
            )
        if depth == 0 and any(deletes_from_key(op) for op in (*request.success, *request.failure)):
            forget_nothing(request)
        return request

    def compact(self) -> pb.CompactionRequest:
        back = self.random.choice([-2, 0, 1, 2, 5, 8, 20])
        # Not 0: after that 3.6 answers every HashKV with the hash of the empty store.
        return pb.CompactionRequest(revision=(self.revision - back) or 1, physical=True)

    def lease(self) -> Call:
        dice = self.random.random()
        lease = self.random.choice(LEASES)
        if dice < 0.45:
            granted = pb.LeaseGrantRequest(ID=lease, TTL=self.random.choice([600, 900, 0, -1]))
            return Call("/etcdserverpb.Lease/LeaseGrant", granted)
        if dice < 0.6:
            return Call("/etcdserverpb.Lease/LeaseRevoke", pb.LeaseRevokeRequest(ID=lease))
        if dice < 0.9:
            asked = pb.LeaseTimeToLiveRequest(ID=lease, keys=self.random.random() < 0.7)
            return Call("/etcdserverpb.Lease/LeaseTimeToLive", asked)
        return Call("/etcdserverpb.Lease/LeaseLeases", pb.LeaseLeasesRequest())

    def call(self, revision: int) -> Call:
        """The next request, `revision` being the store's newest."""
        self.revision = revision
        dice = self.random.random()
        if dice < 0.3:
            return Call("/etcdserverpb.KV/Put", self.put())
        if dice < 0.55:
            return Call("/etcdserverpb.KV/Range", self.range())
        if dice < 0.65:
            return Call("/etcdserverpb.KV/DeleteRange", self.delete())
        if dice < 0.87:
            return Call("/etcdserverpb.KV/Txn", self.txn())
        if dice < 0.9:
            return Call("/etcdserverpb.KV/Compact", self.compact())
        if dice < 0.92:
            return Call("/etcdserverpb.Maintenance/HashKV", pb.HashKVRequest())
        return self.lease()


class Player:
    """Sends requests to one server through grpcio."""

    def __init__(self, address: str) -> None:
        self.channel = grpc.insecure_channel(address)
        self._methods: dict[str, RpcCall] = {
            method: self.channel.unary_unary(
                method,
                request_serializer=lambda message: message.SerializeToString(),
                response_deserializer=response.FromString,
            )
            for method, response in RESPONSES.items()
        }

    def send(self, call: Call) -> Outcome:
        """The server's answer."""
        try:
            return Outcome(self._methods[call.method](call.request, timeout=20))
        except grpc.RpcError as error:
            return Outcome(None, (error.code().name, str(error.details())))

    def close(self) -> None:
        """Close the connection."""
        self.channel.close()


def plain(message: Any) -> Any:
    """A copy without what two servers may differ in: ids, term, what is left of a lease."""
    copy = type(message).FromString(message.SerializeToString())
    for header in headers(copy):
        header.cluster_id = header.member_id = header.raft_term = 0
    if isinstance(copy, pb.LeaseTimeToLiveResponse):
        copy.TTL = min(copy.TTL, 0)
        copy.keys.sort()
    if isinstance(copy, pb.LeaseLeasesResponse):
        copy.leases.sort(key=lambda lease: lease.ID)
    if isinstance(copy, pb.HashKVResponse):
        copy.hash_revision = 0  # 3.4 does not tell it
    return copy


def headers(message: Any) -> Iterator[Any]:
    """Every header of an answer, those inside a transaction too."""
    if message.HasField("header"):
        yield message.header
    if isinstance(message, pb.TxnResponse):
        for part in message.responses:
            yield from headers(getattr(part, str(part.WhichOneof("response"))))


def deletes_from_key(op: pb.RequestOp) -> bool:
    """Whether an operation deletes, at any depth, a range without an end."""
    if op.HasField("request_txn"):
        return any(map(deletes_from_key, (*op.request_txn.success, *op.request_txn.failure)))
    return op.HasField("request_delete_range") and op.request_delete_range.range_end == b"\0"


def forget_nothing(request: pb.TxnRequest) -> None:
    """Let no put keep the value or lease that is there.

    After a deletion that etcd does not see as an overlap it would find none, and crash.
    """
    for op in (*request.success, *request.failure):
        if op.HasField("request_txn"):
            forget_nothing(op.request_txn)
        elif op.HasField("request_put"):
            op.request_put.ignore_value = op.request_put.ignore_lease = False


COMPACTED: Final = ("OUT_OF_RANGE", "etcdserver: mvcc: required revision has been compacted")
FUTURE: Final = ("OUT_OF_RANGE", "etcdserver: mvcc: required revision is a future revision")
NO_KEY: Final = ("INVALID_ARGUMENT", "etcdserver: key not found")
NO_LEASE: Final = ("NOT_FOUND", "etcdserver: requested lease not found")

KNOWN: Final = {
    # peer, its error, ours -> why they differ
    ("etcd", put, range_): "3.4 checks all puts of a transaction before its ranges; later in order"
    for put in (NO_KEY, NO_LEASE)
    for range_ in (COMPACTED, FUTURE)
}


def same(expected: Outcome, got: Outcome, peer: str) -> bool:
    """Whether two answers agree in every field that must."""
    if expected.error and got.error and (peer, expected.error, got.error) in KNOWN:
        return True
    if expected.error or got.error:
        return expected.error == got.error
    return bool(plain(expected.response) == plain(got.response))
