"""The KV service: Range, RangeStream, Put, DeleteRange, Txn, Compact."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from sampan.store.api.service import ENTRY_BYTES, Context, parse
from sampan.store.core import encode, entry, query, requests, txn
from sampan.store.core.decode import plain_put, point_get
from sampan.store.core.entry import Kind
from sampan.store.pb import rpc_pb2 as pb
from sampan.wire.grpc.service import MethodTable, StreamCall, StreamMethod, UnaryCall, UnaryMethod
from sampan.wire.grpc.status import Code, RpcError

if TYPE_CHECKING:
    from sampan.store.core.identity import Identity

__all__ = ["methods"]

_FIRST_CHUNK_KEYS = 10
_CHUNK_BYTES = 1 << 20
_PUT_HEAD = entry.encode(Kind.PUT, b"")
_COUNT_ONE = b" \x01"  # RangeResponse.count


class _Kv:
    """The handlers; each checks, then proposes or reads."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._state = context.state
        self._log = context.log
        self._max_ops = context.config.max_txn_ops
        self._max_bytes = context.config.max_request_bytes - ENTRY_BYTES
        self._may_grow = context.may_grow

    def range(self, call: UnaryCall, body: bytes) -> None:
        key = point_get(body)
        if key is not None:
            self._log.read_barrier(lambda: self._get(call, key), _failing(call))
            return
        request = parse(pb.RangeRequest, body)
        requests.check_range(request)
        if request.serializable:
            self._read(call, request)
        else:
            self._log.read_barrier(lambda: self._answer(call, request), _failing(call))

    def _get(self, call: UnaryCall, key: bytes) -> None:
        """Answer a linearizable read of one key as it is now."""
        state = self._state
        if state.auth.enabled:
            self._answer(call, pb.RangeRequest(key=key))
            return
        record = state.mvcc.index.live.get(key)
        head = state.header_field()
        call.reply(head if record is None else head + record[0] + _COUNT_ONE)

    def _answer(self, call: UnaryCall, request: pb.RangeRequest) -> None:
        try:
            self._read(call, request)
        except RpcError as error:
            call.fail(error.code, error.message)

    def _read(self, call: UnaryCall, request: pb.RangeRequest) -> None:
        state = self._state
        if state.auth.enabled:
            identity = self._context.authorize(call)
            state.access.check_range(identity, request.key, request.range_end)
        call.reply(query.answer(state.mvcc, request, state.header_field()))

    async def range_stream(self, call: StreamCall) -> None:
        body = await call.receive()
        if body is None:
            raise RpcError(Code.INTERNAL, "no request message")
        request = parse(pb.RangeRequest, body)
        requests.check_range(request)
        if request.sort_order != request.NONE and not (
            request.sort_order == request.ASCEND and request.sort_target == request.KEY
        ):
            message = "etcdserver: RangeStream does not support custom sort orders"
            raise RpcError(Code.UNIMPLEMENTED, message)
        state = self._state
        if not request.serializable:
            await self._context.read_barrier()
        if state.auth.enabled:
            identity = self._context.authorize(call)
            state.access.check_range(identity, request.key, request.range_end)
        # The answer is fixed here, at one revision; the chunks only carry it out.
        framed, more, count = query.select(state.mvcc, request)
        head = state.header_field()
        start, keys = 0, _FIRST_CHUNK_KEYS
        while start + keys < len(framed):
            chunk = b"".join(framed[start : start + keys])
            call.send(_stream_message(chunk))
            await call.drain()
            start += keys
            keys = keys * 2 if len(chunk) < _CHUNK_BYTES // 2 else max(1, keys // 2)
        call.send(_stream_message(encode.range_response(head, framed[start:], more, count)))

    def put(self, call: UnaryCall, body: bytes) -> None:
        self._may_grow(len(body))
        plain = plain_put(body)
        if plain is not None and len(body) <= self._max_bytes and not self._state.auth.enabled:
            # It is complete: there is nothing left to check.
            self._log.propose(_PUT_HEAD + body, (call, *plain))
            return
        request = parse(pb.PutRequest, body)
        requests.check_put(request)
        self._propose(Kind.PUT, body, call, request)

    def delete_range(self, call: UnaryCall, body: bytes) -> None:
        request = parse(pb.DeleteRangeRequest, body)
        requests.check_delete(request)
        self._propose(Kind.DELETE_RANGE, body, call, request)

    def txn(self, call: UnaryCall, body: bytes) -> None:
        request = parse(pb.TxnRequest, body)
        requests.check_txn(request, self._max_ops)
        if requests.is_read_only(request):
            self._log.read_barrier(lambda: self._read_txn(call, request), _failing(call))
            return
        if requests.has_put(request):
            self._may_grow(len(body))
        self._propose(Kind.TXN, body, call, request)

    def _read_txn(self, call: UnaryCall, request: pb.TxnRequest) -> None:
        state = self._state
        try:
            if state.auth.enabled:
                identity = self._context.authorize(call)
                state.access.check_txn(identity, request)
            response = txn.run(state.mvcc, state.lessor, request)
        except RpcError as error:
            call.fail(error.code, error.message)
            return
        response.header.MergeFromString(state.header_bytes())
        call.reply(response.SerializeToString())

    async def compact(self, call: UnaryCall, body: bytes) -> bytes:
        request = parse(pb.CompactionRequest, body)
        identity = self._context.authorize(call)
        self._state.access.check_admin(identity)
        response = await self._context.execute(Kind.COMPACT, body, identity)
        if request.physical:
            await self._context.compacted(request.revision)
        return response

    def _propose(
        self,
        kind: Kind,
        body: bytes,
        call: UnaryCall,
        request: pb.PutRequest | pb.DeleteRangeRequest | pb.TxnRequest,
    ) -> None:
        identity: Identity | None = None
        if self._state.auth.enabled:
            identity = self._context.authorize(call)
        self._context.propose(kind, body, call, request, identity)


def _failing(call: UnaryCall) -> Callable[[RpcError], None]:
    """Return what ends a call whose read cannot be made linearizable."""
    return lambda error: call.fail(error.code, error.message, error.metadata)


def _stream_message(range_response: bytes) -> bytes:
    return b"\n" + encode.varint(len(range_response)) + range_response


def methods(context: Context) -> MethodTable:
    """Return the service's methods by full name."""
    kv = _Kv(context)
    return {
        "/etcdserverpb.KV/Range": UnaryMethod(kv.range),
        "/etcdserverpb.KV/RangeStream": StreamMethod(kv.range_stream, client_streaming=False),
        "/etcdserverpb.KV/Put": UnaryMethod(kv.put),
        "/etcdserverpb.KV/DeleteRange": UnaryMethod(kv.delete_range),
        "/etcdserverpb.KV/Txn": UnaryMethod(kv.txn),
        "/etcdserverpb.KV/Compact": context.unary(kv.compact),
    }
