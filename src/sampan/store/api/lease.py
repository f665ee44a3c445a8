"""The Lease service: LeaseGrant, LeaseRevoke, LeaseKeepAlive, LeaseTimeToLive, LeaseLeases."""

from __future__ import annotations

import asyncio

from sampan.store.api.service import Context, parse
from sampan.store.core import errors
from sampan.store.core.entry import Kind
from sampan.store.pb import rpc_pb2 as pb
from sampan.wire.grpc.service import MethodTable, StreamCall, StreamMethod, UnaryCall, UnaryMethod

__all__ = ["methods", "new_lease_id"]

_BUFFER_BYTES = 64 * 1024


def new_lease_id(context: Context) -> int:
    """Return a free lease ID: 63 random bits, not 0."""
    while True:
        lease_id = context.random.getrandbits(63)
        if lease_id and lease_id not in context.state.lessor:
            return lease_id


class _Leases:
    """The handlers."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._access = context.state.access
        self._lessor = context.state.lessor

    def grant(self, call: UnaryCall, body: bytes) -> None:
        request = parse(pb.LeaseGrantRequest, body)
        identity = self._context.authorize(call)
        self._access.check_authenticated(identity)
        self._context.may_grow(len(body))
        if not request.ID:
            request.ID = new_lease_id(self._context)
            body = request.SerializeToString()
        self._context.propose(Kind.LEASE_GRANT, body, call, request, identity)

    def revoke(self, call: UnaryCall, body: bytes) -> None:
        request = parse(pb.LeaseRevokeRequest, body)
        identity = self._context.authorize(call)
        self._access.check_lease_revoke(identity, request.ID)
        self._context.propose(Kind.LEASE_REVOKE, body, call, request, identity)

    async def keep_alive(self, call: StreamCall) -> None:
        while (body := await call.receive()) is not None:
            request = parse(pb.LeaseKeepAliveRequest, body)
            self._access.check_lease_renew(self._context.authorize(call), request.ID)
            # The header is of before the renewal: a revocation that comes in between must not seem
            # older than the keepalive.
            response = pb.LeaseKeepAliveResponse(header=self._context.header(), ID=request.ID)
            response.TTL = await self._renew(request.ID)
            call.send(response.SerializeToString())
            if call.buffered_bytes > _BUFFER_BYTES:
                await call.drain()

    async def _renew(self, lease_id: int) -> int:
        """Return the new time to live in seconds, 0 for a lease that is gone or just going."""
        if self._context.members.alone:
            return await self._renew_here(lease_id)
        asked = pb.LeaseKeepAliveRequest(ID=lease_id).SerializeToString()
        answer = await self._context.neighbours.ask_leader("lease-renew", asked)
        return pb.LeaseKeepAliveResponse.FromString(answer).TTL

    async def renew(self, body: bytes) -> bytes:
        """As the leader, renew a lease for another member."""
        lease_id = parse(pb.LeaseKeepAliveRequest, body).ID
        self._check_primary()
        ttl_s = await self._renew_here(lease_id)
        return pb.LeaseKeepAliveResponse(ID=lease_id, TTL=ttl_s).SerializeToString()

    def _check_primary(self) -> None:
        if not self._lessor.primary:
            raise errors.NOT_LEADER()

    async def _renew_here(self, lease_id: int) -> int:
        lessor = self._lessor
        if not self._context.members.alone:
            # Whoever led a moment ago, and was cut off, must not promise time it cannot give.
            await self._context.read_barrier()
            self._check_primary()
        if lessor.has_run_out(lease_id):
            # 0 tells the client that the lease's keys are deleted, so they have to be.
            await self._revoked(lease_id)
        elif lessor.checkpointed(lease_id):
            reset = pb.LeaseCheckpoint(ID=lease_id, remaining_TTL=0)
            body = pb.LeaseCheckpointRequest(checkpoints=[reset]).SerializeToString()
            await self._context.execute(Kind.LEASE_CHECKPOINT, body)
        return lessor.renew(lease_id)

    async def _revoked(self, lease_id: int) -> None:
        lease = self._lessor.lookup(lease_id)
        if lease is not None:
            gone = asyncio.Event()
            lease.when_revoked(gone.set)
            await gone.wait()

    async def time_to_live(self, call: UnaryCall, body: bytes) -> bytes:
        request = parse(pb.LeaseTimeToLiveRequest, body)
        await self._context.read_barrier()
        identity = self._context.authorize(call)
        if request.keys:
            self._access.check_lease_time_to_live(identity, request.ID)
        else:
            self._access.check_authenticated(identity)
        body = request.SerializeToString()
        if self._context.members.alone:
            return await self.remaining(body)
        answer = await self._context.neighbours.ask_leader("lease-remaining", body)
        response = pb.LeaseTimeToLiveResponse.FromString(answer)
        response.header.CopyFrom(self._context.header())
        return response.SerializeToString()

    async def remaining(self, body: bytes) -> bytes:
        """As the leader, tell how long a lease has left."""
        request = parse(pb.LeaseTimeToLiveRequest, body)
        self._check_primary()
        response = pb.LeaseTimeToLiveResponse(header=self._context.header(), ID=request.ID, TTL=-1)
        lease = self._lessor.lookup(request.ID)
        if lease is not None:
            response.TTL = int(self._lessor.remaining_s(lease))
            response.grantedTTL = lease.ttl_s
            if request.keys:
                response.keys.extend(sorted(lease.keys))
        return response.SerializeToString()

    async def leases(self, call: UnaryCall, body: bytes) -> bytes:
        parse(pb.LeaseLeasesRequest, body)
        await self._context.read_barrier()
        lease_ids = [lease.lease_id for lease in self._lessor.leases()]
        self._access.check_leases(self._context.authorize(call), lease_ids)
        statuses = [pb.LeaseStatus(ID=lease_id) for lease_id in lease_ids]
        response = pb.LeaseLeasesResponse(header=self._context.header(), leases=statuses)
        return response.SerializeToString()


def methods(context: Context) -> MethodTable:
    """Return the service's methods by full name."""
    leases = _Leases(context)
    context.neighbours.answer("lease-renew", leases.renew)
    context.neighbours.answer("lease-remaining", leases.remaining)
    return {
        "/etcdserverpb.Lease/LeaseGrant": UnaryMethod(leases.grant),
        "/etcdserverpb.Lease/LeaseRevoke": UnaryMethod(leases.revoke),
        "/etcdserverpb.Lease/LeaseKeepAlive": StreamMethod(leases.keep_alive),
        "/etcdserverpb.Lease/LeaseTimeToLive": context.unary(leases.time_to_live),
        "/etcdserverpb.Lease/LeaseLeases": context.unary(leases.leases),
    }
