"""The Cluster service: who the members are.

Today there is one member. Its peer URLs can be changed; adding, removing and promoting members is
judged as ever, and what would be done then is answered with "not supported yet".
"""

from __future__ import annotations

from sampan.store.api.service import Context, parse
from sampan.store.core import errors
from sampan.store.core.cluster import ClusterInfo, check_urls
from sampan.store.core.entry import Kind
from sampan.store.pb import rpc_pb2 as pb
from sampan.wire.grpc.service import MethodTable, UnaryCall

__all__ = ["methods"]


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
        """Refuse to add a member, for the right reason."""
        request = parse(pb.MemberAddRequest, body)
        urls = check_urls(request.peerURLs)
        self._access.check_admin(self._context.authorize(call))
        self._members.check_add(urls)
        raise errors.MEMBERSHIP_NOT_SUPPORTED()

    async def member_remove(self, call: UnaryCall, body: bytes) -> bytes:
        """Refuse to remove a member, for the right reason."""
        request = parse(pb.MemberRemoveRequest, body)
        self._access.check_admin(self._context.authorize(call))
        self._members.check_remove(request.ID)
        raise errors.MEMBERSHIP_NOT_SUPPORTED()

    async def member_promote(self, call: UnaryCall, body: bytes) -> bytes:
        """Refuse to promote a member, for the right reason."""
        request = parse(pb.MemberPromoteRequest, body)
        self._access.check_admin(self._context.authorize(call))
        self._members.check_promote(request.ID)
        raise errors.MEMBERSHIP_NOT_SUPPORTED()


def methods(context: Context) -> MethodTable:
    """Return the service's methods by full name."""
    cluster = _Cluster(context)
    return {
        "/etcdserverpb.Cluster/MemberList": context.unary(cluster.member_list),
        "/etcdserverpb.Cluster/MemberUpdate": context.unary(cluster.member_update),
        "/etcdserverpb.Cluster/MemberAdd": context.unary(cluster.member_add),
        "/etcdserverpb.Cluster/MemberRemove": context.unary(cluster.member_remove),
        "/etcdserverpb.Cluster/MemberPromote": context.unary(cluster.member_promote),
    }
