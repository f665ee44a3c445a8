"""Carrying out the operations of a history by the store's client, over the wire."""

from __future__ import annotations

from sampan.store.client import Client, Code, KeyValue, RpcError, ops
from sampan.store.client.calls import DEFAULT_TIMEOUT
from sampan.store.client.ops import Compare as WireCompare
from sampan.store.client.ops import RequestOp
from sampan.store.client.values import DeleteResult, OpResult, PutResult, RangeResult, TxnResult
from sampan.store.pb import rpc_pb2
from sampan.verify.core.request import (
    Branched,
    Compact,
    Compare,
    Delete,
    Deleted,
    Done,
    Grant,
    KeepAlive,
    Put,
    Range,
    Ranged,
    Record,
    Request,
    Result,
    Revoke,
    Txn,
    Wrote,
)

__all__ = ["op_of", "record_of", "refused", "result_of", "send"]

_SUBJECTS = {
    "value": ops.value,
    "version": ops.version,
    "create": ops.create_revision,
    "mod": ops.mod_revision,
    "lease": ops.lease,
}
# A verdict about the request itself, given before anything was done.
_REFUSALS = frozenset(
    {
        Code.INVALID_ARGUMENT,
        Code.NOT_FOUND,
        Code.ALREADY_EXISTS,
        Code.PERMISSION_DENIED,
        Code.FAILED_PRECONDITION,
        Code.OUT_OF_RANGE,
        Code.UNIMPLEMENTED,
        Code.UNAUTHENTICATED,
    }
)


def refused(error: RpcError) -> bool:
    """Say whether an error means that the operation surely had no effect."""
    # The channel's NotProcessedError, by its only name on this floor: the call never left.
    return error.code in _REFUSALS or type(error).__name__ == "NotProcessedError"


async def send(client: Client, request: Request) -> Result:
    """Do one operation and return the answer. Raises RpcError."""
    match request:
        case Grant(lease, ttl_s):
            await client.lease_grant(int(ttl_s), lease_id=lease)
            return Done(None)
        case KeepAlive(lease):
            return Done(None, float(await client.lease_keep_alive(lease)))
        case Revoke(lease):
            await client.lease_revoke(lease)
            return Done(None)
        case Compact(revision):
            return Done((await client.compact(revision)).revision)
    return result_of(await _call(client, op_of(request)))


async def _call(client: Client, op: RequestOp) -> OpResult:
    match op.WhichOneof("request"):
        case "request_put":
            reply = await client.call("/etcdserverpb.KV/Put", op.request_put, rpc_pb2.PutResponse)
            return PutResult.of(reply)
        case "request_range":
            path = "/etcdserverpb.KV/Range"
            found = await client.call(
                path, op.request_range, rpc_pb2.RangeResponse, repeatable=True
            )
            return RangeResult.of(found)
        case "request_delete_range":
            path = "/etcdserverpb.KV/DeleteRange"
            gone = await client.call(path, op.request_delete_range, rpc_pb2.DeleteRangeResponse)
            return DeleteResult.of(gone)
    return await client.run_txn(op.request_txn, timeout_s=DEFAULT_TIMEOUT)


def op_of(request: Request) -> RequestOp:
    """An operation on keys as the wire has it. Raises TypeError for any other."""
    match request:
        case Put(key, value, lease, prev_kv):
            return ops.put(key, value, lease=lease, prev_kv=prev_kv)
        case Range():
            return ops.get(
                request.key,
                range_end=request.range_end,
                revision=request.revision,
                limit=request.limit,
                serializable=request.serializable,
                keys_only=request.keys_only,
                count_only=request.count_only,
            )
        case Delete(key, range_end, prev_kv):
            return ops.delete(key, range_end=range_end, prev_kv=prev_kv)
        case Txn(compares, success, failure):
            return ops.txn(map(_compare, compares), map(op_of, success), map(op_of, failure))
    raise TypeError(f"{request} is no operation on keys")


def _compare(compare: Compare) -> WireCompare:
    subject = _SUBJECTS[compare.target](compare.key, compare.range_end)
    operand = compare.operand
    match compare.relation:
        case "=":
            return subject == operand
        case "!=":
            return subject != operand
        case "<":
            return subject < operand
    return subject > operand


def record_of(kv: KeyValue) -> Record:
    """The client's key-value as a record."""
    return Record(kv.key, kv.value, kv.create_revision, kv.mod_revision, kv.version, kv.lease)


def result_of(answer: OpResult) -> Result:
    """The client's answer as a history's result."""
    revision = answer.header.revision or None
    match answer:
        case PutResult():
            return Wrote(revision, record_of(answer.prev_kv) if answer.prev_kv else None)
        case RangeResult():
            return Ranged(revision, tuple(map(record_of, answer)), answer.count, answer.more)
        case DeleteResult():
            return Deleted(revision, answer.deleted, tuple(map(record_of, answer.prev_kvs)))
        case TxnResult():
            results = tuple(map(result_of, answer.responses))
            return Branched(revision, answer.succeeded, results)
