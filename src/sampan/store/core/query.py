"""Range requests: what of a range is asked for, in which order, and how the answer is written."""

from __future__ import annotations

from collections.abc import Callable

from sampan.store.core import encode
from sampan.store.core.keyindex import Record
from sampan.store.core.mvcc import Mvcc
from sampan.store.pb.kv_pb2 import KeyValue
from sampan.store.pb.rpc_pb2 import RangeRequest

__all__ = ["Selection", "answer", "select"]

Selection = tuple[list[bytes], bool, int]
"""framed key-values in the order asked for, whether there are more, count of the whole range."""


def answer(mvcc: Mvcc, request: RangeRequest, head: bytes) -> bytes:
    """Return the serialized RangeResponse to `request`; `head` is its header as field 1.

    Raises FUTURE_REV or COMPACTED.
    """
    framed, more, count = select(mvcc, request)
    return encode.range_response(head, framed, more, count)


def select(mvcc: Mvcc, request: RangeRequest) -> Selection:
    """Find what `request` asks for. Raises FUTURE_REV or COMPACTED."""
    key, range_end, revision = request.key, request.range_end, request.revision
    if request.count_only:
        return [], False, mvcc.count(key, range_end, revision)
    limit = max(request.limit, 0)
    filtered = bool(
        request.min_mod_revision
        or request.max_mod_revision
        or request.min_create_revision
        or request.max_create_revision
    )
    # Filters and an explicit order need the whole range before the limit can cut it. As in etcd a
    # target without an order does not: it sorts the first keys, one more than the limit.
    whole = filtered or request.sort_order != RangeRequest.NONE or not limit
    records, count = mvcc.records(key, range_end, revision, 0 if whole else limit + 1)
    more = False
    if filtered:
        records = [record for record in records if _passes(record, request)]
    if len(records) > 1:
        records = _in_order(records, request)
    if limit and len(records) > limit:
        records, more = records[:limit], True
    if request.keys_only:
        return [_without_value(record) for record in records], more, count
    return [record[0] for record in records], more, count


def _passes(record: Record, request: RangeRequest) -> bool:
    create, mod = record[1], record[2]
    if request.max_mod_revision and mod > request.max_mod_revision:
        return False
    if request.min_mod_revision and mod < request.min_mod_revision:
        return False
    if request.max_create_revision and create > request.max_create_revision:
        return False
    return not request.min_create_revision or create >= request.min_create_revision


def _key(record: Record) -> bytes:
    return KeyValue.FromString(encode.unframe(record[0])).key


def _value(record: Record) -> bytes:
    return KeyValue.FromString(encode.unframe(record[0])).value


def _create(record: Record) -> int:
    return record[1]


def _mod(record: Record) -> int:
    return record[2]


def _version(record: Record) -> int:
    return record[4]


_SORT_KEYS: dict[int, Callable[[Record], bytes] | Callable[[Record], int]] = {
    RangeRequest.KEY: _key,
    RangeRequest.VERSION: _version,
    RangeRequest.CREATE: _create,
    RangeRequest.MOD: _mod,
    RangeRequest.VALUE: _value,
}


def _in_order(records: list[Record], request: RangeRequest) -> list[Record]:
    """Sort by the target; records come in key order, so ascending by key is no work."""
    order, target = request.sort_order, request.sort_target
    if target == RangeRequest.KEY:
        return records[::-1] if order == RangeRequest.DESCEND else records
    # A target other than the key without an order means ascending.
    sort_key: Callable[[Record], object] = _SORT_KEYS[target]
    return sorted(records, key=sort_key, reverse=order == RangeRequest.DESCEND)  # type: ignore[arg-type]


def _without_value(record: Record) -> bytes:
    kv = KeyValue.FromString(encode.unframe(record[0]))
    kv.ClearField("value")
    return encode.frame(kv.SerializeToString())
