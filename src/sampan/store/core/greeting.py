"""Who may speak to whom: the greeting that opens everything between members, and its check."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from sampan.store.core.version import SERVER_VERSION
from sampan.store.pb import peer_pb2 as pb
from sampan.wire.grpc.status import Code, RpcError

__all__ = ["NEWEST", "OLDEST", "Identity", "greet", "refuse_stranger"]

OLDEST: Final = 1
NEWEST: Final = 1
"""The versions of the members' protocol that this program speaks."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Whose side of a conversation it is."""

    cluster_id: int
    member_id: int


def greet(me: Identity, receiver: int, unix_ms: int) -> pb.Greeting:
    """Return the greeting of this member to another one (0: to whoever listens there)."""
    return pb.Greeting(
        cluster=me.cluster_id,
        sender=me.member_id,
        receiver=receiver,
        oldest=OLDEST,
        newest=NEWEST,
        unix_ms=unix_ms,
        version=SERVER_VERSION,
    )


def refuse_stranger(greeting: pb.Greeting, me: Identity, removed: Callable[[int], bool]) -> None:
    """Raise RpcError for a greeting that is not for this member, or of one it must not hear.

    A sender that is not known is let in: it may have been added by an entry that is not applied
    here yet, and Raft ignores what it must.
    """
    if greeting.cluster != me.cluster_id:
        raise RpcError(
            Code.FAILED_PRECONDITION,
            f"cluster ID mismatch: the sender is of cluster {greeting.cluster:x}, this member of "
            f"{me.cluster_id:x}; check --initial-cluster and --initial-cluster-token on both",
        )
    if greeting.receiver and greeting.receiver != me.member_id:
        raise RpcError(
            Code.FAILED_PRECONDITION,
            f"member ID mismatch: meant for {greeting.receiver:x}, but here is {me.member_id:x}; "
            "the peer URL belongs to another member, or its data directory is a new one: remove "
            "the old member and add it again",
        )
    if removed(greeting.sender):
        raise RpcError(
            Code.PERMISSION_DENIED,
            f"the member {greeting.sender:x} has been permanently removed from the cluster",
        )
    if greeting.oldest > NEWEST or greeting.newest < OLDEST:
        raise RpcError(
            Code.FAILED_PRECONDITION,
            f"the sender speaks versions {greeting.oldest} to {greeting.newest} of the members' "
            f"protocol, this member {OLDEST} to {NEWEST}: use releases nearer to each other",
        )
