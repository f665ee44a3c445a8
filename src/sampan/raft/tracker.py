"""All members as their leader sees them, and the votes of an election."""

from __future__ import annotations

from collections.abc import Callable

from sampan.raft import quorum
from sampan.raft.configuration import Configuration
from sampan.raft.inflight import Inflights
from sampan.raft.progress import Progress, ProgressState

__all__ = ["Tracker"]


class Tracker:
    """The configuration in force with a Progress for each of its members."""

    def __init__(self, max_inflight_messages: int, max_inflight_bytes: int) -> None:
        self.config = Configuration()
        self.progress: dict[int, Progress] = {}
        self.votes: dict[int, bool] = {}
        self._max_inflight = (max_inflight_messages, max_inflight_bytes)

    def adopt(self, config: Configuration, next_index: int) -> None:
        """Put `config` in force; new members start at `next_index` and count as just heard.

        Otherwise a leader that checks its quorum could step down before they had a chance.
        """
        self.config = config
        for member in self.progress.keys() - config.members:
            del self.progress[member]
        for member in sorted(config.members):
            if member not in self.progress:
                self.progress[member] = self._fresh(next_index)
                self.progress[member].recent_active = True
            self.progress[member].is_learner = member in config.learners
        self.progress = dict(sorted(self.progress.items()))

    def reset(self, next_index: int) -> None:
        """Forget what was known of the members' logs: a new term begins."""
        self.votes = {}
        for member in self.progress:
            self.progress[member] = self._fresh(next_index)
            self.progress[member].is_learner = member in self.config.learners

    def _fresh(self, next_index: int) -> Progress:
        return Progress(max(next_index, 1), Inflights(*self._max_inflight))

    def committed(self) -> int:
        """Return the index that a quorum has."""
        progress = self.progress
        return self.reached(lambda member: progress[member].match)

    def reached(self, acked: Callable[[int], int]) -> int:
        """Return what a quorum of the voters has reached by the measure of `acked`."""
        config = self.config
        return quorum.joint_committed_index(config.voters, config.outgoing, acked)

    def quorum_active(self, own: int) -> bool:
        """Whether a quorum was heard of lately, `own` taken for granted."""
        heard = {
            member: progress.recent_active or member == own
            for member, progress in self.progress.items()
            if not progress.is_learner
        }
        config = self.config
        result = quorum.joint_vote(config.voters, config.outgoing, heard)
        return result is quorum.VoteResult.WON

    def record_vote(self, member: int, granted: bool) -> quorum.VoteResult:
        """Count a member's first answer; returns what the vote has come to."""
        self.votes.setdefault(member, granted)
        return quorum.joint_vote(self.config.voters, self.config.outgoing, self.votes)

    def is_single(self, own: int) -> bool:
        """Whether `own` is the only voter."""
        return self.config.all_voters == {own}

    def describe(self) -> list[str]:
        """Return a line per member for logs and transcripts."""
        return [
            f"{member}: {progress.state.value} match={progress.match} next={progress.next}"
            + (" learner" if progress.is_learner else "")
            + (" paused" if progress.is_paused else "")
            + (
                f" pending_snapshot={progress.pending_snapshot}"
                if progress.state is ProgressState.SNAPSHOT
                else ""
            )
            + (f" inflight={len(progress.inflights)}" if len(progress.inflights) else "")
            for member, progress in self.progress.items()
        ]
