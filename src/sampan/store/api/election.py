"""The Election service: Campaign, Proclaim, Leader, Observe, Resign.

A leader is who has won the contest over the election's name; the value of its key is what it
proclaims. Leadership is not exclusive by itself: see `contest` on fencing.
"""

from __future__ import annotations

from sampan.store.api.contest import Contest, as_client_error, failure, if_created_at
from sampan.store.api.service import Context, parse
from sampan.store.core.ranges import prefix_end
from sampan.store.pb import election_pb2 as election
from sampan.store.pb import rpc_pb2 as pb
from sampan.store.pb.kv_pb2 import Event, KeyValue
from sampan.wire.grpc.service import MethodTable, StreamCall, StreamMethod, UnaryCall
from sampan.wire.grpc.status import RpcError

__all__ = ["methods"]

_NOT_LEADER = "election: not leader"
_NO_LEADER = "election: no leader"
_NO_KEY = '"leader" field must be provided'
_BUFFER_BYTES = 64 * 1024


class _Elections:
    """The handlers."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def campaign(self, call: UnaryCall, body: bytes) -> bytes:
        """Wait for the leadership; a lease that campaigns already only changes its value."""
        request = parse(election.CampaignRequest, body)
        contest = Contest(self._context, call, request.name)
        with as_client_error():
            lease_id = await contest.session(request.lease)
            response, entry = await contest.enter(lease_id, request.value)
            leader = election.LeaderKey(
                name=request.name, key=entry.key, rev=entry.create_revision, lease=lease_id
            )
            if entry.value != request.value:
                try:
                    await self._proclaim(contest, leader, request.value)
                except RpcError:
                    contest.withdraw(entry)
                    raise
            await contest.wait_turn(entry)
        answer = election.CampaignResponse(header=response.header, leader=leader)
        return answer.SerializeToString()

    async def proclaim(self, call: UnaryCall, body: bytes) -> bytes:
        """Change the leader's value."""
        request = parse(election.ProclaimRequest, body)
        if not request.HasField("leader"):
            raise failure(_NO_KEY)
        contest = Contest(self._context, call, request.leader.name)
        with as_client_error():
            header = await self._proclaim(contest, request.leader, request.value)
        return election.ProclaimResponse(header=header).SerializeToString()

    async def _proclaim(
        self, contest: Contest, leader: election.LeaderKey, value: bytes
    ) -> pb.ResponseHeader:
        request = if_created_at(leader.key, leader.rev)
        request.success.add().request_put.CopyFrom(
            pb.PutRequest(key=leader.key, value=value, lease=leader.lease)
        )
        response = await contest.transact(request)
        if not response.succeeded:
            raise failure(_NOT_LEADER)
        return response.header

    async def leader(self, call: UnaryCall, body: bytes) -> bytes:
        """Return who leads, and what it proclaimed."""
        contest = Contest(self._context, call, parse(election.LeaderRequest, body).name)
        await self._context.read_barrier()
        with as_client_error():
            found = contest.leader()
        if not found.kvs:
            raise failure(_NO_LEADER)
        answer = election.LeaderResponse(header=found.header, kv=found.kvs[0])
        return answer.SerializeToString()

    async def resign(self, call: UnaryCall, body: bytes) -> bytes:
        """Give the leadership up, or the campaign; no error for somebody who has neither."""
        request = parse(election.ResignRequest, body)
        if not request.HasField("leader"):
            raise failure(_NO_KEY)
        contest = Contest(self._context, call, request.leader.name)
        with as_client_error():
            resignation = if_created_at(request.leader.key, request.leader.rev)
            resignation.success.add().request_delete_range.key = request.leader.key
            response = await contest.transact(resignation)
        return election.ResignResponse(header=response.header).SerializeToString()

    async def observe(self, call: StreamCall) -> None:
        """Send every leader and every value that a leader proclaims, in order.

        A leadership that begins and ends between two looks may be left out; the latest never is.
        """
        body = await call.receive()
        if body is None:
            return
        contest = Contest(self._context, call, parse(election.LeaderRequest, body).name)
        await self._context.read_barrier()
        with as_client_error():
            while True:
                leader = await self._first(contest)
                _send(call, leader.header, leader.kv)
                await self._follow(call, contest, leader)

    async def _first(self, contest: Contest) -> election.LeaderResponse:
        """Wait until somebody leads."""
        found = contest.leader()
        if found.kvs:
            return election.LeaderResponse(header=found.header, kv=found.kvs[0])
        inbox = contest.inbox()
        try:
            inbox.watch(contest.prefix, prefix_end(contest.prefix))
            while True:
                response = await inbox.next()
                if response.canceled:
                    raise failure(response.cancel_reason)
                for event in response.events:
                    if event.type == Event.PUT:
                        response.header.revision = event.kv.mod_revision
                        return election.LeaderResponse(header=response.header, kv=event.kv)
        finally:
            inbox.close()

    async def _follow(
        self, call: StreamCall, contest: Contest, leader: election.LeaderResponse
    ) -> None:
        """Send what the leader proclaims until it leads no more."""
        inbox = contest.inbox()
        try:
            inbox.watch(leader.kv.key, start_rev=leader.header.revision + 1)
            while True:
                response = await inbox.next()
                if response.compact_revision:
                    return
                if response.canceled:
                    raise failure(response.cancel_reason)
                for event in response.events:
                    if event.type == Event.DELETE:
                        return
                    _send(call, response.header, event.kv)
                if call.buffered_bytes > _BUFFER_BYTES:
                    await call.drain()
        finally:
            inbox.close()


def _send(call: StreamCall, header: pb.ResponseHeader, kv: KeyValue) -> None:
    call.send(election.LeaderResponse(header=header, kv=kv).SerializeToString())


def methods(context: Context) -> MethodTable:
    """Return the service's methods by full name."""
    elections = _Elections(context)
    return {
        "/v3electionpb.Election/Campaign": context.unary(elections.campaign),
        "/v3electionpb.Election/Proclaim": context.unary(elections.proclaim),
        "/v3electionpb.Election/Leader": context.unary(elections.leader),
        "/v3electionpb.Election/Resign": context.unary(elections.resign),
        "/v3electionpb.Election/Observe": StreamMethod(elections.observe, client_streaming=False),
    }
