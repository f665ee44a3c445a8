"""What a KV request must look like before anything is done for it.

Raised errors are the API's own. Order of the checks matters to clients that compare error strings.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sampan.store.core import errors
from sampan.store.core.ranges import FROM_KEY, covers
from sampan.store.pb.rpc_pb2 import (
    DeleteRangeRequest,
    PutRequest,
    RangeRequest,
    RequestOp,
    TxnRequest,
)

__all__ = ["check_delete", "check_put", "check_range", "check_txn", "has_put", "is_read_only"]

_SORT_ORDERS = frozenset(RangeRequest.SortOrder.values())
_SORT_TARGETS = frozenset(RangeRequest.SortTarget.values())


def check_range(request: RangeRequest) -> None:
    """Raise EMPTY_KEY or INVALID_SORT_OPTION."""
    if not request.key:
        raise errors.EMPTY_KEY()
    if request.sort_order not in _SORT_ORDERS or request.sort_target not in _SORT_TARGETS:
        raise errors.INVALID_SORT_OPTION()


def check_put(request: PutRequest) -> None:
    """Raise EMPTY_KEY, VALUE_PROVIDED or LEASE_PROVIDED."""
    if not request.key:
        raise errors.EMPTY_KEY()
    if request.ignore_value and request.value:
        raise errors.VALUE_PROVIDED()
    if request.ignore_lease and request.lease:
        raise errors.LEASE_PROVIDED()


def check_delete(request: DeleteRangeRequest) -> None:
    """Raise EMPTY_KEY."""
    if not request.key:
        raise errors.EMPTY_KEY()


def check_txn(request: TxnRequest, max_ops: int) -> None:
    """Raise TOO_MANY_OPS, EMPTY_KEY, DUPLICATE_KEY, or what an operation inside is wrong about.

    `max_ops` bounds the longest of compares, success and failure; what a level uses is taken from
    what its nested transactions may.
    """
    _check_shape(request, max_ops)
    _check_overlaps(request.success)
    _check_overlaps(request.failure)


def _check_shape(request: TxnRequest, max_ops: int) -> None:
    used = max(len(request.compare), len(request.success), len(request.failure))
    if used > max_ops:
        raise errors.TOO_MANY_OPS()
    if any(not compare.key for compare in request.compare):
        raise errors.EMPTY_KEY()
    for op in (*request.success, *request.failure):
        _check_op(op, max_ops - used)


def _check_op(op: RequestOp, max_ops: int) -> None:
    match op.WhichOneof("request"):
        case "request_range":
            check_range(op.request_range)
        case "request_put":
            check_put(op.request_put)
        case "request_delete_range":
            check_delete(op.request_delete_range)
        case "request_txn":
            _check_shape(op.request_txn, max_ops)
        case _:
            # An operation without a request names no key.
            raise errors.KEY_NOT_FOUND()


def _check_overlaps(ops: Sequence[RequestOp]) -> tuple[set[bytes], list[tuple[bytes, bytes]]]:
    """Return the keys that a branch puts and the ranges it deletes; raise DUPLICATE_KEY.

    All changes of a transaction share one revision, so no key may be put twice, nor put and
    deleted. Deletions may overlap each other. The two branches of a nested transaction exclude
    each other, so both may put the same key.
    """
    deletes = [
        (op.request_delete_range.key, op.request_delete_range.range_end)
        for op in ops
        if op.HasField("request_delete_range")
    ]
    puts: set[bytes] = set()
    for op in ops:
        if not op.HasField("request_txn"):
            continue
        then_puts, then_deletes = _check_overlaps(op.request_txn.success)
        else_puts, else_deletes = _check_overlaps(op.request_txn.failure)
        nested = then_puts | else_puts
        if not puts.isdisjoint(nested) or any(_within(key, deletes) for key in nested):
            raise errors.DUPLICATE_KEY()
        puts |= nested
        deletes += then_deletes + else_deletes
    for op in ops:
        if op.HasField("request_put"):
            key = op.request_put.key
            if key in puts or _within(key, deletes):
                raise errors.DUPLICATE_KEY()
            puts.add(key)
    return puts, deletes


def _within(key: bytes, ranges: Iterable[tuple[bytes, bytes]]) -> bool:
    """Tell whether a deleted range is known to hold the key; as in etcd, "from key" is not seen."""
    return any(covers(start, end, key) for start, end in ranges if end != FROM_KEY)


def is_read_only(request: TxnRequest) -> bool:
    """Tell whether neither branch, at any depth, can change the store."""
    return all(_reads(op) for op in (*request.success, *request.failure))


def _reads(op: RequestOp) -> bool:
    if op.HasField("request_txn"):
        return is_read_only(op.request_txn)
    return op.HasField("request_range")


def has_put(request: TxnRequest) -> bool:
    """Tell whether some branch, at any depth, puts a key (and so takes space)."""
    return any(
        op.HasField("request_put") or (op.HasField("request_txn") and has_put(op.request_txn))
        for op in (*request.success, *request.failure)
    )
