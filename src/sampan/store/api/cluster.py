"""The Cluster service: who the members are.

Changes go through the log, one at a time. With --strict-reconfig-check, which is the default, those
are refused that could cost the cluster its quorum.
"""

from __future__ import annotations

from time import time_ns
from typing import Final, TypeAlias

from google.protobuf.message import Message

from sampan.raft import Change, ChangeType, ConfChange
from sampan.store.api.service import Context, parse
from sampan.store.core import errors
from sampan.store.core.cluster import ClusterInfo, check_urls, draw_member_id
from sampan.store.core.entry import Kind
from sampan.store.core.reconfiguration import Standing
from sampan.store.pb import rpc_pb2 as pb
from sampan.store.pb.peer_pb2 import Joining
from sampan.wire.grpc.service import MethodTable, UnaryCall

__all__ = ["methods"]

_HEALTHY: Final = 5
"""A member counts as healthy when it has been connected for this many election time-outs.

With the default of 1 s that is etcd's HealthInterval.
"""

_Response: TypeAlias = pb.MemberAddResponse | pb.MemberRemoveResponse | pb.MemberPromoteResponse


class _Cluster:
    """The handlers. All but the list need an administrator, the list needs some user."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._access = context.state.access
        self._members: ClusterInfo = context.members

    async def member_list(self, call: UnaryCall, body: bytes) -> bytes:
        """List the members, as of now if the request is linearizable."""
        request = parse(pb.MemberListRequest, body)
        if request.linearizable:
            await self._context.read_barrier()
        self._access.check_authenticated(self._context.authorize(call))
        header = self._context.header()
        header.ClearField("revision")  # as in etcd, where the cluster service knows none
        response = pb.MemberListResponse(header=header, members=self._members.messages())
        return response.SerializeToString()

    async def member_update(self, call: UnaryCall, body: bytes) -> bytes:
        """Change the peer URLs of a member."""
        request = parse(pb.MemberUpdateRequest, body)
        identity = self._context.authorize(call)
        self._access.check_admin(identity)
        self._members.member(request.ID)
        check_urls(request.peerURLs)
        done = await self._context.execute(Kind.MEMBER_UPDATE, body, identity)
        response = pb.MemberUpdateResponse.FromString(done)
        response.header.ClearField("revision")
        return response.SerializeToString()

    async def member_add(self, call: UnaryCall, body: bytes) -> bytes:
        """Add a voter or a learner, which may then be started."""
        request = parse(pb.MemberAddRequest, body)
        urls = check_urls(request.peerURLs)
        self._access.check_admin(self._context.authorize(call))
        self._members.check_add(urls)
        config = self._context.config
        if config.strict_reconfig_check:
            self._standing().check_add(is_learner=request.isLearner)
        member_id = draw_member_id(urls, config.initial_cluster_token, time_ns())
        kind = ChangeType.ADD_LEARNER if request.isLearner else ChangeType.ADD_VOTER
        member = Joining(
            ID=member_id,
            peerURLs=urls,
            isLearner=request.isLearner,
            max_learners=config.max_learners,
        )
        done = await self._change(Change(kind, member_id), Kind.MEMBER_ADD, member)
        return _without_revision(pb.MemberAddResponse.FromString(done))

    async def member_remove(self, call: UnaryCall, body: bytes) -> bytes:
        """Remove a member for good."""
        request = parse(pb.MemberRemoveRequest, body)
        self._access.check_admin(self._context.authorize(call))
        self._members.check_remove(request.ID)
        if self._context.config.strict_reconfig_check:
            self._standing().check_remove(request.ID)
        change = Change(ChangeType.REMOVE, request.ID)
        done = await self._change(change, Kind.MEMBER_REMOVE, request)
        return _without_revision(pb.MemberRemoveResponse.FromString(done))

    async def member_promote(self, call: UnaryCall, body: bytes) -> bytes:
        """Let a learner vote; only the leader knows whether it is ready."""
        request = parse(pb.MemberPromoteRequest, body)
        self._access.check_admin(self._context.authorize(call))
        self._members.check_promote(request.ID)
        done = await self._context.neighbours.ask_leader("promote", request.SerializeToString())
        return _without_revision(pb.MemberPromoteResponse.FromString(done))

    async def promote(self, body: bytes) -> bytes:
        """As the leader, promote a learner that is ready."""
        request = parse(pb.MemberPromoteRequest, body)
        self._members.check_promote(request.ID)
        if not self._context.neighbours.in_sync(request.ID):
            raise errors.LEARNER_NOT_READY()
        if self._context.config.strict_reconfig_check:
            self._standing().check_promote()
        change = Change(ChangeType.ADD_VOTER, request.ID)
        return await self._change(change, Kind.MEMBER_PROMOTE, request)

    async def _change(self, change: Change, kind: Kind, message: Message) -> bytes:
        body = message.SerializeToString()
        return await self._context.change_membership(ConfChange((change,)), kind, body)

    def _standing(self) -> Standing:
        members = self._members.members()
        neighbours = self._context.neighbours
        connected_s = {each.id: neighbours.connected_for_s(each.id) for each in members}
        healthy_s = _HEALTHY * self._context.config.election_timeout_ms / 1000
        return Standing(
            members,
            self._members.member_id,
            frozenset(each for each, for_s in connected_s.items() if for_s > 0),
            frozenset(each for each, for_s in connected_s.items() if for_s >= healthy_s),
        )


def _without_revision(response: _Response) -> bytes:
    """Return a response as etcd's cluster service gives it: it knows no revision."""
    response.header.ClearField("revision")
    return response.SerializeToString()


def methods(context: Context) -> MethodTable:
    """Return the service's methods by full name."""
    cluster = _Cluster(context)
    context.neighbours.answer("promote", cluster.promote)
    return {
        "/etcdserverpb.Cluster/MemberList": context.unary(cluster.member_list),
        "/etcdserverpb.Cluster/MemberUpdate": context.unary(cluster.member_update),
        "/etcdserverpb.Cluster/MemberAdd": context.unary(cluster.member_add),
        "/etcdserverpb.Cluster/MemberRemove": context.unary(cluster.member_remove),
        "/etcdserverpb.Cluster/MemberPromote": context.unary(cluster.member_promote),
    }
