"""Locks and elections: a key that lives as long as its holder's lease.

A lock here is not mutual exclusion by itself: a holder that stalls longer than its lease goes on
believing in it. What protects a resource is the fencing token: the resource must refuse a token
lower than one it has seen, or the write must be a transaction on `create_revision(lock.key)`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass

from sampan.store.client import ops
from sampan.store.client.calls import DEFAULT_TIMEOUT, Calls
from sampan.store.client.keys import Key, key_bytes
from sampan.store.client.lease import Lease, LeaseLost, Leases
from sampan.store.client.ops import Compare
from sampan.store.client.values import KeyValue
from sampan.store.pb import election_pb2, lock_pb2, rpc_pb2
from sampan.wire.grpc.status import Code, RpcError

__all__ = ["HeldLock", "Leadership", "Lock", "Locks"]

_ELECTION = "/v3electionpb.Election"


@dataclass(frozen=True, slots=True)
class HeldLock:
    """A lock that is held: its key, its fencing token (grows with every holder) and its lease."""

    key: bytes
    token: int
    lease: Lease

    def held(self) -> Compare:
        """A condition for transactions: this holder still has the lock."""
        return ops.create_revision(self.key) == self.token


class Lock:
    """`async with client.lock("name") as held:` waits for the lock and keeps its lease alive."""

    def __init__(self, calls: Calls, name: bytes, lease: Lease, timeout_s: float | None) -> None:
        self._calls = calls
        self._name = name
        self._lease = lease
        self._timeout_s = timeout_s
        self._key = b""

    async def __aenter__(self) -> HeldLock:
        await self._lease.__aenter__()
        try:
            return await self._acquire()
        except BaseException:
            await self._lease.__aexit__(None, None, None)
            raise

    async def __aexit__(self, *exc: object) -> None:
        with suppress(RpcError):
            await self._calls.call(
                "/v3lockpb.Lock/Unlock",
                lock_pb2.UnlockRequest(key=self._key),
                lock_pb2.UnlockResponse,
                repeatable=True,
            )
        await self._lease.__aexit__(*exc)

    async def _acquire(self) -> HeldLock:
        # Asking again with the same lease finds the same place in the queue.
        reply = await self._calls.call(
            "/v3lockpb.Lock/Lock",
            lock_pb2.LockRequest(name=self._name, lease=self._lease.id),
            lock_pb2.LockResponse,
            repeatable=True,
            timeout_s=self._timeout_s,
        )
        self._key = reply.key
        found = await self._calls.call(
            "/etcdserverpb.KV/Range",
            rpc_pb2.RangeRequest(key=reply.key),
            rpc_pb2.RangeResponse,
            repeatable=True,
        )
        if not found.kvs:
            raise LeaseLost(self._lease.id)
        return HeldLock(reply.key, found.kvs[0].create_revision, self._lease)


class Leadership:
    """A won election. `revision` is the fencing token: it grows with every leader."""

    def __init__(self, calls: Calls, leader: election_pb2.LeaderKey) -> None:
        self._calls = calls
        self._leader = leader

    @property
    def key(self) -> bytes:
        """The key whose existence is the leadership."""
        return self._leader.key

    @property
    def revision(self) -> int:
        """The revision that created the key."""
        return self._leader.rev

    async def proclaim(self, value: Key) -> None:
        """Announce a new value; RpcError when the leadership is lost."""
        request = election_pb2.ProclaimRequest(leader=self._leader, value=key_bytes(value))
        await self._calls.call(f"{_ELECTION}/Proclaim", request, election_pb2.ProclaimResponse)

    async def resign(self) -> None:
        """Give the leadership up; the next in the queue gets it."""
        request = election_pb2.ResignRequest(leader=self._leader)
        path = f"{_ELECTION}/Resign"
        await self._calls.call(path, request, election_pb2.ResignResponse, repeatable=True)


class Election:
    """The election called `name`."""

    def __init__(self, calls: Calls, name: bytes) -> None:
        self._calls = calls
        self._name = name

    async def campaign(
        self, value: Key, lease: Lease | int, *, timeout_s: float | None = None
    ) -> Leadership:
        """Wait until elected and announce `value`; the leadership lasts as long as the lease."""
        lease_id = lease.id if isinstance(lease, Lease) else lease
        request = election_pb2.CampaignRequest(
            name=self._name, lease=lease_id, value=key_bytes(value)
        )
        # Campaigning again with the same lease finds the same place in the queue.
        reply = await self._calls.call(
            f"{_ELECTION}/Campaign",
            request,
            election_pb2.CampaignResponse,
            repeatable=True,
            timeout_s=timeout_s,
        )
        return Leadership(self._calls, reply.leader)

    async def leader(self, *, timeout_s: float | None = DEFAULT_TIMEOUT) -> KeyValue | None:
        """Return the leader's key and value, None when there is no leader."""
        try:
            reply = await self._calls.call(
                f"{_ELECTION}/Leader",
                election_pb2.LeaderRequest(name=self._name),
                election_pb2.LeaderResponse,
                repeatable=True,
                timeout_s=timeout_s,
            )
        except RpcError as error:
            if error.message.endswith("no leader") and error.code is Code.UNKNOWN:
                return None
            raise
        return KeyValue.of(reply.kv)

    async def observe(self) -> AsyncIterator[KeyValue]:
        """Yield the leader's key each time it or its value changes. Ends with the connection."""
        index, stream = await self._calls.dispatcher.stream(f"{_ELECTION}/Observe")
        try:
            stream.send(election_pb2.LeaderRequest(name=self._name).SerializeToString())
            stream.close_send()
            async for message in stream:
                yield KeyValue.of(election_pb2.LeaderResponse.FromString(message).kv)
        except RpcError as error:
            self._calls.dispatcher.note_failure(index, error)
            raise
        finally:
            stream.cancel()


class Locks(Leases):
    """The lock and election services."""

    def lock(self, name: Key, *, ttl_s: int = 10, timeout_s: float | None = None) -> Lock:
        """Return a lock for `async with`; `timeout_s` bounds the wait, DEADLINE_EXCEEDED after it.

        Read the module's words about what a lock does not promise.
        """
        return Lock(self, key_bytes(name), self.lease(ttl_s), timeout_s)

    def election(self, name: Key) -> Election:
        """Return the election called `name`."""
        return Election(self, key_bytes(name))
