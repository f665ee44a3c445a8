"""The state machine: log entries in, changed state and answers out, in log order.

Whatever changes the store goes through `StateMachine.apply`, on every member and again on replay;
so it depends on nothing but the entries and the state. Who proposed an entry on this member waits
as its *responder* and is answered here, after the change is made.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from google.protobuf.message import Message

from sampan.store.core import encode, entry, errors, requests, txn
from sampan.store.core.backend import Backend
from sampan.store.core.decode import plain_put
from sampan.store.core.entry import Kind
from sampan.store.core.log import LogFullError
from sampan.store.core.mvcc import Mvcc
from sampan.store.pb import rpc_pb2 as pb
from sampan.wire.grpc.status import Code, Metadata, RpcError

if TYPE_CHECKING:
    from sampan.store.core.access import Access
    from sampan.store.core.alarm import AlarmStore
    from sampan.store.core.auth import AuthStore
    from sampan.store.core.cluster import ClusterInfo
    from sampan.store.core.lease import Lessor

__all__ = ["REQUESTS", "PlainPut", "Proposal", "Responder", "StateMachine"]


class Responder(Protocol):
    """Who waits for the outcome of an entry."""

    def reply(self, message: bytes) -> None:
        """Take the serialized response."""

    def fail(self, code: Code, message: str, metadata: Metadata = ()) -> None:
        """Take the error."""


Proposal = tuple[Responder, Kind, Any, str, int]
"""responder, kind, decoded request, user, auth revision: the context of a local entry."""

PlainPut = tuple[Responder, bytes, bytes]
"""responder, key, value: the context of a put that `decode.plain_put` could read."""

_PLAIN = 3
_VARINT_BYTES = 10

REQUESTS: dict[Kind, type[Message]] = {
    Kind.PUT: pb.PutRequest,
    Kind.DELETE_RANGE: pb.DeleteRangeRequest,
    Kind.TXN: pb.TxnRequest,
    Kind.COMPACT: pb.CompactionRequest,
    Kind.LEASE_GRANT: pb.LeaseGrantRequest,
    Kind.LEASE_REVOKE: pb.LeaseRevokeRequest,
    Kind.LEASE_CHECKPOINT: pb.LeaseCheckpointRequest,
}
"""Which message the body of an entry is; of the other kinds their own store reads the body."""

# With the CORRUPT alarm raised nothing changes keys or leases; reads and all else go on.
_REFUSED_WHEN_CORRUPT = frozenset(
    {
        Kind.PUT,
        Kind.DELETE_RANGE,
        Kind.TXN,
        Kind.COMPACT,
        Kind.LEASE_GRANT,
        Kind.LEASE_REVOKE,
    }
)


class StateMachine:
    """All replicated state of a member, and the only place that changes it."""

    def __init__(
        self,
        backend: Backend,
        mvcc: Mvcc,
        lessor: Lessor,
        auth: AuthStore,
        access: Access,
        alarms: AlarmStore,
        cluster: ClusterInfo,
    ) -> None:
        self.backend = backend
        self.mvcc = mvcc
        self.lessor = lessor
        self.auth = auth
        self.access = access
        self.alarms = alarms
        self.cluster = cluster
        self.applied_index = 0
        self.rejected_total = 0
        self.on_compact: Callable[[int], None] = lambda revision: None
        self._before_revision = encode.header(cluster.cluster_id, cluster.member_id, 0, 0) + b"\x18"
        self._after_revision = b""
        self.lead(1)
        self._handlers: dict[Kind, Callable[[Any], bytes]] = {
            Kind.EMPTY: self._empty,
            Kind.PUT: self._put,
            Kind.DELETE_RANGE: self._delete_range,
            Kind.TXN: self._txn,
            Kind.COMPACT: self._compact,
            Kind.LEASE_GRANT: self._lease_grant,
            Kind.LEASE_REVOKE: self._lease_revoke,
            Kind.LEASE_CHECKPOINT: self._lease_checkpoint,
        }

    # ---- headers

    def header_bytes(self) -> bytes:
        """Return the serialized ResponseHeader of now."""
        return self._before_revision + self.mvcc.revision_varint + self._after_revision

    def header_bytes_at(self, revision: int) -> bytes:
        """Return the serialized ResponseHeader with this revision."""
        return self._before_revision + encode.varint(revision) + self._after_revision

    def lead(self, term: int) -> None:
        """Put `term` into every header from now on."""
        self.term = term
        self._after_revision = b" " + encode.varint(term)

    def header_field(self) -> bytes:
        """Return the ResponseHeader of now as field 1 of a response."""
        revision = self.mvcc.revision_varint
        size = len(self._before_revision) + len(revision) + len(self._after_revision)
        # A header is at most 43 bytes: its length is one byte.
        return b"\n%c%b%b%b" % (size, self._before_revision, revision, self._after_revision)

    def header(self) -> pb.ResponseHeader:
        """Return the ResponseHeader of now."""
        return pb.ResponseHeader.FromString(self.header_bytes())

    # ---- the log's side

    def apply(self, first_index: int, entries: Sequence[bytes], contexts: Sequence[Any]) -> None:
        """Apply committed entries in order and answer who waits for them (see `LogSink`)."""
        skip = self.applied_index + 1 - first_index
        if skip > 0:
            # The backend had these already when it was last committed.
            entries, contexts = entries[skip:], contexts[skip:]
        at, end = 0, len(entries)
        while at < end:
            context = contexts[at]
            if context is None:
                puts = [] if self._guarded() else _plain_puts(entries, contexts, at)
                if puts:
                    self.mvcc.put_each(puts)
                    self.applied_index += len(puts)
                    at += len(puts)
                else:
                    self.applied_index += 1
                    self._replay(entries[at])
                    at += 1
            elif len(context) == _PLAIN and not self._guarded():
                run = _plain_run(contexts, at)
                self.applied_index += len(run)
                self._put_each(run)
                at += len(run)
            else:
                self.applied_index += 1
                self._settle(entries[at], context)
                at += 1
        self.mvcc.publish()

    def apply_membership(self, index: int, data: bytes, context: Any) -> bool:
        """Apply an entry that changes who the members are; False when it must change nothing."""
        self.applied_index = index
        kind, _, _, body = entry.decode(data)
        responder: Responder | None = context[0] if context is not None else None
        try:
            response = self.cluster.apply_change(kind, body)
        except RpcError as error:
            if responder is not None:
                responder.fail(error.code, error.message, error.metadata)
            return False
        if responder is not None:
            response.header.MergeFromString(self.header_bytes())
            responder.reply(response.SerializeToString())
        return True

    def rejected(self, contexts: Sequence[Any], error: Exception) -> None:
        """Tell everybody who waits that the log could not take their entries."""
        if isinstance(error, LogFullError):
            answer: RpcError = errors.NO_SPACE()
        else:
            answer = error if isinstance(error, RpcError) else errors.STOPPED()
        self.rejected_total += len(contexts)
        for context in contexts:
            if context is not None:
                context[0].fail(answer.code, answer.message)

    def _guarded(self) -> bool:
        """Tell whether entries must be looked at one by one before they are applied."""
        return self.auth.enabled or self.alarms.nospace or self.alarms.corrupt

    def _put_each(self, run: Sequence[PlainPut]) -> None:
        revisions = self.mvcc.put_each(run)
        before, after = self._before_revision, self._after_revision
        around = len(before) + len(after)
        heads = [b"\n" + encode.varint(around + size) + before for size in range(_VARINT_BYTES + 1)]
        for (responder, _, _), changed in zip(run, revisions, strict=True):
            responder.reply(heads[len(changed)] + changed + after)

    def _settle(self, data: bytes, context: Any) -> None:
        """Apply one entry of this member's own and answer its responder."""
        if len(context) == _PLAIN:
            responder, key, value = context
            context = (responder, Kind.PUT, pb.PutRequest(key=key, value=value), "", 0)
        responder, kind, request, user, auth_rev = context
        try:
            message = self._execute(kind, request, user, auth_rev, data)
        except RpcError as error:
            responder.fail(error.code, error.message, error.metadata)
        else:
            responder.reply(message)

    def _replay(self, data: bytes) -> None:
        kind, user, auth_rev, body = entry.decode(data)
        request = REQUESTS[kind].FromString(body) if kind in REQUESTS else None
        try:
            self._execute(kind, request, user, auth_rev, data)
        except RpcError:
            # It failed the same way the first time, and its proposer was told.
            return

    def _execute(self, kind: Kind, request: Any, user: str, auth_rev: int, data: bytes) -> bytes:
        alarms = self.alarms
        if alarms.nospace or alarms.corrupt:
            self._check_alarms(kind, request)
        if self.auth.enabled:
            self.access.check_entry(kind, request, user, auth_rev)
        handler = self._handlers.get(kind)
        return handler(request) if handler is not None else self._by_body(data)

    def _check_alarms(self, kind: Kind, request: Any) -> None:
        if self.alarms.corrupt and kind in _REFUSED_WHEN_CORRUPT:
            raise errors.CORRUPT()
        if self.alarms.nospace and (
            kind in (Kind.PUT, Kind.LEASE_GRANT) or (kind is Kind.TXN and requests.has_put(request))
        ):
            raise errors.NO_SPACE()

    # ---- one handler a kind

    def _empty(self, request: None) -> bytes:
        del request
        return b""

    def _header_only(self) -> bytes:
        return self.header_field()

    def _put(self, request: pb.PutRequest) -> bytes:
        mvcc = self.mvcc
        if request.lease or request.ignore_value or request.ignore_lease:
            # As in etcd, a put by itself looks for its lease before its key.
            if request.lease and request.lease not in self.lessor:
                raise errors.LEASE_NOT_FOUND()
            txn.check_changes(mvcc, self.lessor, request)
        previous = txn.put(mvcc, request)
        mvcc.commit()
        if request.prev_kv and previous is not None:
            return self.header_field() + previous[0]
        return self.header_field()

    def _delete_range(self, request: pb.DeleteRangeRequest) -> bytes:
        response = txn.delete_range(self.mvcc, request)
        self.mvcc.commit()
        response.header.MergeFromString(self.header_bytes())
        return response.SerializeToString()

    def _txn(self, request: pb.TxnRequest) -> bytes:
        response = txn.run(self.mvcc, self.lessor, request)
        response.header.MergeFromString(self.header_bytes())
        return response.SerializeToString()

    def _compact(self, request: pb.CompactionRequest) -> bytes:
        self.mvcc.compact(request.revision)
        self.on_compact(request.revision)
        return self._header_only()

    def _lease_grant(self, request: pb.LeaseGrantRequest) -> bytes:
        lease = self.lessor.grant(request.ID, request.TTL)
        response = pb.LeaseGrantResponse(header=self.header(), ID=lease.lease_id, TTL=lease.ttl_s)
        return response.SerializeToString()

    def _lease_revoke(self, request: pb.LeaseRevokeRequest) -> bytes:
        self.lessor.revoke(request.ID, self.mvcc)
        return self._header_only()

    def _lease_checkpoint(self, request: pb.LeaseCheckpointRequest) -> bytes:
        for checkpoint in request.checkpoints:
            self.lessor.checkpoint(checkpoint.ID, checkpoint.remaining_TTL)
        return self._header_only()

    def _by_body(self, data: bytes) -> bytes:
        """Apply an entry whose own store decodes the body."""
        kind, _, _, body = entry.decode(data)
        response: Any
        if kind is Kind.ALARM:
            response = self.alarms.apply(body)
        elif kind is Kind.MEMBER_UPDATE:
            response = self.cluster.apply_update(body)
        elif kind is Kind.MEMBER_ATTRIBUTES:
            response = self.cluster.apply_attributes(body)
        else:
            response = self.auth.apply(kind, body, self.applied_index)
        response.header.MergeFromString(self.header_bytes())
        serialized: bytes = response.SerializeToString()
        return serialized


def _plain_puts(
    entries: Sequence[bytes], contexts: Sequence[Any], start: int
) -> list[tuple[None, bytes, bytes]]:
    """Return the plain puts of others, or of before, that stand together from `start` on."""
    found: list[tuple[None, bytes, bytes]] = []
    for at in range(start, len(entries)):
        data = entries[at]
        if contexts[at] is not None or not data.startswith(entry.PLAIN_PUT):
            break
        plain = plain_put(data[entry.PLAIN_HEAD_BYTES :])
        if plain is None:
            break
        found.append((None, *plain))
    return found


def _plain_run(contexts: Sequence[Any], start: int) -> Sequence[PlainPut]:
    """Return the plain puts that stand together from `start` on."""
    end = start + 1
    for context in contexts[end:]:
        if context is None or len(context) != _PLAIN:
            break
        end += 1
    return contexts[start:end]
