"""The Cluster service: who the members are.

Changes go through the log, one at a time. With --strict-reconfig-check, which is the default, those
are refused that could cost the cluster its quorum.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TypeAlias

from google.protobuf.message import Message

from sampan.raft import Change, ChangeType, ConfChange
from sampan.store.api.service import Context, parse
from sampan.store.core import errors
from sampan.store.core.cluster import ClusterInfo, check_urls
from sampan.store.core.entry import Kind
from sampan.store.pb import rpc_pb2 as pb
from sampan.wire.grpc.service import MethodTable, UnaryCall

__all__ = ["methods"]

_HEALTHY_S: Final = 5.0
"""How long a member has to be connected before it counts as healthy (etcd's HealthInterval)."""

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
        if request.isLearner:
            learners = sum(member.is_learner for member in self._members.members())
            if learners >= self._context.config.max_learners:
                raise errors.TOO_MANY_LEARNERS()
        if self._context.config.strict_reconfig_check:
            if not request.isLearner:
                self._members.check_ready_to_add()
            self._check_connected(self._members.voters(), len(self._members.voters()))
        member_id = self._context.random.getrandbits(64) | 1
        kind = ChangeType.ADD_LEARNER if request.isLearner else ChangeType.ADD_VOTER
        member = pb.Member(ID=member_id, peerURLs=urls, isLearner=request.isLearner)
        done = await self._change(Change(kind, member_id), Kind.MEMBER_ADD, member)
        return _without_revision(pb.MemberAddResponse.FromString(done))

    async def member_remove(self, call: UnaryCall, body: bytes) -> bytes:
        """Remove a member for good."""
        request = parse(pb.MemberRemoveRequest, body)
        self._access.check_admin(self._context.authorize(call))
        self._members.check_remove(request.ID)
        if self._context.config.strict_reconfig_check:
            self._check_safe_to_remove(request.ID)
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
            self._members.check_ready_to_add()
        change = Change(ChangeType.ADD_VOTER, request.ID)
        return await self._change(change, Kind.MEMBER_PROMOTE, request)

    async def _change(self, change: Change, kind: Kind, message: Message) -> bytes:
        body = message.SerializeToString()
        return await self._context.change_membership(ConfChange((change,)), kind, body)

    def _check_connected(self, member_ids: Sequence[int], least: int) -> None:
        """Raise UNHEALTHY unless so many of these members have been connected for a while."""
        neighbours = self._context.neighbours
        count = sum(neighbours.connected_for_s(each) >= _HEALTHY_S for each in member_ids)
        if count < least:
            raise errors.UNHEALTHY()

    def _check_safe_to_remove(self, member_id: int) -> None:
        if self._members.member(member_id).is_learner:
            return
        self._members.check_ready_to_remove(member_id)
        if not self._context.neighbours.connected_for_s(member_id):
            return  # it is down already: without it there is no quorum fewer
        voters = self._members.voters()
        rest = [each for each in voters if each != member_id]
        self._check_connected(rest, (len(voters) - 1) // 2 + 1)


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
