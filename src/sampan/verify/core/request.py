"""What a client asked of the store, and what it was told: the operations of a history as values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = [
    "Branched",
    "Compact",
    "Compare",
    "Delete",
    "Deleted",
    "Done",
    "Grant",
    "KeepAlive",
    "Put",
    "Range",
    "Ranged",
    "Record",
    "Relation",
    "Request",
    "Result",
    "Revoke",
    "Target",
    "Txn",
    "Wrote",
    "in_range",
    "may_write",
]

Target = Literal["value", "version", "create", "mod", "lease"]
Relation = Literal["=", "!=", "<", ">"]


@dataclass(frozen=True, slots=True)
class Record:
    """A key as of some revision; the fields mean what they mean in etcd's KeyValue."""

    key: bytes
    value: bytes
    create: int
    mod: int
    version: int
    lease: int = 0


@dataclass(frozen=True, slots=True)
class Put:
    """Set a key; `prev_kv` asks for what was there before."""

    key: bytes
    value: bytes
    lease: int = 0
    prev_kv: bool = False


@dataclass(frozen=True, slots=True)
class Range:
    """Read [key, range_end): one key when `range_end` is empty, all from `key` on when it is 0.

    `revision` 0 is the newest; `serializable` may be answered from an old state.
    """

    key: bytes
    range_end: bytes = b""
    revision: int = 0
    limit: int = 0
    serializable: bool = False
    keys_only: bool = False
    count_only: bool = False


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete a key or a range."""

    key: bytes
    range_end: bytes = b""
    prev_kv: bool = False


@dataclass(frozen=True, slots=True)
class Compare:
    """A condition of a transaction; over a range it must hold for every key there."""

    key: bytes
    target: Target
    relation: Relation
    operand: bytes | int
    range_end: bytes = b""


@dataclass(frozen=True, slots=True)
class Txn:
    """If all conditions hold `success`, else `failure`, at one revision."""

    compares: tuple[Compare, ...]
    success: tuple[Request, ...]
    failure: tuple[Request, ...] = ()


@dataclass(frozen=True, slots=True)
class Grant:
    """Make a lease of `ttl_s` seconds."""

    lease: int
    ttl_s: float


@dataclass(frozen=True, slots=True)
class KeepAlive:
    """Renew a lease."""

    lease: int


@dataclass(frozen=True, slots=True)
class Revoke:
    """End a lease: its keys are deleted at one revision."""

    lease: int


@dataclass(frozen=True, slots=True)
class Compact:
    """Forget what was before `revision`."""

    revision: int


Request = Put | Range | Delete | Txn | Grant | KeepAlive | Revoke | Compact


@dataclass(frozen=True, slots=True)
class Wrote:
    """A put took effect; `prev` is None when it was not asked for or there was none."""

    revision: int | None
    prev: Record | None = None


@dataclass(frozen=True, slots=True)
class Ranged:
    """The keys of a range and how many there are without the limit."""

    revision: int | None
    kvs: tuple[Record, ...]
    count: int
    more: bool = False


@dataclass(frozen=True, slots=True)
class Deleted:
    """How many keys were deleted and, when asked for, what they were."""

    revision: int | None
    deleted: int
    prevs: tuple[Record, ...] = ()


@dataclass(frozen=True, slots=True)
class Branched:
    """Which branch of a transaction ran and what its operations told."""

    revision: int | None
    succeeded: bool
    results: tuple[Result, ...]


@dataclass(frozen=True, slots=True)
class Done:
    """The answer to a lease operation or a compaction; `ttl_s` 0 says that the lease is gone.

    The revision in it is the store's when it answered, not that of the operation.
    """

    revision: int | None
    ttl_s: float = 0.0


Result = Wrote | Ranged | Deleted | Branched | Done


def in_range(key: bytes, start: bytes, end: bytes) -> bool:
    """Say whether `key` lies in [start, end) by the rules of Range."""
    if not end:
        return key == start
    return key >= start and (end == b"\0" or key < end)


def may_write(request: Request) -> bool:
    """Say whether a request can change keys at all."""
    if isinstance(request, Txn):
        return any(map(may_write, (*request.success, *request.failure)))
    return isinstance(request, Put | Delete | Revoke)
