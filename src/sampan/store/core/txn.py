"""Transactions: compare, then one of two branches, all at one revision.

A transaction is all or nothing. Whatever could fail in the branch that was chosen (a lease that
does not exist, a revision that cannot be read) is looked at before the first change is made.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

from sampan.store.core import encode, errors, query
from sampan.store.core.keyindex import Record
from sampan.store.core.mvcc import Mvcc
from sampan.store.core.ranges import covers
from sampan.store.pb.kv_pb2 import KeyValue
from sampan.store.pb.rpc_pb2 import (
    Compare,
    DeleteRangeRequest,
    DeleteRangeResponse,
    PutRequest,
    PutResponse,
    RequestOp,
    ResponseOp,
    TxnRequest,
    TxnResponse,
)

__all__ = ["Leases", "check_changes", "delete_range", "put", "run"]


class Leases(Protocol):
    """What a write asks of the leases."""

    def __contains__(self, lease_id: int) -> bool:
        """Tell whether the lease is granted and not revoked."""


def put(mvcc: Mvcc, request: PutRequest) -> Record | None:
    """Carry out a checked put; return the key's previous record."""
    key = request.key
    value, lease = request.value, request.lease
    if request.ignore_value or request.ignore_lease:
        previous = mvcc.index.live[key]
        if request.ignore_value:
            value = KeyValue.FromString(encode.unframe(previous[0])).value
        if request.ignore_lease:
            lease = previous[5]
    return mvcc.put(key, value, lease)


def delete_range(mvcc: Mvcc, request: DeleteRangeRequest) -> DeleteRangeResponse:
    """Carry out a deletion; the response lacks its header."""
    deleted = mvcc.delete_range(request.key, request.range_end)
    response = DeleteRangeResponse(deleted=len(deleted))
    if request.prev_kv:
        for record in deleted:
            response.prev_kvs.add().MergeFromString(encode.unframe(record[0]))
    return response


def check_changes(mvcc: Mvcc, leases: Leases, request: PutRequest) -> None:
    """Raise KEY_NOT_FOUND or LEASE_NOT_FOUND when the put cannot be done."""
    if (request.ignore_value or request.ignore_lease) and request.key not in mvcc.index.live:
        raise errors.KEY_NOT_FOUND()
    if request.lease and request.lease not in leases:
        raise errors.LEASE_NOT_FOUND()


def run(mvcc: Mvcc, leases: Leases, request: TxnRequest) -> TxnResponse:
    """Carry out a checked transaction and commit it.

    The response's header holds the revision only. Raises KEY_NOT_FOUND, LEASE_NOT_FOUND, FUTURE_REV
    or COMPACTED, with nothing changed.
    """
    verdicts: list[bool] = []
    chosen = _choose(mvcc, request, verdicts)
    _check_ahead(mvcc, leases, chosen)
    response = TxnResponse()
    _carry_out(mvcc, request, iter(verdicts), response)
    response.header.revision = mvcc.commit()
    return response


def _choose(mvcc: Mvcc, request: TxnRequest, verdicts: list[bool]) -> list[RequestOp]:
    """Decide every branch from the state before the transaction, outermost first, in order."""
    succeeded = all(_holds(mvcc, compare) for compare in request.compare)
    verdicts.append(succeeded)
    chosen: list[RequestOp] = []
    for op in request.success if succeeded else request.failure:
        if op.HasField("request_txn"):
            chosen += _choose(mvcc, op.request_txn, verdicts)
        else:
            chosen.append(op)
    return chosen


def _check_ahead(mvcc: Mvcc, leases: Leases, ops: Sequence[RequestOp]) -> None:
    deleted: list[tuple[bytes, bytes]] = []
    for op in ops:
        if op.HasField("request_put"):
            check_changes(mvcc, leases, op.request_put)
            # Only a "from key" deletion can get here together with a put of the same key. etcd
            # then looks for a value or lease that is gone, and crashes.
            put_ = op.request_put
            if (put_.ignore_value or put_.ignore_lease) and any(
                covers(start, end, put_.key) for start, end in deleted
            ):
                raise errors.KEY_NOT_FOUND()
        elif op.HasField("request_delete_range"):
            deleted.append((op.request_delete_range.key, op.request_delete_range.range_end))
        elif op.HasField("request_range"):
            # A negative revision means the newest in a range by itself; as in etcd, not in here.
            if op.request_range.revision < min(0, mvcc.compact_revision):
                raise errors.COMPACTED()
            mvcc.check_readable(op.request_range.revision)


def _carry_out(
    mvcc: Mvcc, request: TxnRequest, verdicts: Iterator[bool], response: TxnResponse
) -> None:
    response.succeeded = next(verdicts)
    for op in request.success if response.succeeded else request.failure:
        result = response.responses.add()
        if op.HasField("request_txn"):
            result.response_txn.header.SetInParent()
            _carry_out(mvcc, op.request_txn, verdicts, result.response_txn)
        else:
            _OPERATIONS[op.WhichOneof("request")](mvcc, op, result)


def _range_op(mvcc: Mvcc, op: RequestOp, result: ResponseOp) -> None:
    head = encode.header_field(encode.header(0, 0, mvcc.read_revision, 0))
    result.response_range.MergeFromString(query.answer(mvcc, op.request_range, head))


def _put_op(mvcc: Mvcc, op: RequestOp, result: ResponseOp) -> None:
    previous = put(mvcc, op.request_put)
    response = PutResponse()
    response.header.revision = mvcc.read_revision
    if op.request_put.prev_kv and previous is not None:
        response.prev_kv.MergeFromString(encode.unframe(previous[0]))
    result.response_put.CopyFrom(response)


def _delete_op(mvcc: Mvcc, op: RequestOp, result: ResponseOp) -> None:
    response = delete_range(mvcc, op.request_delete_range)
    response.header.revision = mvcc.read_revision
    result.response_delete_range.CopyFrom(response)


_OPERATIONS: dict[str | None, Callable[[Mvcc, RequestOp, ResponseOp], None]] = {
    "request_range": _range_op,
    "request_put": _put_op,
    "request_delete_range": _delete_op,
}

_RESULTS: dict[int, Callable[[Any, Any], bool]] = {
    Compare.EQUAL: operator.eq,
    Compare.NOT_EQUAL: operator.ne,
    Compare.GREATER: operator.gt,
    Compare.LESS: operator.lt,
}


def _holds(mvcc: Mvcc, compare: Compare) -> bool:
    """Tell whether a compare is true of every key of its range.

    Where there is no key, version, revisions and lease count as 0, and a comparison of values is
    false. An unknown operator holds always, as it does in etcd.
    """
    test = _RESULTS.get(compare.result)
    records, _ = mvcc.records(compare.key, compare.range_end)
    if not records:
        if compare.target == Compare.VALUE:
            return False
        records = [_NO_RECORD]
    if test is None:
        return True
    if compare.target not in _TARGETS:
        return test(0, 0)
    actual, field = _TARGETS[compare.target]
    expected = getattr(compare, field)
    return all(test(actual(record), expected) for record in records)


def _value_of(record: Record) -> bytes:
    return KeyValue.FromString(encode.unframe(record[0])).value


_NO_RECORD: Record = (b"", 0, 0, 0, 0, 0)

# What a record has to be compared, and which field of the Compare it is held against.
_TARGETS: dict[int, tuple[Callable[[Record], object], str]] = {
    Compare.VERSION: (operator.itemgetter(4), "version"),
    Compare.CREATE: (operator.itemgetter(1), "create_revision"),
    Compare.MOD: (operator.itemgetter(2), "mod_revision"),
    Compare.LEASE: (operator.itemgetter(5), "lease"),
    Compare.VALUE: (_value_of, "value"),
}
