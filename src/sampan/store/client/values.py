"""What the client answers with: immutable values made from the protocol's messages."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from sampan.store.pb import kv_pb2, rpc_pb2

__all__ = [
    "DeleteResult",
    "Event",
    "Header",
    "KeyValue",
    "LeaseStatus",
    "Member",
    "OpResult",
    "PutResult",
    "RangeResult",
    "Relist",
    "TxnResult",
    "WatchBatch",
]


@dataclass(frozen=True, slots=True)
class Header:
    """Who answered, at which store revision and in which Raft term."""

    cluster_id: int
    member_id: int
    revision: int
    raft_term: int

    @classmethod
    def of(cls, header: rpc_pb2.ResponseHeader) -> Header:
        """Make it from the protocol's header."""
        return cls(header.cluster_id, header.member_id, header.revision, header.raft_term)


@dataclass(frozen=True, slots=True)
class KeyValue:
    """One key at one revision. `version` counts its puts since creation, `lease` is 0 for none."""

    key: bytes
    value: bytes
    create_revision: int
    mod_revision: int
    version: int
    lease: int

    @classmethod
    def of(cls, kv: kv_pb2.KeyValue) -> KeyValue:
        """Make it from the protocol's record."""
        return cls(kv.key, kv.value, kv.create_revision, kv.mod_revision, kv.version, kv.lease)

    @property
    def text(self) -> str:
        """The value as UTF-8 text; raises UnicodeDecodeError when it is none."""
        return self.value.decode()


@dataclass(frozen=True, slots=True)
class RangeResult:
    """The keys of a range. `count` counts the whole range, `more` says that a limit cut it."""

    header: Header
    kvs: tuple[KeyValue, ...]
    more: bool
    count: int

    @classmethod
    def of(cls, response: rpc_pb2.RangeResponse) -> RangeResult:
        """Make it from the protocol's response."""
        kvs = tuple(KeyValue.of(kv) for kv in response.kvs)
        return cls(Header.of(response.header), kvs, response.more, response.count)

    def __iter__(self) -> Iterator[KeyValue]:
        return iter(self.kvs)

    def __len__(self) -> int:
        return len(self.kvs)


@dataclass(frozen=True, slots=True)
class PutResult:
    """A put took effect at `header.revision`; `prev_kv` is there when asked for and existing."""

    header: Header
    prev_kv: KeyValue | None

    @classmethod
    def of(cls, response: rpc_pb2.PutResponse) -> PutResult:
        """Make it from the protocol's response."""
        prev_kv = KeyValue.of(response.prev_kv) if response.HasField("prev_kv") else None
        return cls(Header.of(response.header), prev_kv)


@dataclass(frozen=True, slots=True)
class DeleteResult:
    """How many keys were deleted and, when asked for, what they were."""

    header: Header
    deleted: int
    prev_kvs: tuple[KeyValue, ...]

    @classmethod
    def of(cls, response: rpc_pb2.DeleteRangeResponse) -> DeleteResult:
        """Make it from the protocol's response."""
        prev_kvs = tuple(KeyValue.of(kv) for kv in response.prev_kvs)
        return cls(Header.of(response.header), response.deleted, prev_kvs)


@dataclass(frozen=True, slots=True)
class TxnResult:
    """Which branch of a transaction ran, and the result of each of its operations in order."""

    header: Header
    succeeded: bool
    responses: tuple[OpResult, ...]

    @classmethod
    def of(cls, response: rpc_pb2.TxnResponse) -> TxnResult:
        """Make it from the protocol's response."""
        results = tuple(_op_result(op) for op in response.responses)
        return cls(Header.of(response.header), response.succeeded, results)

    def __bool__(self) -> bool:
        return self.succeeded


OpResult = RangeResult | PutResult | DeleteResult | TxnResult


def _op_result(op: rpc_pb2.ResponseOp) -> OpResult:
    kind = op.WhichOneof("response")
    if kind == "response_range":
        return RangeResult.of(op.response_range)
    if kind == "response_put":
        return PutResult.of(op.response_put)
    if kind == "response_delete_range":
        return DeleteResult.of(op.response_delete_range)
    return TxnResult.of(op.response_txn)


@dataclass(frozen=True, slots=True)
class Event:
    """One change of one key; of a deleted key only `kv.key` and `kv.mod_revision` are set."""

    type: Literal["put", "delete"]
    kv: KeyValue
    prev_kv: KeyValue | None

    @classmethod
    def of(cls, event: kv_pb2.Event) -> Event:
        """Make it from the protocol's event."""
        prev_kv = KeyValue.of(event.prev_kv) if event.HasField("prev_kv") else None
        deleted = event.type == kv_pb2.Event.DELETE
        return cls("delete" if deleted else "put", KeyValue.of(event.kv), prev_kv)

    @property
    def is_create(self) -> bool:
        """True for the put that brought the key into being."""
        return self.type == "put" and self.kv.create_revision == self.kv.mod_revision


@dataclass(frozen=True, slots=True)
class Relist:
    """The history between the last batch and `revision` is gone; `kvs` is the range's state there.

    `compacted`: the store threw those revisions away, it keeps none below `compact_revision`.
    `reset`: the store answers with another history (restored from a backup, or started afresh in
    memory); revisions seen before mean nothing any more.
    """

    reason: Literal["compacted", "reset"]
    compact_revision: int
    kvs: tuple[KeyValue, ...]
    revision: int


@dataclass(frozen=True, slots=True)
class WatchBatch:
    """Changes in revision order. After it everything up to and including `revision` is known.

    No events and no relist: a progress notification. With a `relist` there are no events.
    """

    events: tuple[Event, ...]
    revision: int
    relist: Relist | None = None


@dataclass(frozen=True, slots=True)
class LeaseStatus:
    """Seconds left and seconds granted; both -1 and 0 for a lease that does not exist."""

    id: int
    ttl_s: int
    granted_ttl_s: int
    keys: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Member:
    """One member of the cluster."""

    id: int
    name: str
    peer_urls: tuple[str, ...]
    client_urls: tuple[str, ...]
    is_learner: bool

    @classmethod
    def of(cls, member: rpc_pb2.Member) -> Member:
        """Make it from the protocol's record."""
        peer_urls, client_urls = tuple(member.peerURLs), tuple(member.clientURLs)
        return cls(member.ID, member.name, peer_urls, client_urls, member.isLearner)
