"""Looking after the store: members, alarms, maintenance, users and roles."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Literal

from sampan.store.client.calls import Calls
from sampan.store.client.keys import Key, key_bytes, prefix_end
from sampan.store.client.values import Member
from sampan.store.pb import auth_pb2, rpc_pb2
from sampan.wire.grpc.status import RpcError

__all__ = ["AuthAdmin", "Cluster", "Maintenance", "Permission"]

PermissionType = Literal["read", "write", "readwrite"]

_AUTH = "/etcdserverpb.Auth"
_CLUSTER = "/etcdserverpb.Cluster"
_MAINTENANCE = "/etcdserverpb.Maintenance"
_TYPES: dict[PermissionType, auth_pb2.Permission.Type] = {
    "read": auth_pb2.Permission.READ,
    "write": auth_pb2.Permission.WRITE,
    "readwrite": auth_pb2.Permission.READWRITE,
}
_TYPE_NAMES = {number: name for name, number in _TYPES.items()}


class Cluster(Calls):
    """The members."""

    async def member_list(self, *, linearizable: bool = True) -> tuple[Member, ...]:
        """Return all members."""
        request = rpc_pb2.MemberListRequest(linearizable=linearizable)
        path = f"{_CLUSTER}/MemberList"
        reply = await self.call(path, request, rpc_pb2.MemberListResponse, repeatable=True)
        return tuple(Member.of(member) for member in reply.members)

    async def member_add(self, *peer_urls: str, learner: bool = False) -> Member:
        """Add a member that is to be started at `peer_urls`."""
        request = rpc_pb2.MemberAddRequest(peerURLs=peer_urls, isLearner=learner)
        reply = await self.call(f"{_CLUSTER}/MemberAdd", request, rpc_pb2.MemberAddResponse)
        return Member.of(reply.member)

    async def member_remove(self, member_id: int) -> None:
        """Remove a member."""
        request = rpc_pb2.MemberRemoveRequest(ID=member_id)
        await self.call(f"{_CLUSTER}/MemberRemove", request, rpc_pb2.MemberRemoveResponse)

    async def member_update(self, member_id: int, *peer_urls: str) -> None:
        """Change a member's peer URLs."""
        request = rpc_pb2.MemberUpdateRequest(ID=member_id, peerURLs=peer_urls)
        await self.call(f"{_CLUSTER}/MemberUpdate", request, rpc_pb2.MemberUpdateResponse)

    async def member_promote(self, member_id: int) -> None:
        """Give a learner its vote."""
        request = rpc_pb2.MemberPromoteRequest(ID=member_id)
        await self.call(f"{_CLUSTER}/MemberPromote", request, rpc_pb2.MemberPromoteResponse)


class Maintenance(Calls):
    """Status, alarms, defragmentation, hashes, snapshots. `endpoint` picks the member to ask."""

    async def status(self, endpoint: str | None = None) -> rpc_pb2.StatusResponse:
        """Return version, sizes in bytes, leader and Raft indexes of one member."""
        return await self.call(
            f"{_MAINTENANCE}/Status",
            rpc_pb2.StatusRequest(),
            rpc_pb2.StatusResponse,
            repeatable=True,
            endpoint=endpoint,
        )

    async def alarms(self) -> tuple[rpc_pb2.AlarmMember, ...]:
        """Return the raised alarms."""
        request = rpc_pb2.AlarmRequest(action=rpc_pb2.AlarmRequest.GET)
        path = f"{_MAINTENANCE}/Alarm"
        reply = await self.call(path, request, rpc_pb2.AlarmResponse, repeatable=True)
        return tuple(reply.alarms)

    async def alarm_disarm(self, alarm: rpc_pb2.AlarmMember) -> None:
        """Switch an alarm off, after its cause has been removed."""
        request = rpc_pb2.AlarmRequest(
            action=rpc_pb2.AlarmRequest.DEACTIVATE, memberID=alarm.memberID, alarm=alarm.alarm
        )
        await self.call(f"{_MAINTENANCE}/Alarm", request, rpc_pb2.AlarmResponse)

    async def defragment(
        self, endpoint: str | None = None, *, timeout_s: float | None = None
    ) -> None:
        """Give the space that compaction freed back to the file system."""
        await self.call(
            f"{_MAINTENANCE}/Defragment",
            rpc_pb2.DefragmentRequest(),
            rpc_pb2.DefragmentResponse,
            timeout_s=timeout_s,
            endpoint=endpoint,
        )

    async def hash_kv(self, revision: int = 0, endpoint: str | None = None) -> tuple[int, int]:
        """Return the hash of all keys up to `revision` (0: now), and the compact revision."""
        request = rpc_pb2.HashKVRequest(revision=revision)
        reply = await self.call(
            f"{_MAINTENANCE}/HashKV",
            request,
            rpc_pb2.HashKVResponse,
            repeatable=True,
            endpoint=endpoint,
        )
        return reply.hash, reply.compact_revision

    async def move_leader(self, member_id: int) -> None:
        """Hand the leadership to another member; to be asked of the leader."""
        request = rpc_pb2.MoveLeaderRequest(targetID=member_id)
        await self.call(f"{_MAINTENANCE}/MoveLeader", request, rpc_pb2.MoveLeaderResponse)

    async def snapshot(self) -> AsyncIterator[bytes]:
        """Yield the backend file piece by piece, its SHA-256 in the last 32 bytes."""
        index, stream = await self.dispatcher.stream(f"{_MAINTENANCE}/Snapshot")
        try:
            stream.send(rpc_pb2.SnapshotRequest().SerializeToString())
            stream.close_send()
            async for message in stream:
                yield rpc_pb2.SnapshotResponse.FromString(message).blob
        except RpcError as error:
            self.dispatcher.note_failure(index, error)
            raise
        finally:
            stream.cancel()


@dataclass(frozen=True, slots=True)
class Permission:
    """What a role may do in [key, range_end); an empty `range_end` is the one key."""

    type: PermissionType
    key: bytes
    range_end: bytes = b""

    @classmethod
    def prefix(cls, type: PermissionType, prefix: Key) -> Permission:
        """Make a permission for all keys that start with `prefix`."""
        return cls(type, key_bytes(prefix) or b"\0", prefix_end(prefix))


class AuthAdmin(Calls):
    """Users, roles and permissions."""

    async def enable(self) -> None:
        """Switch authentication on; needs the user `root` with the role `root`."""
        await self.call(
            f"{_AUTH}/AuthEnable", rpc_pb2.AuthEnableRequest(), rpc_pb2.AuthEnableResponse
        )

    async def disable(self) -> None:
        """Switch authentication off."""
        await self.call(
            f"{_AUTH}/AuthDisable", rpc_pb2.AuthDisableRequest(), rpc_pb2.AuthDisableResponse
        )

    async def status(self) -> tuple[bool, int]:
        """Return whether authentication is on, and the revision of users and roles."""
        reply = await self.call(
            f"{_AUTH}/AuthStatus",
            rpc_pb2.AuthStatusRequest(),
            rpc_pb2.AuthStatusResponse,
            repeatable=True,
        )
        return reply.enabled, reply.authRevision

    async def user_add(self, name: str, password: str | None) -> None:
        """Add a user; without a password it can only come with a client certificate."""
        options = auth_pb2.UserAddOptions(no_password=password is None)
        request = rpc_pb2.AuthUserAddRequest(name=name, password=password or "", options=options)
        await self.call(f"{_AUTH}/UserAdd", request, rpc_pb2.AuthUserAddResponse)

    async def user_delete(self, name: str) -> None:
        """Delete a user."""
        request = rpc_pb2.AuthUserDeleteRequest(name=name)
        await self.call(f"{_AUTH}/UserDelete", request, rpc_pb2.AuthUserDeleteResponse)

    async def user_change_password(self, name: str, password: str) -> None:
        """Give a user a new password; its tokens become worthless."""
        request = rpc_pb2.AuthUserChangePasswordRequest(name=name, password=password)
        path = f"{_AUTH}/UserChangePassword"
        await self.call(path, request, rpc_pb2.AuthUserChangePasswordResponse)

    async def user_roles(self, name: str) -> tuple[str, ...]:
        """Return the names of a user's roles."""
        request = rpc_pb2.AuthUserGetRequest(name=name)
        path = f"{_AUTH}/UserGet"
        reply = await self.call(path, request, rpc_pb2.AuthUserGetResponse, repeatable=True)
        return tuple(reply.roles)

    async def user_list(self) -> tuple[str, ...]:
        """Return the names of all users."""
        request = rpc_pb2.AuthUserListRequest()
        path = f"{_AUTH}/UserList"
        reply = await self.call(path, request, rpc_pb2.AuthUserListResponse, repeatable=True)
        return tuple(reply.users)

    async def user_grant_role(self, user: str, role: str) -> None:
        """Give a user a role."""
        request = rpc_pb2.AuthUserGrantRoleRequest(user=user, role=role)
        await self.call(f"{_AUTH}/UserGrantRole", request, rpc_pb2.AuthUserGrantRoleResponse)

    async def user_revoke_role(self, user: str, role: str) -> None:
        """Take a role from a user."""
        request = rpc_pb2.AuthUserRevokeRoleRequest(name=user, role=role)
        await self.call(f"{_AUTH}/UserRevokeRole", request, rpc_pb2.AuthUserRevokeRoleResponse)

    async def role_add(self, name: str) -> None:
        """Add a role without permissions."""
        request = rpc_pb2.AuthRoleAddRequest(name=name)
        await self.call(f"{_AUTH}/RoleAdd", request, rpc_pb2.AuthRoleAddResponse)

    async def role_delete(self, name: str) -> None:
        """Delete a role, also from its users."""
        request = rpc_pb2.AuthRoleDeleteRequest(role=name)
        await self.call(f"{_AUTH}/RoleDelete", request, rpc_pb2.AuthRoleDeleteResponse)

    async def role_list(self) -> tuple[str, ...]:
        """Return the names of all roles."""
        request = rpc_pb2.AuthRoleListRequest()
        path = f"{_AUTH}/RoleList"
        reply = await self.call(path, request, rpc_pb2.AuthRoleListResponse, repeatable=True)
        return tuple(reply.roles)

    async def role_permissions(self, name: str) -> tuple[Permission, ...]:
        """Return a role's permissions."""
        request = rpc_pb2.AuthRoleGetRequest(role=name)
        path = f"{_AUTH}/RoleGet"
        reply = await self.call(path, request, rpc_pb2.AuthRoleGetResponse, repeatable=True)
        return tuple(Permission(_TYPE_NAMES[p.permType], p.key, p.range_end) for p in reply.perm)

    async def role_grant(self, role: str, permission: Permission) -> None:
        """Add a permission to a role."""
        perm = auth_pb2.Permission(
            permType=_TYPES[permission.type], key=permission.key, range_end=permission.range_end
        )
        request = rpc_pb2.AuthRoleGrantPermissionRequest(name=role, perm=perm)
        path = f"{_AUTH}/RoleGrantPermission"
        await self.call(path, request, rpc_pb2.AuthRoleGrantPermissionResponse)

    async def role_revoke(self, role: str, key: Key, range_end: Key = b"") -> None:
        """Remove a role's permission for exactly this key or range."""
        request = rpc_pb2.AuthRoleRevokePermissionRequest(
            role=role, key=key_bytes(key), range_end=key_bytes(range_end)
        )
        path = f"{_AUTH}/RoleRevokePermission"
        await self.call(path, request, rpc_pb2.AuthRoleRevokePermissionResponse)
