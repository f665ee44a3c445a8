"""Contests over a name: what elections and locks have in common.

Everybody who wants `name` puts the key `name/<lease ID in hex>` with that lease. The key with the
lowest create revision has won; everybody else waits for the next lower key to go away, so that a
resignation wakes one waiter and not all of them. A key goes with its lease, so an owner that is
gone loses what it had when its lease runs out.

Winning is no mutual exclusion by itself. A winner that is paused for longer than its lease lives
does not know that somebody else has won since. What it writes elsewhere has to carry the create
revision of its key, its *fencing token*, and whoever takes the write has to refuse a token lower
than the highest one seen. Inside this store a transaction does the same by comparing the create
revision of the key.

Source: the v3 API's election and lock services (etcd's concurrency recipes).
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

from sampan.store.api.lease import new_lease_id
from sampan.store.api.service import Context
from sampan.store.api.watch import Rights
from sampan.store.core import requests
from sampan.store.core.entry import Kind
from sampan.store.core.ranges import prefix_end
from sampan.store.core.watch_stream import WatchStream
from sampan.store.pb import rpc_pb2 as pb
from sampan.store.pb.kv_pb2 import KeyValue
from sampan.store.shell.outcome import Unheard
from sampan.wire.grpc.service import ServerCall
from sampan.wire.grpc.status import Code, RpcError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["Contest", "Inbox", "as_client_error", "failure", "if_created_at"]

SESSION_TTL_S: Final = 60
"""The lease of somebody who came without one."""

_INBOX_RESPONSES = 64


def failure(message: str) -> RpcError:
    """Return the error of a contest's own rules, as etcd sends it."""
    return RpcError(Code.UNKNOWN, message)


@contextmanager
def as_client_error() -> Iterator[None]:
    """Turn the errors of requests made inside into what etcd sends: the message, code UNKNOWN.

    There the service is a client of its own server, and the codes are lost on the way.
    """
    try:
        yield
    except RpcError as error:
        raise RpcError(Code.UNKNOWN, error.message) from error


def if_created_at(key: bytes, create_rev: int) -> pb.TxnRequest:
    """Return a transaction, still without operations, on `key` having this create revision."""
    request = pb.TxnRequest()
    compare = request.compare.add(target=pb.Compare.CREATE, key=key)
    compare.create_revision = create_rev
    return request


class Inbox:
    """A watch stream inside the server, read by a coroutine."""

    def __init__(self, context: Context, rights: Rights) -> None:
        self._hub = context.hub
        self._messages: deque[bytes] = deque()
        self._arrived = asyncio.Event()
        self._stream = WatchStream(context.hub, self, rights)

    def watch(self, key: bytes, range_end: bytes = b"", start_rev: int = 0) -> None:
        """Watch a range from a revision on, 0 for from now on."""
        self._stream.create(
            pb.WatchCreateRequest(key=key, range_end=range_end, start_revision=start_rev)
        )

    def offer(self, messages: Sequence[bytes]) -> bool:
        """Take messages, unless too many are unread."""
        if not self.has_room:
            return False
        for message in messages:
            self.send(message)
        return True

    def send(self, message: bytes) -> None:
        """Take a message."""
        self._messages.append(message)
        self._arrived.set()

    @property
    def has_room(self) -> bool:
        """Whether few enough are unread."""
        return len(self._messages) < _INBOX_RESPONSES

    async def next(self) -> pb.WatchResponse:
        """Wait for the next response."""
        while not self._messages:
            self._arrived.clear()
            await self._arrived.wait()
        was_full = not self.has_room
        message = self._messages.popleft()
        if was_full:
            self._hub.wake()
        return pb.WatchResponse.FromString(message)

    def close(self) -> None:
        """End the watches."""
        self._stream.close()


class Contest:
    """One contest, entered on behalf of a caller with the caller's permissions."""

    def __init__(self, context: Context, call: ServerCall, name: bytes) -> None:
        self.prefix = name + b"/"
        self._context = context
        self._call = call
        self._end = prefix_end(self.prefix)

    def key(self, lease_id: int) -> bytes:
        """Return the key of a lease in this contest."""
        return self.prefix + f"{lease_id:x}".encode()

    async def session(self, lease_id: int) -> int:
        """Return the lease to enter with: the caller's, or a new one of 60 s for ID 0."""
        if lease_id:
            return lease_id
        identity = self._context.authorize(self._call)
        self._context.state.access.check_authenticated(identity)
        grant = pb.LeaseGrantRequest(ID=new_lease_id(self._context), TTL=SESSION_TTL_S)
        await self._context.execute(Kind.LEASE_GRANT, grant.SerializeToString(), identity)
        return grant.ID

    async def transact(self, request: pb.TxnRequest) -> pb.TxnResponse:
        """Run a transaction as the caller. Raises RpcError."""
        identity = self._context.authorize(self._call)
        body = request.SerializeToString()
        if requests.has_put(request):
            self._context.may_grow(len(body))
        return pb.TxnResponse.FromString(await self._context.execute(Kind.TXN, body, identity))

    async def enter(self, lease_id: int, value: bytes) -> tuple[pb.TxnResponse, KeyValue]:
        """Put the lease's key unless it is there; return the response and the key's record."""
        key = self.key(lease_id)
        request = if_created_at(key, 0)
        request.success.add().request_put.CopyFrom(
            pb.PutRequest(key=key, value=value, lease=lease_id)
        )
        request.failure.add().request_range.CopyFrom(pb.RangeRequest(key=key))
        response = await self.transact(request)
        if not response.succeeded:
            return response, response.responses[0].response_range.kvs[0]
        revision = response.header.revision
        return response, KeyValue(
            key=key, value=value, lease=lease_id, create_revision=revision, mod_revision=revision
        )

    async def wait_turn(self, entry: KeyValue) -> bool:
        """Wait until no key with a lower create revision is left; return whether there was one.

        A caller that goes away while it waits leaves the contest.
        """
        waited = False
        try:
            while (before := self._before(entry.create_revision)) is not None:
                waited = True
                await self._deleted(before)
        except asyncio.CancelledError:
            if self._call.done:
                self.withdraw(entry)
            raise
        except RpcError:
            self.withdraw(entry)
            raise
        return waited

    def withdraw(self, entry: KeyValue) -> None:
        """Have the entry deleted without waiting for it."""
        request = if_created_at(entry.key, entry.create_revision)
        request.success.add().request_delete_range.key = entry.key
        with suppress(RpcError):
            identity = self._context.authorize(self._call)
            self._context.propose(
                Kind.TXN, request.SerializeToString(), Unheard(), request, identity
            )

    def leader(self) -> pb.RangeResponse:
        """Return the record with the lowest create revision, as of now."""
        return self._select(pb.RangeRequest.ASCEND)

    def inbox(self) -> Inbox:
        """Return a stream for watches of the caller."""
        return Inbox(self._context, Rights(self._context, self._call))

    def _before(self, create_rev: int) -> bytes | None:
        """Return the key that entered last before `create_rev`."""
        if create_rev <= 1:
            return None
        found = self._select(pb.RangeRequest.DESCEND, create_rev - 1)
        return found.kvs[0].key if found.kvs else None

    def _select(
        self, order: pb.RangeRequest.SortOrder, max_create_rev: int = 0
    ) -> pb.RangeResponse:
        request = pb.RangeRequest(
            key=self.prefix,
            range_end=self._end,
            limit=1,
            sort_order=order,
            sort_target=pb.RangeRequest.CREATE,
            max_create_revision=max_create_rev,
        )
        identity = self._context.authorize(self._call)
        self._context.state.access.check_range(identity, request.key, request.range_end)
        return pb.RangeResponse.FromString(self._context.read(request))

    async def _deleted(self, key: bytes) -> None:
        """Wait until `key`, which exists now, is deleted. Raises RpcError if it may not be seen."""
        inbox = self.inbox()
        try:
            inbox.watch(key)
            while True:
                response = await inbox.next()
                if response.canceled:
                    raise failure(response.cancel_reason)
                if any(event.type == event.DELETE for event in response.events):
                    return
        finally:
            inbox.close()
