"""The operations and conditions of the key-value service, as the protocol's messages.

    ops.put("k", "v"), ops.get("k"), ops.delete("k"), ops.txn(...)       operations
    ops.version("k") == 0, ops.value("k") != "x", ops.mod_revision("k") > 7   conditions

The same operations serve as single calls and inside a transaction.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from sampan.store.client.keys import Key, key_bytes, prefix_end
from sampan.store.pb import rpc_pb2
from sampan.store.pb.rpc_pb2 import Compare, RequestOp

__all__ = [
    "Compare",
    "RequestOp",
    "SortBy",
    "Subject",
    "create_revision",
    "delete",
    "get",
    "is_read_only",
    "lease",
    "mod_revision",
    "put",
    "txn",
    "value",
    "version",
]

SortBy = Literal["key", "version", "create", "mod", "value"]

_TARGETS = {
    "key": rpc_pb2.RangeRequest.KEY,
    "version": rpc_pb2.RangeRequest.VERSION,
    "create": rpc_pb2.RangeRequest.CREATE,
    "mod": rpc_pb2.RangeRequest.MOD,
    "value": rpc_pb2.RangeRequest.VALUE,
}


def put(
    key: Key,
    value: Key = b"",
    *,
    lease: int = 0,
    prev_kv: bool = False,
    ignore_value: bool = False,
    ignore_lease: bool = False,
) -> RequestOp:
    """Set `key`. `lease` is a lease id; the `ignore_` flags keep what an existing key has."""
    request = rpc_pb2.PutRequest(
        key=key_bytes(key),
        value=key_bytes(value),
        lease=lease,
        prev_kv=prev_kv,
        ignore_value=ignore_value,
        ignore_lease=ignore_lease,
    )
    return RequestOp(request_put=request)


def get(
    key: Key,
    *,
    range_end: Key = b"",
    prefix: bool = False,
    limit: int = 0,
    sort_by: SortBy | None = None,
    descending: bool = False,
    revision: int = 0,
    keys_only: bool = False,
    count_only: bool = False,
    serializable: bool = False,
) -> RequestOp:
    """Read `key`, the range [key, range_end), or with `prefix` all keys that start with `key`.

    `limit` 0 is none, `revision` 0 is the current one. `serializable` is answered by one member
    from what it has, which may be old.
    """
    start, end = _bounds(key, range_end, prefix)
    request = rpc_pb2.RangeRequest(
        key=start,
        range_end=end,
        limit=limit,
        revision=revision,
        keys_only=keys_only,
        count_only=count_only,
        serializable=serializable,
    )
    if sort_by is not None or descending:
        order = rpc_pb2.RangeRequest.DESCEND if descending else rpc_pb2.RangeRequest.ASCEND
        request.sort_order = order
        request.sort_target = _TARGETS[sort_by or "key"]
    return RequestOp(request_range=request)


def delete(
    key: Key, *, range_end: Key = b"", prefix: bool = False, prev_kv: bool = False
) -> RequestOp:
    """Delete `key`, a range, or with `prefix` all keys that start with `key`."""
    start, end = _bounds(key, range_end, prefix)
    request = rpc_pb2.DeleteRangeRequest(key=start, range_end=end, prev_kv=prev_kv)
    return RequestOp(request_delete_range=request)


def txn(
    when: Iterable[Compare] = (),
    then: Iterable[RequestOp] = (),
    otherwise: Iterable[RequestOp] = (),
) -> RequestOp:
    """Run `then` if all conditions hold, else `otherwise`; as an operation of an outer one."""
    request = rpc_pb2.TxnRequest(compare=when, success=then, failure=otherwise)
    return RequestOp(request_txn=request)


def is_read_only(request: rpc_pb2.TxnRequest) -> bool:
    """True when neither branch can write, at any depth."""
    for op in (*request.success, *request.failure):
        kind = op.WhichOneof("request")
        if kind == "request_txn":
            if not is_read_only(op.request_txn):
                return False
        elif kind != "request_range":
            return False
    return True


def _bounds(key: Key, range_end: Key, prefix: bool) -> tuple[bytes, bytes]:
    if prefix:
        return key_bytes(key) or b"\0", prefix_end(key)
    return key_bytes(key), key_bytes(range_end)


class Subject:
    """One property of a key; comparing it with `==`, `!=`, `<` or `>` makes a condition."""

    __hash__ = None  # type: ignore[assignment]

    def __init__(self, name: str, key: Key, range_end: Key = b"") -> None:
        self._name = name
        self._key = key_bytes(key)
        self._range_end = key_bytes(range_end)

    def __eq__(self, other: Key | int) -> Compare:  # type: ignore[override]
        return self._compare(Compare.EQUAL, other)

    def __ne__(self, other: Key | int) -> Compare:  # type: ignore[override]
        return self._compare(Compare.NOT_EQUAL, other)

    def __gt__(self, other: Key | int) -> Compare:
        return self._compare(Compare.GREATER, other)

    def __lt__(self, other: Key | int) -> Compare:
        return self._compare(Compare.LESS, other)

    def _compare(self, result: Compare.CompareResult, other: Key | int) -> Compare:
        compare = Compare(result=result, key=self._key, range_end=self._range_end)
        if self._name == "value":
            if isinstance(other, int):
                raise TypeError("a value is compared with bytes or text")
            compare.target = Compare.VALUE
            compare.value = key_bytes(other)
            return compare
        if not isinstance(other, int):
            raise TypeError(f"{self._name} is compared with a number")
        self._set_number(compare, other)
        return compare

    def _set_number(self, compare: Compare, number: int) -> None:
        if self._name == "version":
            compare.target = Compare.VERSION
            compare.version = number
        elif self._name == "create_revision":
            compare.target = Compare.CREATE
            compare.create_revision = number
        elif self._name == "mod_revision":
            compare.target = Compare.MOD
            compare.mod_revision = number
        else:
            compare.target = Compare.LEASE
            compare.lease = number


def version(key: Key, range_end: Key = b"") -> Subject:
    """How often the key was put since it was created; 0 when it does not exist."""
    return Subject("version", key, range_end)


def create_revision(key: Key, range_end: Key = b"") -> Subject:
    """The revision that created the key; 0 when it does not exist."""
    return Subject("create_revision", key, range_end)


def mod_revision(key: Key, range_end: Key = b"") -> Subject:
    """The revision of the last put; 0 when the key does not exist."""
    return Subject("mod_revision", key, range_end)


def value(key: Key, range_end: Key = b"") -> Subject:
    """The key's value; no condition on the value of a missing key holds."""
    return Subject("value", key, range_end)


def lease(key: Key, range_end: Key = b"") -> Subject:
    """The id of the key's lease, 0 for none."""
    return Subject("lease", key, range_end)
