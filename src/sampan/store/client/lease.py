"""Leases: keys that disappear when their holder does."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from sampan.store.client.calls import DEFAULT_TIMEOUT, Calls
from sampan.store.client.values import LeaseStatus
from sampan.store.pb import rpc_pb2
from sampan.wire.grpc.status import Code, RpcError

__all__ = ["Lease", "LeaseLost", "Leases"]

_KEEP_ALIVE = "/etcdserverpb.Lease/LeaseKeepAlive"
# A third of the time to live leaves room for two failed attempts.
_REFRESHES_PER_TTL = 3


class LeaseLost(Exception):
    """The lease expired or was revoked; keys attached to it are gone or about to go."""

    def __init__(self, lease_id: int) -> None:
        super().__init__(lease_id)
        self.lease_id = lease_id

    def __str__(self) -> str:
        return f"lease {self.lease_id:x} is lost"


class Lease:
    """A granted lease that is kept alive while the `async with` block runs, and revoked after it.

    `ttl_s` is what the server granted, which may be more than what was asked for.
    """

    def __init__(self, leases: Leases, ttl_s: int, lease_id: int) -> None:
        self._leases = leases
        self._keeper: asyncio.Task[None] | None = None
        self._lost = asyncio.Event()
        self.ttl_s = ttl_s
        self.id = lease_id

    @property
    def lost(self) -> bool:
        """True once the server said that the lease is gone, or its time ran out unrefreshed."""
        return self._lost.is_set()

    async def wait_lost(self) -> None:
        """Wait until the lease is lost."""
        await self._lost.wait()

    def check(self) -> None:
        """Raise LeaseLost when the lease is lost."""
        if self.lost:
            raise LeaseLost(self.id)

    async def revoke(self) -> None:
        """Stop keeping it alive and revoke it; no error when it is gone already."""
        await self._stop()
        try:
            await self._leases.lease_revoke(self.id)
        except RpcError as error:
            if error.code is not Code.NOT_FOUND:
                raise
        self._lost.set()

    async def __aenter__(self) -> Lease:
        self.id, self.ttl_s = await self._leases.lease_grant(self.ttl_s, lease_id=self.id)
        self._keeper = asyncio.create_task(self._keep_alive(), name=f"lease {self.id:x}")
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self.lost:
            await self._stop()
            return
        # Unreachable now: the lease ends by itself when its time is over.
        with suppress(RpcError):
            await self.revoke()

    async def _stop(self) -> None:
        keeper, self._keeper = self._keeper, None
        if keeper is not None:
            keeper.cancel()
            await asyncio.gather(keeper, return_exceptions=True)

    async def _keep_alive(self) -> None:
        """Refresh until the lease is lost; connections may come and go meanwhile."""
        clock = asyncio.get_running_loop().time
        backoff = self._leases.dispatcher.backoff(0.05, 1.0)
        expires = clock() + self.ttl_s
        while not self.lost:
            asked = clock()
            try:
                async with asyncio.timeout(max(0.01, expires - asked)):
                    ttl_s = await self._leases.lease_keep_alive(self.id)
            except TimeoutError:
                ttl_s = 0
            except RpcError:
                delay_s = min(backoff.next_delay_s(), max(0.0, expires - clock()))
                await asyncio.sleep(delay_s)
                if clock() >= expires:
                    self._lost.set()
                continue
            if ttl_s <= 0:
                self._lost.set()
                return
            backoff.reset()
            self.ttl_s = ttl_s
            # Counted from before the question: the server's own count started no earlier.
            expires = asked + ttl_s
            await asyncio.sleep(ttl_s / _REFRESHES_PER_TTL)


class Leases(Calls):
    """The lease service."""

    def lease(self, ttl_s: int, *, lease_id: int = 0) -> Lease:
        """Return a lease for `async with`: granted on entry, kept alive, revoked on exit."""
        return Lease(self, ttl_s, lease_id)

    async def lease_grant(
        self, ttl_s: int, *, lease_id: int = 0, timeout_s: float | None = DEFAULT_TIMEOUT
    ) -> tuple[int, int]:
        """Grant a lease; returns its id (chosen by the server for 0) and its granted seconds."""
        request = rpc_pb2.LeaseGrantRequest(TTL=ttl_s, ID=lease_id)
        path = "/etcdserverpb.Lease/LeaseGrant"
        reply = await self.call(path, request, rpc_pb2.LeaseGrantResponse, timeout_s=timeout_s)
        return reply.ID, reply.TTL

    async def lease_revoke(
        self, lease_id: int, *, timeout_s: float | None = DEFAULT_TIMEOUT
    ) -> None:
        """Revoke a lease; its keys are deleted. RpcError NOT_FOUND when there is none."""
        request = rpc_pb2.LeaseRevokeRequest(ID=lease_id)
        path = "/etcdserverpb.Lease/LeaseRevoke"
        await self.call(path, request, rpc_pb2.LeaseRevokeResponse, timeout_s=timeout_s)

    async def lease_keep_alive(self, lease_id: int) -> int:
        """Refresh once; returns the seconds it now lives, 0 when the lease is gone."""
        index, stream = await self.dispatcher.stream(_KEEP_ALIVE)
        try:
            stream.send(rpc_pb2.LeaseKeepAliveRequest(ID=lease_id).SerializeToString())
            stream.close_send()
            message = await stream.receive()
        except RpcError as error:
            self.dispatcher.note_failure(index, error)
            raise
        finally:
            stream.cancel()
        if message is None:
            raise RpcError(Code.UNAVAILABLE, "the server ended the keepalive without an answer")
        return max(0, rpc_pb2.LeaseKeepAliveResponse.FromString(message).TTL)

    async def lease_time_to_live(
        self, lease_id: int, *, keys: bool = False, timeout_s: float | None = DEFAULT_TIMEOUT
    ) -> LeaseStatus:
        """Return the time a lease has left and, with `keys`, the keys attached to it."""
        request = rpc_pb2.LeaseTimeToLiveRequest(ID=lease_id, keys=keys)
        reply = await self.call(
            "/etcdserverpb.Lease/LeaseTimeToLive",
            request,
            rpc_pb2.LeaseTimeToLiveResponse,
            repeatable=True,
            timeout_s=timeout_s,
        )
        return LeaseStatus(reply.ID, reply.TTL, reply.grantedTTL, tuple(reply.keys))

    async def leases(self, *, timeout_s: float | None = DEFAULT_TIMEOUT) -> tuple[int, ...]:
        """Return the ids of all leases."""
        reply = await self.call(
            "/etcdserverpb.Lease/LeaseLeases",
            rpc_pb2.LeaseLeasesRequest(),
            rpc_pb2.LeaseLeasesResponse,
            repeatable=True,
            timeout_s=timeout_s,
        )
        return tuple(lease.ID for lease in reply.leases)
