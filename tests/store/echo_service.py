"""A small real service behind the gateway's tests, with the store's own messages."""

from __future__ import annotations

import asyncio

from sampan.store.pb import rpc_pb2 as pb
from sampan.wire.grpc.service import MethodTable, StreamCall, StreamMethod, UnaryCall, UnaryMethod
from sampan.wire.grpc.status import Code, RpcError

__all__ = ["EchoService"]


class EchoService:
    """Answers a range with what was asked, and records what the calls looked like."""

    def __init__(self) -> None:
        self.metadata: list[tuple[str, str | bytes]] = []
        self.common_name: str | None = "unset"
        self.timeout_s: float | None = None
        self.ended = asyncio.Event()
        self.snapshot_chunks = 100
        self.snapshot_chunks_sent = 0

    def methods(self) -> MethodTable:
        return {
            "/etcdserverpb.KV/Range": UnaryMethod(self.range),
            "/etcdserverpb.KV/Put": UnaryMethod(self.put),
            "/etcdserverpb.KV/Compact": UnaryMethod(self.crash),
            "/etcdserverpb.KV/DeleteRange": UnaryMethod(self.never),
            "/etcdserverpb.Watch/Watch": StreamMethod(self.watch),
            "/etcdserverpb.Lease/LeaseKeepAlive": StreamMethod(self.keep_alive),
            "/etcdserverpb.Maintenance/Snapshot": StreamMethod(
                self.snapshot, client_streaming=False
            ),
        }

    def range(self, call: UnaryCall, body: bytes) -> None:
        self.metadata = list(call.metadata)
        self.common_name = call.peer.common_name
        self.timeout_s = call.timeout_s
        request = pb.RangeRequest.FromString(body)
        if not request.key:
            raise RpcError(Code.INVALID_ARGUMENT, "etcdserver: key is not provided")
        response = pb.RangeResponse(count=request.limit)
        response.header.revision = 2**62
        response.kvs.add(key=request.key, value=request.range_end, mod_revision=7)
        call.reply(response.SerializeToString())

    def put(self, call: UnaryCall, body: bytes) -> None:
        request = pb.PutRequest.FromString(body)
        code = Code(request.lease)
        loop = asyncio.get_running_loop()
        loop.call_soon(lambda: call.fail(code, request.value.decode()))

    def crash(self, call: UnaryCall, body: bytes) -> None:
        raise ZeroDivisionError("oops")

    def never(self, call: UnaryCall, body: bytes) -> None:
        call.on_done(self.ended.set)

    async def watch(self, call: StreamCall) -> None:
        try:
            async for body in call:
                request = pb.WatchRequest.FromString(body)
                if request.HasField("cancel_request"):
                    raise RpcError(Code.UNAVAILABLE, "etcdserver: no leader")
                response = pb.WatchResponse(watch_id=request.create_request.watch_id, created=True)
                call.send(response.SerializeToString())
        finally:
            self.ended.set()

    async def keep_alive(self, call: StreamCall) -> None:
        async for body in call:
            request = pb.LeaseKeepAliveRequest.FromString(body)
            if request.ID < 0:
                raise RpcError(Code.NOT_FOUND, "etcdserver: requested lease not found")
            call.send(pb.LeaseKeepAliveResponse(ID=request.ID, TTL=5).SerializeToString())

    async def snapshot(self, call: StreamCall) -> None:
        try:
            for i in range(self.snapshot_chunks):
                response = pb.SnapshotResponse(remaining_bytes=i, blob=bytes(32768))
                call.send(response.SerializeToString())
                self.snapshot_chunks_sent += 1
                await call.drain()
        finally:
            self.ended.set()
