"""The values that members exchange and keep: entries, states, snapshots, messages.

Nothing here has behaviour; a transport may encode these values as it likes, provided that every
field arrives as it was sent. Member ids are positive; `NONE` stands for no member. Entries and
messages are never changed either; freezing them would make each three times as dear.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum, StrEnum

__all__ = [
    "NONE",
    "NO_LIMIT",
    "ConfState",
    "Entry",
    "EntryType",
    "HardState",
    "Message",
    "MsgType",
    "ReadState",
    "Role",
    "Snapshot",
    "SoftState",
    "limit_size",
    "payload_bytes",
    "size_of",
]

NONE = 0
"""No member: the leader is unknown, no vote was given."""

NO_LIMIT = 1 << 62
"""A size that no log reaches."""

_ENTRY_OVERHEAD_BYTES = 16


class Role(StrEnum):
    """What a member is at the moment (Ongaro's thesis, figure 3.3, and 9.6 for the second)."""

    FOLLOWER = "follower"
    PRE_CANDIDATE = "pre-candidate"
    CANDIDATE = "candidate"
    LEADER = "leader"


class EntryType(IntEnum):
    """What an entry's data means."""

    NORMAL = 0
    CONF_CHANGE = 2


@dataclass(slots=True)
class Entry:
    """One slot of the log. `data` is the application's, or an encoded ConfChange."""

    term: int
    index: int
    data: bytes = b""
    type: EntryType = EntryType.NORMAL

    @property
    def size_bytes(self) -> int:
        """What the entry counts against message and window limits."""
        return len(self.data) + _ENTRY_OVERHEAD_BYTES


@dataclass(frozen=True, slots=True)
class HardState:
    """What must be on disk before a message that depends on it leaves (thesis 3.8)."""

    term: int = 0
    vote: int = NONE
    commit: int = 0


@dataclass(frozen=True, slots=True)
class SoftState:
    """What is worth knowing and need not be kept."""

    leader: int
    role: Role


@dataclass(frozen=True, slots=True)
class ConfState:
    """The membership as stored with a snapshot; ids in ascending order.

    `voters_outgoing` is empty unless a joint configuration is in force; `learners_next` are
    outgoing voters that become learners when it is left.
    """

    voters: tuple[int, ...] = ()
    learners: tuple[int, ...] = ()
    voters_outgoing: tuple[int, ...] = ()
    learners_next: tuple[int, ...] = ()
    auto_leave: bool = False


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The state up to and including `index`; `data` is the application's."""

    index: int
    term: int
    conf_state: ConfState
    data: bytes = b""


@dataclass(frozen=True, slots=True)
class ReadState:
    """The answer to `read_index(context)`: reading is linearizable once `index` is applied."""

    index: int
    context: bytes


class MsgType(StrEnum):
    """What a message asks or tells."""

    # between members
    PROPOSE = "Propose"
    APPEND = "Append"
    APPEND_RESP = "AppendResp"
    VOTE = "Vote"
    VOTE_RESP = "VoteResp"
    PRE_VOTE = "PreVote"
    PRE_VOTE_RESP = "PreVoteResp"
    SNAPSHOT = "Snapshot"
    HEARTBEAT = "Heartbeat"
    HEARTBEAT_RESP = "HeartbeatResp"
    READ_INDEX = "ReadIndex"
    READ_INDEX_RESP = "ReadIndexResp"
    TRANSFER_LEADER = "TransferLeader"
    TIMEOUT_NOW = "TimeoutNow"
    # from a member's own storage, in the form with asynchronous writes
    STORAGE_APPEND_RESP = "StorageAppendResp"
    STORAGE_APPLY_RESP = "StorageApplyResp"


@dataclass(slots=True)
class Message:
    """One message; which fields mean something depends on `type`.

    APPEND           index, log_term: the entry before `entries`; commit
    APPEND_RESP      index: the last entry that matches; or reject, index: the one that did not,
                     hint, log_term: where the receiver's log may still agree
    VOTE, PRE_VOTE   index, log_term: the candidate's last entry; forced: ignore the lease;
                     commit, hint: the last committed entry and its term, as in refusals
    HEARTBEAT(_RESP) commit; index: the leader's tick, hint: its read round, both echoed
    SNAPSHOT         snapshot
    READ_INDEX       context; READ_INDEX_RESP: context, index
    PROPOSE          entries without term and index
    TRANSFER_LEADER  sender: the member that is to lead
    STORAGE_APPEND_RESP  index, log_term: the last entry written; snapshot: written
    STORAGE_APPLY_RESP   entries: applied
    """

    type: MsgType
    to: int = NONE
    sender: int = NONE
    term: int = 0
    index: int = 0
    log_term: int = 0
    entries: tuple[Entry, ...] = ()
    commit: int = 0
    reject: bool = False
    hint: int = 0
    forced: bool = False
    snapshot: Snapshot | None = None
    context: bytes = b""


def payload_bytes(entries: Iterable[Entry]) -> int:
    """Return the bytes of the application's data in `entries`."""
    return sum([len(entry.data) for entry in entries])


def size_of(entries: Sequence[Entry]) -> int:
    """Return what entries count together against message and window limits."""
    return sum([len(entry.data) for entry in entries]) + len(entries) * _ENTRY_OVERHEAD_BYTES


def limit_size(entries: Sequence[Entry], max_bytes: int) -> Sequence[Entry]:
    """Return the longest prefix within `max_bytes`, but at least one entry if there is one."""
    size = 0
    for count, entry in enumerate(entries):
        size += len(entry.data) + _ENTRY_OVERHEAD_BYTES
        if size > max_bytes and count:
            return entries[:count]
    return entries
