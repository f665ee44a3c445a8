"""What a member hands to its surroundings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sampan.raft.configuration import Configuration
from sampan.raft.message import (
    Entry,
    HardState,
    Message,
    ReadState,
    Role,
    Snapshot,
    SoftState,
)
from sampan.raft.progress import ProgressState

__all__ = ["MemberStatus", "Ready", "Status"]


@dataclass(frozen=True, slots=True)
class Ready:
    """Work to do, in the order that `sampan.raft` describes.

    soft_state             leader and role, if either changed
    read_states            reads that may be served once their index is applied
    messages               to send at once
    snapshot               to write, and to put in the application's place
    entries                to write, replacing any from the first one's index on
    hard_state             to write, if it changed
    must_sync              whether the write must be durable before it counts as done; False if
                           only the commit index changed
    messages_after_append  to send once snapshot, entries and hard_state are durable
    committed_entries      to apply, in order; with a snapshot there are none
    messages_after_apply   with asynchronous writes: to step once those are applied
    """

    soft_state: SoftState | None = None
    read_states: Sequence[ReadState] = ()
    messages: Sequence[Message] = ()
    snapshot: Snapshot | None = None
    entries: Sequence[Entry] = ()
    hard_state: HardState | None = None
    must_sync: bool = False
    messages_after_append: Sequence[Message] = ()
    committed_entries: Sequence[Entry] = ()
    messages_after_apply: Sequence[Message] = ()

    @property
    def needs_append(self) -> bool:
        """Whether there is anything to write, or to send behind earlier writes."""
        return bool(self.entries or self.hard_state or self.snapshot or self.messages_after_append)


@dataclass(frozen=True, slots=True)
class MemberStatus:
    """A member as its leader sees it."""

    match: int
    next: int
    state: ProgressState
    is_learner: bool
    is_paused: bool
    recent_active: bool
    pending_snapshot: int
    inflight_messages: int
    inflight_bytes: int


@dataclass(frozen=True, slots=True)
class Status:
    """A look at a member from outside; `progress` is empty unless it leads."""

    id: int
    role: Role
    leader: int
    hard_state: HardState
    applied: int
    last_index: int
    transferee: int
    configuration: Configuration
    progress: Mapping[int, MemberStatus]
