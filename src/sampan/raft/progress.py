"""What a leader knows about one member's log, and how it sends to it (thesis 3.5, 10.2).

PROBE      where the logs agree is unknown: one message with entries at a time
REPLICATE  known: messages are pipelined, `next` runs ahead of the answers
SNAPSHOT   too far behind: nothing is sent until the snapshot is through
"""

from __future__ import annotations

from enum import Enum

from sampan.base.errors import invariant
from sampan.raft.inflight import Inflights

__all__ = ["NEVER", "Progress", "ProgressState"]

NEVER = -(1 << 62)
"""A tick before all ticks."""


class ProgressState(Enum):
    """How the leader sends to a member."""

    PROBE = "probe"
    REPLICATE = "replicate"
    SNAPSHOT = "snapshot"


class Progress:
    """One member as its leader sees it; 0 <= match < next."""

    __slots__ = (
        "inflights",
        "is_learner",
        "lease_tick",
        "match",
        "next",
        "paused",
        "pending_snapshot",
        "read_round",
        "recent_active",
        "sent_commit",
        "state",
    )

    def __init__(self, next_index: int, inflights: Inflights, *, is_learner: bool = False) -> None:
        self.match = 0
        self.next = next_index
        self.state = ProgressState.PROBE
        self.inflights = inflights
        self.is_learner = is_learner
        self.paused = False
        self.pending_snapshot = 0
        self.sent_commit = 0
        self.recent_active = False
        self.lease_tick = NEVER  # the leader's tick when the newest answered heartbeat left
        self.read_round = 0  # the newest read round confirmed

    @property
    def is_paused(self) -> bool:
        """Whether no append may be sent at the moment."""
        return self.paused or self.state is ProgressState.SNAPSHOT

    def become_probe(self) -> None:
        """Find out where the logs agree, from the best guess there is."""
        after_snapshot = self.pending_snapshot if self.state is ProgressState.SNAPSHOT else 0
        self._reset(ProgressState.PROBE)
        self.next = max(self.match, after_snapshot) + 1
        self.sent_commit = min(self.sent_commit, self.next - 1)

    def become_replicate(self) -> None:
        """Pipeline from behind what is known to match."""
        self._reset(ProgressState.REPLICATE)
        self.next = self.match + 1

    def become_snapshot(self, index: int) -> None:
        """A snapshot at `index` is on its way."""
        self._reset(ProgressState.SNAPSHOT)
        self.pending_snapshot = index
        self.next = index + 1
        self.sent_commit = index

    def sent_entries(self, count: int, size_bytes: int) -> None:
        """An append with `count` entries was sent."""
        if self.state is ProgressState.REPLICATE:
            if count:
                self.next += count
                self.inflights.add(self.next - 1, size_bytes)
            self.paused = self.inflights.full
            return
        invariant(self.state is ProgressState.PROBE, "entries were sent besides a snapshot")
        self.paused = self.paused or count > 0

    def can_bump_commit(self, commit: int) -> bool:
        """Whether telling the member `commit` would tell it anything it can use."""
        return commit > self.sent_commit and self.sent_commit < self.next - 1

    def maybe_update(self, index: int) -> bool:
        """The member has everything up to `index`; says whether that is news."""
        if index <= self.match:
            return False
        self.match = index
        self.next = max(self.next, index + 1)
        self.paused = False
        return True

    def maybe_decrease(self, rejected: int, hint: int) -> bool:
        """The member rejected an append behind `rejected`; False if the answer is out of date."""
        if self.state is ProgressState.REPLICATE:
            if rejected <= self.match:
                return False
            self.next = self.match + 1
        elif self.next - 1 != rejected:
            return False
        else:
            self.next = max(min(rejected, hint + 1), self.match + 1)
        self.sent_commit = min(self.sent_commit, self.next - 1)
        self.paused = False
        return True

    def _reset(self, state: ProgressState) -> None:
        self.paused = False
        self.pending_snapshot = 0
        self.state = state
        self.inflights.reset()
