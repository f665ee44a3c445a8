"""The Maintenance service: alarms, status, hashes, defragmentation, snapshots, leadership.

With authentication on, everything here needs an administrator, but the list of alarms, which
health probes ask for, needs only some user.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from hashlib import sha256
from typing import Final, Protocol, TypeVar

from sampan.store.api.service import Context, parse
from sampan.store.core import errors
from sampan.store.core.alarm import describe
from sampan.store.core.backend_hash import hash_backend
from sampan.store.core.cluster import ClusterInfo
from sampan.store.core.entry import Kind
from sampan.store.core.hashing import hash_in_steps
from sampan.store.core.version import CLUSTER_VERSION, SERVER_VERSION, STORAGE_VERSION
from sampan.store.pb import rpc_pb2 as pb
from sampan.store.shell.steps import in_steps
from sampan.wire.grpc.service import MethodTable, StreamCall, StreamMethod, UnaryCall
from sampan.wire.grpc.status import Code, RpcError

__all__ = ["DEFAULT_QUOTA_BYTES", "SNAPSHOT_CHUNK_BYTES", "Snapshot", "Storage", "methods"]

_T = TypeVar("_T")

DEFAULT_QUOTA_BYTES: Final = 2 << 30
"""What a configured quota of 0 stands for."""

SNAPSHOT_CHUNK_BYTES: Final = 32 * 1024
"""How much of a snapshot one message carries."""

_VERSION: Final = re.compile(r"(0|[1-9]\d*)\.(0|[1-9]\d*)(\.(0|[1-9]\d*)(-[0-9A-Za-z.-]+)?)?")


class Snapshot(Protocol):
    """A consistent copy of the store in etcd's file format, open for reading."""

    @property
    def size_bytes(self) -> int:
        """The length of the file, without any digest."""

    def blocks(self, block_bytes: int) -> AsyncIterator[bytes]:
        """Yield the file's bytes, each block of `block_bytes` but the last."""


class Storage(Protocol):
    """What the node can do with its files."""

    async def defragment(self) -> None:
        """Give the space that deleted data still takes back to the file system."""

    def snapshot(self) -> AbstractAsyncContextManager[Snapshot]:
        """Make a snapshot as of now, and remove it at the end."""


class _Maintenance:
    """The handlers."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._state = context.state
        self._access = context.state.access
        self._members: ClusterInfo = context.members
        self._storage: Storage = context.storage

    def _check_admin(self, call: UnaryCall | StreamCall) -> None:
        self._access.check_admin(self._context.authorize(call))

    async def alarm(self, call: UnaryCall, body: bytes) -> bytes:
        """List, raise or disarm alarms."""
        request = parse(pb.AlarmRequest, body)
        identity = self._context.authorize(call)
        if request.action != pb.AlarmRequest.GET:
            self._access.check_admin(identity)
            return await self._context.execute(Kind.ALARM, body, identity)
        self._access.check_authenticated(identity)
        await self._context.read_barrier()
        alarms = self._state.alarms.get(request.alarm)
        return pb.AlarmResponse(header=self._context.header(), alarms=alarms).SerializeToString()

    async def status(self, call: UnaryCall, body: bytes) -> bytes:
        """Tell how this member is, from its own point of view."""
        parse(pb.StatusRequest, body)
        self._check_admin(call)
        backend = self._context.backend
        response = pb.StatusResponse(
            header=self._context.header(),
            version=SERVER_VERSION,
            dbSize=backend.size_bytes,
            leader=self._context.log.leader,
            raftIndex=self._context.log.committed_index,
            raftTerm=self._context.log.term,
            raftAppliedIndex=self._state.applied_index,
            errors=self._errors(),
            dbSizeInUse=backend.size_in_use_bytes,
            isLearner=self._members.me.is_learner,
            storageVersion=STORAGE_VERSION,
            dbSizeQuota=self._context.config.quota_backend_bytes or DEFAULT_QUOTA_BYTES,
            downgradeInfo=pb.DowngradeInfo(enabled=False),
        )
        return response.SerializeToString()

    def _errors(self) -> list[str]:
        alarms = [describe(alarm) for alarm in self._state.alarms.get()]
        return alarms if self._context.log.leader else [*alarms, errors.NO_LEADER().message]

    async def defragment(self, call: UnaryCall, body: bytes) -> bytes:
        """Make the files small again."""
        parse(pb.DefragmentRequest, body)
        self._check_admin(call)
        await self._storage.defragment()
        return pb.DefragmentResponse().SerializeToString()

    async def hash(self, call: UnaryCall, body: bytes) -> bytes:
        """Hash everything this member has stored."""
        parse(pb.HashRequest, body)
        self._check_admin(call)
        value = await in_steps(hash_backend(self._context.backend))
        return pb.HashResponse(header=self._context.header(), hash=value).SerializeToString()

    async def hash_kv(self, call: UnaryCall, body: bytes) -> bytes:
        """Hash the keys at a revision, to be compared between members."""
        request = parse(pb.HashKVRequest, body)
        self._check_admin(call)
        steps = hash_in_steps(self._state.mvcc, self._context.backend, request.revision)
        found = await in_steps(steps)
        return found.response(self._context.header()).SerializeToString()

    async def snapshot(self, call: StreamCall) -> None:
        """Send the whole store as one file, then the SHA-256 of what was sent."""
        body = await call.receive()
        if body is None:
            raise RpcError(Code.INTERNAL, "no request message")
        parse(pb.SnapshotRequest, body)
        self._check_admin(call)
        async with self._storage.snapshot() as snapshot:
            digest, remaining = sha256(), snapshot.size_bytes
            async for block in snapshot.blocks(SNAPSHOT_CHUNK_BYTES):
                digest.update(block)
                remaining -= len(block)
                await _send_chunk(call, remaining, block)
            await _send_chunk(call, 0, digest.digest())

    async def move_leader(self, call: UnaryCall, body: bytes) -> bytes:
        """Hand leadership to a member; only the leader can."""
        request = parse(pb.MoveLeaderRequest, body)
        self._check_admin(call)
        if not self._context.log.leads:
            raise errors.NOT_LEADER()
        if request.targetID not in self._members.voters():
            raise errors.BAD_LEADER_TRANSFEREE()
        await self._context.neighbours.move_leader(request.targetID)
        return pb.MoveLeaderResponse().SerializeToString()

    async def downgrade(self, call: UnaryCall, body: bytes) -> bytes:
        """Validate a downgrade; to start one is not supported yet, so none is ever in progress."""
        request = parse(pb.DowngradeRequest, body)
        self._check_admin(call)
        if request.action not in pb.DowngradeRequest.DowngradeAction.values():
            raise RpcError(Code.UNKNOWN, "etcdserver: unknown method")
        if request.action != pb.DowngradeRequest.CANCEL:  # to cancel none succeeds, as in etcd
            _check_downgrade_target(request.version)
        if request.action == pb.DowngradeRequest.ENABLE:
            raise errors.DOWNGRADE_NOT_SUPPORTED()
        await self._context.read_barrier()
        response = pb.DowngradeResponse(
            header=self._context.header(), version=CLUSTER_VERSION.removesuffix(".0")
        )
        return response.SerializeToString()


async def _send_chunk(call: StreamCall, remaining_bytes: int, blob: bytes) -> None:
    message = pb.SnapshotResponse(
        remaining_bytes=remaining_bytes, blob=blob, version=STORAGE_VERSION
    )
    call.send(message.SerializeToString())
    await call.drain()


def _check_downgrade_target(version: str) -> None:
    """Raise unless `version` (major.minor, a patch is ignored) is one minor below the cluster's."""
    found = _VERSION.fullmatch(version)
    if found is None:
        raise errors.WRONG_DOWNGRADE_VERSION_FORMAT()
    major, minor, _ = CLUSTER_VERSION.split(".")
    if (int(found[1]), int(found[2])) != (int(major), int(minor) - 1):
        raise errors.INVALID_DOWNGRADE_TARGET_VERSION()


def methods(context: Context) -> MethodTable:
    """Return the service's methods by full name."""
    maintenance = _Maintenance(context)
    service = "/etcdserverpb.Maintenance/"
    return {
        service + "Alarm": context.unary(maintenance.alarm),
        service + "Status": context.unary(maintenance.status),
        service + "Defragment": context.unary(maintenance.defragment),
        service + "Hash": context.unary(maintenance.hash),
        service + "HashKV": context.unary(maintenance.hash_kv),
        service + "Snapshot": StreamMethod(maintenance.snapshot, client_streaming=False),
        service + "MoveLeader": context.unary(maintenance.move_leader),
        service + "Downgrade": context.unary(maintenance.downgrade),
    }
