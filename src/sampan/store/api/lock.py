"""The Lock service: a lock is a key that lives as long as its lease.

Lock answers with the key once it is the caller's turn. Unlock deletes it. A lock is not mutual
exclusion by itself; the create revision of its key is the fencing token (see `contest`).
"""

from __future__ import annotations

from sampan.store.api.contest import Contest, as_client_error, failure
from sampan.store.api.service import Context, parse
from sampan.store.core import requests
from sampan.store.core.entry import Kind
from sampan.store.pb import rpc_pb2 as pb
from sampan.store.pb.lock_pb2 import LockRequest, LockResponse, UnlockRequest, UnlockResponse
from sampan.wire.grpc.service import MethodTable, UnaryCall

__all__ = ["methods"]

_SESSION_EXPIRED = "mutex: session is expired"


class _Locks:
    """The handlers."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def lock(self, call: UnaryCall, body: bytes) -> bytes:
        """Wait for the lock; the same lease may ask again for what it has."""
        request = parse(LockRequest, body)
        contest = Contest(self._context, call, request.name)
        with as_client_error():
            lease_id = await contest.session(request.lease)
            response, entry = await contest.enter(lease_id, b"")
            header = response.header
            if await contest.wait_turn(entry):
                # The lease may have run out while its owner waited.
                found = pb.RangeResponse.FromString(
                    self._context.read(pb.RangeRequest(key=entry.key))
                )
                header = found.header
                if not found.kvs or found.kvs[0].create_revision != entry.create_revision:
                    raise failure(_SESSION_EXPIRED)
        return LockResponse(header=header, key=entry.key).SerializeToString()

    async def unlock(self, call: UnaryCall, body: bytes) -> bytes:
        """Delete the lock's key; unlocking what is not locked is no error."""
        request = pb.DeleteRangeRequest(key=parse(UnlockRequest, body).key)
        with as_client_error():
            requests.check_delete(request)
            identity = self._context.authorize(call)
            answer = await self._context.execute(
                Kind.DELETE_RANGE, request.SerializeToString(), identity
            )
        header = pb.DeleteRangeResponse.FromString(answer).header
        return UnlockResponse(header=header).SerializeToString()


def methods(context: Context) -> MethodTable:
    """Return the service's methods by full name."""
    locks = _Locks(context)
    return {
        "/v3lockpb.Lock/Lock": context.unary(locks.lock),
        "/v3lockpb.Lock/Unlock": context.unary(locks.unlock),
    }
