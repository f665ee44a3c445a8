"""Which path of the JSON gateway stands for which RPC."""

from __future__ import annotations

from dataclasses import dataclass

from google.protobuf.descriptor import FileDescriptor, MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from sampan.store.pb import election_pb2, lock_pb2, rpc_pb2

__all__ = ["ROUTES", "SERVICE_FILES", "Route"]

SERVICE_FILES: tuple[FileDescriptor, ...] = (
    rpc_pb2.DESCRIPTOR,
    election_pb2.DESCRIPTOR,
    lock_pb2.DESCRIPTOR,
)
"""The files whose services the server offers."""

_PATHS: tuple[tuple[str, str, str], ...] = (
    ("kv/range", "KV.Range", "Read one key or a range of keys"),
    ("kv/rangestream", "KV.RangeStream", "Read a range of keys in pieces"),
    ("kv/put", "KV.Put", "Write one key"),
    ("kv/deleterange", "KV.DeleteRange", "Delete one key or a range of keys"),
    ("kv/txn", "KV.Txn", "Compare, then do one of two lists of operations at once"),
    ("kv/compaction", "KV.Compact", "Forget the history before a revision"),
    ("watch", "Watch.Watch", "Follow the changes of keys"),
    ("lease/grant", "Lease.LeaseGrant", "Create a lease"),
    ("lease/revoke", "Lease.LeaseRevoke", "End a lease and delete its keys"),
    ("kv/lease/revoke", "Lease.LeaseRevoke", "End a lease and delete its keys"),
    ("lease/keepalive", "Lease.LeaseKeepAlive", "Renew leases"),
    ("lease/timetolive", "Lease.LeaseTimeToLive", "Ask how long a lease has left"),
    ("kv/lease/timetolive", "Lease.LeaseTimeToLive", "Ask how long a lease has left"),
    ("lease/leases", "Lease.LeaseLeases", "List the leases"),
    ("kv/lease/leases", "Lease.LeaseLeases", "List the leases"),
    ("cluster/member/add", "Cluster.MemberAdd", "Add a member"),
    ("cluster/member/remove", "Cluster.MemberRemove", "Remove a member"),
    ("cluster/member/update", "Cluster.MemberUpdate", "Change the peer URLs of a member"),
    ("cluster/member/list", "Cluster.MemberList", "List the members"),
    ("cluster/member/promote", "Cluster.MemberPromote", "Make a learner a voting member"),
    ("maintenance/alarm", "Maintenance.Alarm", "List, raise or clear alarms"),
    ("maintenance/status", "Maintenance.Status", "Ask for the state of this member"),
    ("maintenance/defragment", "Maintenance.Defragment", "Give free space back to the disk"),
    ("maintenance/hash", "Maintenance.Hash", "Hash everything this member stores"),
    ("maintenance/hashkv", "Maintenance.HashKV", "Hash the keys up to a revision"),
    ("maintenance/snapshot", "Maintenance.Snapshot", "Download the whole database"),
    ("maintenance/transfer-leadership", "Maintenance.MoveLeader", "Hand leadership over"),
    ("maintenance/downgrade", "Maintenance.Downgrade", "Prepare for an older version"),
    ("auth/enable", "Auth.AuthEnable", "Turn authentication on"),
    ("auth/disable", "Auth.AuthDisable", "Turn authentication off"),
    ("auth/status", "Auth.AuthStatus", "Ask whether authentication is on"),
    ("auth/authenticate", "Auth.Authenticate", "Trade a name and a password for a token"),
    ("auth/user/add", "Auth.UserAdd", "Add a user"),
    ("auth/user/get", "Auth.UserGet", "List the roles of a user"),
    ("auth/user/list", "Auth.UserList", "List the users"),
    ("auth/user/delete", "Auth.UserDelete", "Delete a user"),
    ("auth/user/changepw", "Auth.UserChangePassword", "Change the password of a user"),
    ("auth/user/grant", "Auth.UserGrantRole", "Give a user a role"),
    ("auth/user/revoke", "Auth.UserRevokeRole", "Take a role from a user"),
    ("auth/role/add", "Auth.RoleAdd", "Add a role"),
    ("auth/role/get", "Auth.RoleGet", "List the permissions of a role"),
    ("auth/role/list", "Auth.RoleList", "List the roles"),
    ("auth/role/delete", "Auth.RoleDelete", "Delete a role"),
    ("auth/role/grant", "Auth.RoleGrantPermission", "Give a role a permission"),
    ("auth/role/revoke", "Auth.RoleRevokePermission", "Take a permission from a role"),
    ("election/campaign", "Election.Campaign", "Wait to be elected"),
    ("election/proclaim", "Election.Proclaim", "Change the value of one's leadership"),
    ("election/leader", "Election.Leader", "Ask who leads"),
    ("election/observe", "Election.Observe", "Follow who leads"),
    ("election/resign", "Election.Resign", "Give leadership up"),
    ("lock/lock", "Lock.Lock", "Wait for a lock"),
    ("lock/unlock", "Lock.Unlock", "Release a lock"),
)


@dataclass(frozen=True, slots=True)
class Route:
    """One path: POST `path` calls `method` with `request` and answers `response`s."""

    path: str
    method: MethodDescriptor
    summary: str

    @property
    def service(self) -> str:
        """The service's short name, as `KV`."""
        return self.method.containing_service.name

    @property
    def full_name(self) -> str:
        """The method's name on the wire, as `/etcdserverpb.KV/Range`."""
        return f"/{self.method.containing_service.full_name}/{self.method.name}"

    @property
    def streaming(self) -> bool:
        """Whether either side sends more than one message."""
        return self.method.client_streaming or self.method.server_streaming

    @property
    def request(self) -> type[Message]:
        """The request's message class."""
        return GetMessageClass(self.method.input_type)

    @property
    def response(self) -> type[Message]:
        """The response's message class."""
        return GetMessageClass(self.method.output_type)


def _routes() -> dict[str, Route]:
    services = {
        service.name: service
        for file in SERVICE_FILES
        for service in file.services_by_name.values()
    }
    routes: dict[str, Route] = {}
    for path, name, summary in _PATHS:
        service, _, method = name.partition(".")
        descriptor = services[service].methods_by_name[method]
        routes[f"/v3/{path}"] = Route(f"/v3/{path}", descriptor, summary)
    return routes


ROUTES: dict[str, Route] = _routes()
"""Every path of the gateway."""
