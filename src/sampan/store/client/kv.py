"""Reading and writing keys."""

from __future__ import annotations

from collections.abc import Iterable

from sampan.store.client import ops
from sampan.store.client.calls import DEFAULT_TIMEOUT, Calls
from sampan.store.client.keys import Key
from sampan.store.client.ops import Compare, RequestOp, SortBy, Subject
from sampan.store.client.values import (
    DeleteResult,
    Header,
    KeyValue,
    PutResult,
    RangeResult,
    TxnResult,
)
from sampan.store.pb import rpc_pb2

__all__ = ["Kv", "Txn"]


class Txn:
    """A transaction being put together: `when` all conditions hold `then`, else `otherwise`."""

    def __init__(self, kv: Kv) -> None:
        self._kv = kv
        self._request = rpc_pb2.TxnRequest()

    def when(self, *conditions: Compare) -> Txn:
        """Add conditions; all of them must hold."""
        self._request.compare.extend(conditions)
        return self

    def then(self, *operations: RequestOp) -> Txn:
        """Add operations for the case that all conditions hold."""
        self._request.success.extend(operations)
        return self

    def otherwise(self, *operations: RequestOp) -> Txn:
        """Add operations for the case that a condition does not hold."""
        self._request.failure.extend(operations)
        return self

    async def commit(self, *, timeout_s: float | None = DEFAULT_TIMEOUT) -> TxnResult:
        """Run it, all or nothing, at one revision."""
        return await self._kv.run_txn(self._request, timeout_s=timeout_s)


class Kv(Calls):
    """The key-value service."""

    async def get(
        self,
        key: Key,
        *,
        revision: int = 0,
        serializable: bool = False,
        timeout_s: float | None = DEFAULT_TIMEOUT,
    ) -> KeyValue | None:
        """Return the key as of `revision` (0: now), None when it does not exist there."""
        op = ops.get(key, revision=revision, serializable=serializable)
        result = await self._range(op, timeout_s)
        return result.kvs[0] if result.kvs else None

    async def get_prefix(
        self,
        prefix: Key,
        *,
        limit: int = 0,
        sort_by: SortBy | None = None,
        descending: bool = False,
        revision: int = 0,
        keys_only: bool = False,
        count_only: bool = False,
        serializable: bool = False,
        timeout_s: float | None = DEFAULT_TIMEOUT,
    ) -> RangeResult:
        """Return all keys that start with `prefix`; an empty prefix is the whole store."""
        op = ops.get(
            prefix,
            prefix=True,
            limit=limit,
            sort_by=sort_by,
            descending=descending,
            revision=revision,
            keys_only=keys_only,
            count_only=count_only,
            serializable=serializable,
        )
        return await self._range(op, timeout_s)

    async def range(
        self,
        key: Key,
        range_end: Key = b"",
        *,
        limit: int = 0,
        sort_by: SortBy | None = None,
        descending: bool = False,
        revision: int = 0,
        keys_only: bool = False,
        count_only: bool = False,
        serializable: bool = False,
        timeout_s: float | None = DEFAULT_TIMEOUT,
    ) -> RangeResult:
        """Return the keys in [key, range_end); without `range_end` the one key."""
        op = ops.get(
            key,
            range_end=range_end,
            limit=limit,
            sort_by=sort_by,
            descending=descending,
            revision=revision,
            keys_only=keys_only,
            count_only=count_only,
            serializable=serializable,
        )
        return await self._range(op, timeout_s)

    async def put(
        self,
        key: Key,
        value: Key = b"",
        *,
        lease: int = 0,
        prev_kv: bool = False,
        ignore_value: bool = False,
        ignore_lease: bool = False,
        timeout_s: float | None = DEFAULT_TIMEOUT,
    ) -> PutResult:
        """Set `key`. `lease` is a lease id; `prev_kv` returns what was there before."""
        op = ops.put(
            key,
            value,
            lease=lease,
            prev_kv=prev_kv,
            ignore_value=ignore_value,
            ignore_lease=ignore_lease,
        )
        response = await self.call(
            "/etcdserverpb.KV/Put", op.request_put, rpc_pb2.PutResponse, timeout_s=timeout_s
        )
        return PutResult.of(response)

    async def delete(
        self,
        key: Key,
        *,
        range_end: Key = b"",
        prefix: bool = False,
        prev_kv: bool = False,
        timeout_s: float | None = DEFAULT_TIMEOUT,
    ) -> DeleteResult:
        """Delete `key`, [key, range_end), or with `prefix` all keys that start with `key`."""
        op = ops.delete(key, range_end=range_end, prefix=prefix, prev_kv=prev_kv)
        response = await self.call(
            "/etcdserverpb.KV/DeleteRange",
            op.request_delete_range,
            rpc_pb2.DeleteRangeResponse,
            timeout_s=timeout_s,
        )
        return DeleteResult.of(response)

    def txn(self) -> Txn:
        """Start a transaction: `client.txn().when(...).then(...).otherwise(...).commit()`."""
        return Txn(self)

    async def transact(
        self,
        when: Iterable[Compare] = (),
        then: Iterable[RequestOp] = (),
        otherwise: Iterable[RequestOp] = (),
        *,
        timeout_s: float | None = DEFAULT_TIMEOUT,
    ) -> TxnResult:
        """Run a transaction given as three lists."""
        request = ops.txn(when, then, otherwise).request_txn
        return await self.run_txn(request, timeout_s=timeout_s)

    async def run_txn(
        self, request: rpc_pb2.TxnRequest, *, timeout_s: float | None = DEFAULT_TIMEOUT
    ) -> TxnResult:
        """Run a transaction given as the protocol's message."""
        response = await self.call(
            "/etcdserverpb.KV/Txn",
            request,
            rpc_pb2.TxnResponse,
            repeatable=ops.is_read_only(request),
            timeout_s=timeout_s,
        )
        return TxnResult.of(response)

    async def compact(
        self, revision: int, *, physical: bool = False, timeout_s: float | None = DEFAULT_TIMEOUT
    ) -> Header:
        """Throw away the history below `revision`; `physical` waits until it is gone from disk."""
        request = rpc_pb2.CompactionRequest(revision=revision, physical=physical)
        path = "/etcdserverpb.KV/Compact"
        reply = await self.call(path, request, rpc_pb2.CompactionResponse, timeout_s=timeout_s)
        return Header.of(reply.header)

    @staticmethod
    def version(key: Key) -> Subject:
        """For a condition on how often the key was put; 0 when it does not exist."""
        return ops.version(key)

    @staticmethod
    def value(key: Key) -> Subject:
        """For a condition on the key's value."""
        return ops.value(key)

    @staticmethod
    def create_revision(key: Key) -> Subject:
        """For a condition on the revision that created the key."""
        return ops.create_revision(key)

    @staticmethod
    def mod_revision(key: Key) -> Subject:
        """For a condition on the revision of the key's last put."""
        return ops.mod_revision(key)

    async def _range(self, op: RequestOp, timeout_s: float | None) -> RangeResult:
        response = await self.call(
            "/etcdserverpb.KV/Range",
            op.request_range,
            rpc_pb2.RangeResponse,
            repeatable=True,
            timeout_s=timeout_s,
        )
        return RangeResult.of(response)
