"""An async client for etcd v3 stores, ours or the original."""

from sampan.store.client import ops
from sampan.store.client.admin import Permission
from sampan.store.client.client import Client
from sampan.store.client.keys import ALL_KEYS, prefix_end
from sampan.store.client.lease import Lease, LeaseLost
from sampan.store.client.lock import HeldLock, Leadership
from sampan.store.client.values import (
    DeleteResult,
    Event,
    Header,
    KeyValue,
    LeaseStatus,
    Member,
    PutResult,
    RangeResult,
    Relist,
    TxnResult,
    WatchBatch,
)
from sampan.store.client.watch import Watch
from sampan.wire.grpc.status import Code, RpcError

__all__ = [
    "ALL_KEYS",
    "Client",
    "Code",
    "DeleteResult",
    "Event",
    "Header",
    "HeldLock",
    "KeyValue",
    "Leadership",
    "Lease",
    "LeaseLost",
    "LeaseStatus",
    "Member",
    "Permission",
    "PutResult",
    "RangeResult",
    "Relist",
    "RpcError",
    "TxnResult",
    "Watch",
    "WatchBatch",
    "ops",
    "prefix_end",
]
