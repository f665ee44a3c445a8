"""What stands before the services of a member among several: who may not pass now, and who waits.

- While nobody leads, calls with metadata `hasleader: true` (clientv3's WithRequireLeader) fail, and
  after three election time-outs so do the streams that were opened with it.
- A learner serves its status, serializable reads and snapshots, nothing else.
- A simple auth token names the log entry that made it: a member that has not applied that one yet
  waits for it before it says that it does not know the token.

When nothing stands in the way, calls go to the services directly: the table that is served then
holds their own methods.

Source: etcd's server/etcdserver/api/v3rpc/interceptor.go and auth/simple_token.go, release 3.6.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from sampan.store.api.service import Context, parse
from sampan.store.core import errors
from sampan.store.pb import rpc_pb2 as pb
from sampan.store.shell.auth_tokens import token_of
from sampan.wire.grpc.service import (
    MethodTable,
    ServerCall,
    StreamCall,
    StreamMethod,
    UnaryCall,
    UnaryMethod,
)
from sampan.wire.grpc.status import RpcError

__all__ = ["Gate"]

PATIENCE: Final = 3
"""Streams that need a leader are ended after this many election time-outs without one."""

_STATUS: Final = "/etcdserverpb.Maintenance/Status"
_RANGE: Final = "/etcdserverpb.KV/Range"
_SNAPSHOT: Final = "/etcdserverpb.Maintenance/Snapshot"


class Gate:
    """Keeps the tables of methods that it has given out as the member's standing asks for."""

    def __init__(self, context: Context, services: MethodTable) -> None:
        self._context = context
        self._open: dict[str, UnaryMethod | StreamMethod] = {}
        self._guarded: dict[str, UnaryMethod | StreamMethod] = {}
        for path, method in services.items():
            guarded = self._guard(path, method)
            self._guarded[path] = guarded
            # A stream is looked at once: that costs nothing to speak of.
            self._open[path] = method if isinstance(method, UnaryMethod) else guarded
        self._tables: list[dict[str, UnaryMethod | StreamMethod]] = []
        self._closed = False
        self._need_leader: set[StreamCall] = set()
        self._patience: asyncio.TimerHandle | None = None

    def table(self) -> dict[str, UnaryMethod | StreamMethod]:
        """Return the methods to serve; the dict changes with the member's standing."""
        table = dict(self._guarded if self._closed else self._open)
        self._tables.append(table)
        return table

    def look(self) -> None:
        """Look at the member's standing, which has changed."""
        led = bool(self._context.log.leader)
        closed = not led or self._is_learner or self._tokens_may_be_ahead
        if closed != self._closed:
            self._closed = closed
            for table in self._tables:
                table.update(self._guarded if closed else self._open)
        if led:
            self.stop()
        elif self._patience is None:
            patience_s = PATIENCE * self._context.config.election_timeout_ms / 1000
            loop = asyncio.get_running_loop()
            self._patience = loop.call_later(patience_s, self._end_streams)

    def stop(self) -> None:
        """Cancel the timer."""
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    def _end_streams(self) -> None:
        self._patience = None
        error = errors.NO_LEADER()
        for call in list(self._need_leader):
            call.fail(error.code, error.message)

    @property
    def _is_learner(self) -> bool:
        return bool(self._context.members.me.is_learner)

    @property
    def _tokens_may_be_ahead(self) -> bool:
        return self._context.state.auth.enabled and not self._context.members.alone

    # ---- one method

    def _guard(self, path: str, method: UnaryMethod | StreamMethod) -> UnaryMethod | StreamMethod:
        if isinstance(method, UnaryMethod):
            return UnaryMethod(self._guard_unary(path, method.handler))
        stream = self._guard_stream(path, method.handler)
        return StreamMethod(stream, method.client_streaming, method.server_streaming)

    def _guard_unary(
        self, path: str, handler: Callable[[UnaryCall, bytes], None]
    ) -> Callable[[UnaryCall, bytes], None]:
        def guarded(call: UnaryCall, body: bytes) -> None:
            self._check_leader(call)
            if self._is_learner and not _for_learners(path, body):
                raise errors.NOT_SUPPORTED_FOR_LEARNER()
            if self._is_ahead(call):
                self._context.spawn(later(call, body))
                return
            handler(call, body)

        async def later(call: UnaryCall, body: bytes) -> None:
            try:
                await self._context.read_barrier()
                handler(call, body)
            except RpcError as error:
                call.fail(error.code, error.message, error.metadata)

        return guarded

    def _guard_stream(
        self, path: str, handler: Callable[[StreamCall], Awaitable[None]]
    ) -> Callable[[StreamCall], Awaitable[None]]:
        async def guarded(call: StreamCall) -> None:
            if self._is_learner and path != _SNAPSHOT:
                raise errors.NOT_SUPPORTED_FOR_LEARNER()
            needs_leader = self._check_leader(call)
            if self._is_ahead(call):
                await self._context.read_barrier()
            if not needs_leader:
                await handler(call)
                return
            self._need_leader.add(call)
            try:
                await handler(call)
            finally:
                self._need_leader.discard(call)

        return guarded

    def _check_leader(self, call: ServerCall) -> bool:
        """Say whether a call needs a leader. Raises NO_LEADER if it does and there is none."""
        needs_leader = any(
            name == "hasleader" and value in ("true", b"true") for name, value in call.metadata
        )
        if needs_leader and not self._context.log.leader:
            raise errors.NO_LEADER()
        return needs_leader

    def _is_ahead(self, call: ServerCall) -> bool:
        """Tell whether a call's token was made by an entry that is not applied here yet."""
        if not self._tokens_may_be_ahead:
            return False
        index = (token_of(call.metadata) or "").rpartition(".")[2]
        return index.isdecimal() and int(index[:19]) > self._context.state.applied_index


def _for_learners(path: str, body: bytes) -> bool:
    if path == _RANGE:
        return bool(parse(pb.RangeRequest, body).serializable)
    return path == _STATUS
