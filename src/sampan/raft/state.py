"""A member's state, and how it passes from one role to another.

Everything else in the package is functions over this state: `election`, `replication`, `reads`,
`leader`, `follower`, `candidate`. They change it and leave messages in it; nothing happens outside.
"""

from __future__ import annotations

from collections import deque

from sampan.base.errors import invariant
from sampan.raft.configuration import Configuration
from sampan.raft.errors import StorageError
from sampan.raft.log import RaftLog
from sampan.raft.message import (
    NONE,
    HardState,
    Message,
    MsgType,
    ReadState,
    Role,
    SoftState,
)
from sampan.raft.options import Options, ReadMode
from sampan.raft.progress import NEVER
from sampan.raft.tracker import Tracker

__all__ = ["TRANSITIONS", "Raft"]

_F, _P, _C, _L = Role.FOLLOWER, Role.PRE_CANDIDATE, Role.CANDIDATE, Role.LEADER

TRANSITIONS = frozenset(
    {
        (_F, _P),  # no leader heard of for a while
        (_F, _C),  # the same without pre-vote, or told to take over by the leader
        (_P, _P),  # the pre-vote came to nothing in time
        (_P, _C),  # a majority would vote for it
        (_C, _P),  # the election came to nothing in time
        (_C, _C),  # the same without pre-vote
        (_C, _L),  # a majority voted for it
        (_F, _F),  # a new leader or a new term
        (_P, _F),
        (_C, _F),
        (_L, _F),  # a higher term, no quorum, or not a voter any more
    }
)
"""Every way from one role to another; any other is a bug."""

# What vouches for something written leaves only after the write.
_AFTER_APPEND = frozenset({MsgType.APPEND_RESP, MsgType.VOTE_RESP, MsgType.PRE_VOTE_RESP})


class Raft:
    """The state of one member."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.id = options.id
        self.log = RaftLog(options.storage, options.max_applying_bytes)
        self.tracker = Tracker(options.max_inflight_messages, options.max_inflight_bytes)
        self.role = Role.FOLLOWER
        self.term = 0
        self.vote = NONE
        self.leader = NONE
        self.ticks = 0
        self.heard_tick = NEVER
        self.election_elapsed = 0
        self.heartbeat_elapsed = 0
        self.election_timeout = 0
        # a leader's own
        self.transferee = NONE
        self.lease_void = False
        self.pending_conf_index = 0
        self.uncommitted_bytes = 0
        self.read_round = 0
        self.pending_reads: deque[tuple[int, int, Message]] = deque()
        self.postponed_reads: list[Message] = []
        # what the next Ready takes along
        self.append_due = False
        self.commit_due = False
        self.announcing = False
        self.heartbeat_due = False
        self.messages: list[Message] = []
        self.after_append: list[Message] = []
        self.read_states: list[ReadState] = []
        self._load()

    def _load(self) -> None:
        hard_state, conf_state = self.options.storage.initial_state()
        self.tracker.adopt(Configuration.restore(conf_state), self.log.last_index() + 1)
        # What was applied was committed, even if the last commit index did not reach the disk.
        commit = max(hard_state.commit, self.options.applied)
        if commit > self.log.last_index():
            raise StorageError(
                f"the log ends at {self.log.last_index()} but {commit} was committed: "
                "storage lost entries; restore the member from a snapshot or another member"
            )
        self.log.commit_to(commit)
        self.log.applied_to(max(self.options.applied, self.log.applied))
        self.term, self.vote = hard_state.term, hard_state.vote
        # Before a restart it may have answered a heartbeat on which a lease still stands.
        self.heard_tick = 0 if self.term else NEVER
        self.become_follower(self.term, NONE)

    # --- what others ask

    def hard_state(self) -> HardState:
        """Return what must be durable."""
        return HardState(self.term, self.vote, self.log.committed)

    def soft_state(self) -> SoftState:
        """Return leader and role."""
        return SoftState(self.leader, self.role)

    @property
    def promotable(self) -> bool:
        """Whether it may stand for election: a voter whose log is not being replaced."""
        is_voter = self.id in self.tracker.config.all_voters
        return is_voter and self.log.unstable.snapshot is None

    @property
    def in_lease(self) -> bool:
        """Whether a leader may rely on this member not to vote for another (thesis 4.2.3)."""
        if not self.options.check_quorum:
            return False
        if self.options.read_mode is ReadMode.LEASE:
            # Whatever it learned since, it has answered that leader.
            unheard = self.ticks - self.heard_tick
            return self.role is Role.LEADER or unheard < self.options.election_ticks
        return self.leader != NONE and self.election_elapsed < self.options.election_ticks

    @property
    def committed_in_term(self) -> bool:
        """Whether an entry of the present term is committed: a leader then knows all commits."""
        log = self.log
        return log.matches(log.committed, self.term)

    # --- what the rules do

    def send(self, message: Message) -> None:
        """Send `message`: at once, or after the next append if it vouches for what is written."""
        if message.type in _AFTER_APPEND:
            self.after_append.append(message)
        else:
            invariant(message.to != self.id, f"{message.type.value} to the member itself")
            self.messages.append(message)

    def become_follower(self, term: int, leader: int) -> None:
        """Follow `leader`, or wait for one."""
        self.transition(Role.FOLLOWER)
        self.reset(term)
        self.leader = leader

    def transition(self, role: Role) -> None:
        """Take on `role`."""
        step = (self.role, role)
        invariant(step in TRANSITIONS, f"no way from {step[0].value} to {step[1].value}")
        self.role = role

    def reset(self, term: int) -> None:
        """Begin `term` (or begin anew within it) without a leader."""
        invariant(term >= self.term, f"the term goes back from {self.term} to {term}")
        if term != self.term:
            self.term, self.vote = term, NONE
        self.leader = NONE
        self.election_elapsed = self.heartbeat_elapsed = 0
        self.draw_timeout()
        self.transferee = NONE
        self.lease_void = False
        self.pending_conf_index = 0
        self.uncommitted_bytes = 0
        self.read_round = 0
        self.pending_reads.clear()
        self.postponed_reads.clear()
        self.append_due = self.heartbeat_due = self.commit_due = self.announcing = False
        self.tracker.reset(self.log.last_index() + 1)

    def draw_timeout(self) -> None:
        """Choose the next election time-out in [T, 2T) ticks (thesis 3.4)."""
        ticks = self.options.election_ticks
        extra = self.options.draw(ticks)
        invariant(0 <= extra < ticks, f"draw({ticks}) returned {extra}")
        self.election_timeout = ticks + extra
