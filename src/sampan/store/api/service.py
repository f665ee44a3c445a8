"""What every gRPC service of the store works with: the state, the log, and who is calling."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from google.protobuf.message import DecodeError, Message

from sampan.raft import ConfChange
from sampan.store.api.neighbours import Alone, Neighbours
from sampan.store.core import entry, errors, query
from sampan.store.core.apply import REQUESTS, Responder, StateMachine
from sampan.store.core.entry import Kind
from sampan.store.core.log import Log
from sampan.store.pb import rpc_pb2 as pb
from sampan.store.shell.outcome import Outcome, barrier
from sampan.wire.grpc.service import ServerCall, UnaryCall, UnaryMethod
from sampan.wire.grpc.status import Code, RpcError

if TYPE_CHECKING:
    from sampan.store.core.identity import Identity
    from sampan.store.core.watch import WatchHub
    from sampan.store.shell.auth_tokens import Authenticator
    from sampan.store.shell.config import EtcdConfig

__all__ = ["ENTRY_BYTES", "Context", "parse"]

_M = TypeVar("_M", bound=Message)
# etcd holds the limit against the entry of its log: the request, its kind, its length and a
# header with the request's ID.
ENTRY_BYTES = 19


def parse(message_type: type[_M], body: bytes) -> _M:
    """Decode a request. Raises RpcError(INTERNAL) as gRPC servers word it."""
    try:
        return message_type.FromString(body)
    except DecodeError as error:
        message = f"grpc: error unmarshalling request: {error}"
        raise RpcError(Code.INTERNAL, message) from None


@dataclass(slots=True)
class Context:
    """The node as the services see it.

    `compacted(revision)` waits until a compaction's space is freed; `may_grow(size_bytes)` raises
    NO_SPACE when the quota is used up; snapshots and defragmentation are the `storage`'s.
    """

    config: EtcdConfig
    state: StateMachine
    log: Log
    hub: WatchHub
    authenticator: Authenticator
    clock: Callable[[], float]
    may_grow: Callable[[int], None]
    compacted: Callable[[int], Awaitable[None]]
    storage: Any
    neighbours: Neighbours = field(default_factory=Alone)
    random: random.Random = field(default_factory=random.SystemRandom)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def backend(self) -> Any:
        """The key-value store behind the state machine."""
        return self.state.backend

    @property
    def members(self) -> Any:
        """The cluster's membership."""
        return self.state.cluster

    def header(self) -> pb.ResponseHeader:
        """Return the ResponseHeader of now."""
        return self.state.header()

    def header_bytes(self) -> bytes:
        """Return the serialized ResponseHeader of now."""
        return self.state.header_bytes()

    def authorize(self, call: ServerCall) -> Identity | None:
        """Return who calls, None while auth is disabled. Raises RpcError for a bad token."""
        if not self.state.auth.enabled:
            return None
        return self.authenticator.identify(call)

    # ---- writing

    def propose(
        self,
        kind: Kind,
        body: bytes,
        responder: Responder,
        request: Any = None,
        identity: Identity | None = None,
    ) -> None:
        """Put a request into the log; `responder` is answered once it is applied.

        `request` is the decoded `body`, if the caller has it. Raises REQUEST_TOO_LARGE.
        """
        if len(body) + ENTRY_BYTES > self.config.max_request_bytes:
            raise errors.REQUEST_TOO_LARGE()
        if request is None and kind in REQUESTS:
            request = REQUESTS[kind].FromString(body)
        if identity is None:
            context = (responder, kind, request, "", 0)
            self.log.propose(entry.encode(kind, body), context)
            return
        user, auth_rev = identity.user, identity.revision
        data = entry.encode(kind, body, user, auth_rev)
        self.log.propose(data, (responder, kind, request, user, auth_rev))

    async def execute(self, kind: Kind, body: bytes, identity: Identity | None = None) -> bytes:
        """Put a request into the log and return its serialized response. Raises RpcError."""
        outcome = Outcome()
        self.propose(kind, body, outcome, identity=identity)
        return await outcome.future

    async def change_membership(self, change: ConfChange, kind: Kind, body: bytes) -> bytes:
        """Change who the members are and return the serialized response. Raises RpcError."""
        outcome = Outcome()
        self.log.propose_membership(change, entry.encode(kind, body), (outcome, kind, None, "", 0))
        return await outcome.future

    # ---- reading

    def read(self, request: pb.RangeRequest) -> bytes:
        """Return the serialized RangeResponse from local state."""
        return query.answer(self.state.mvcc, request, self.state.header_field())

    async def read_barrier(self) -> None:
        """Wait until everything acknowledged before is applied here."""
        await barrier(self.log)

    # ---- coroutines

    def unary(self, handler: Callable[[UnaryCall, bytes], Awaitable[bytes]]) -> UnaryMethod:
        """Make a unary method of a coroutine that returns the serialized response."""

        async def answer(call: UnaryCall, body: bytes) -> None:
            try:
                call.reply(await handler(call, body))
            except RpcError as error:
                call.fail(error.code, error.message, error.metadata)
            except Exception:
                call.fail(Code.INTERNAL, "internal error")
                raise

        def start(call: UnaryCall, body: bytes) -> None:
            task = self.spawn(answer(call, body))

            def cancel() -> None:
                task.cancel()

            call.on_done(cancel)

        return UnaryMethod(start)

    def spawn(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run a coroutine until it ends or the node stops."""
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            loop = asyncio.get_running_loop()
            loop.call_exception_handler({"message": "a service task failed", "exception": error})

    async def stop(self) -> None:
        """Cancel what is still running and wait for it."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
