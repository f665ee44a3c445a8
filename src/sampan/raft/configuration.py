"""Which members vote, which learn, and how one configuration follows another (thesis 4).

    simple            at most one voter changes: old and new majorities overlap anyway (4.1)
    enter -> leave    joint consensus: in between both majorities are needed (4.3)

Learners receive the log but neither vote nor count (4.2.1). A voter demoted on the way through a
joint configuration still votes in the old half, so it becomes a learner only when that is left.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from sampan.base.errors import invariant
from sampan.raft.confchange import Change, ChangeType, ConfChange
from sampan.raft.errors import ConfChangeError
from sampan.raft.message import NONE, ConfState

__all__ = ["Configuration", "changed"]

_Ids = frozenset[int]


@dataclass(frozen=True, slots=True)
class Configuration:
    """A membership; `outgoing` is empty unless it is a joint one."""

    voters: _Ids = frozenset()
    outgoing: _Ids = frozenset()
    learners: _Ids = frozenset()
    learners_next: _Ids = frozenset()
    auto_leave: bool = False

    @property
    def is_joint(self) -> bool:
        """Whether both halves are needed at the moment."""
        return bool(self.outgoing)

    @property
    def all_voters(self) -> _Ids:
        """Who votes in either half."""
        return self.voters | self.outgoing

    @property
    def members(self) -> _Ids:
        """Everybody who gets the log."""
        return self.voters | self.outgoing | self.learners

    @classmethod
    def restore(cls, state: ConfState) -> Configuration:
        """Return the configuration that `state` describes."""
        return _checked(
            cls(
                frozenset(state.voters),
                frozenset(state.voters_outgoing),
                frozenset(state.learners),
                frozenset(state.learners_next),
                state.auto_leave,
            )
        )

    def conf_state(self) -> ConfState:
        """Return the form that is stored with snapshots."""
        return ConfState(
            tuple(sorted(self.voters)),
            tuple(sorted(self.learners)),
            tuple(sorted(self.outgoing)),
            tuple(sorted(self.learners_next)),
            self.auto_leave,
        )


def changed(current: Configuration, change: ConfChange) -> Configuration:
    """Return what `change` makes of `current`. Raises ConfChangeError when it must not."""
    if change.leaves_joint:
        return _left(current)
    if current.is_joint:
        raise ConfChangeError("a joint configuration must be left before the next change")
    after = _applied(current, change.changes)
    if change.enters_joint:
        if not current.voters:
            raise ConfChangeError("a configuration without voters cannot become a joint one")
        return _checked(replace(after, auto_leave=change.auto_leave))
    after = replace(after, outgoing=frozenset(), learners=after.learners | after.learners_next)
    after = replace(after, learners_next=frozenset())
    if len(current.voters ^ after.voters) > 1:
        raise ConfChangeError("more than one voter changes without a joint configuration")
    return _checked(after)


def _left(current: Configuration) -> Configuration:
    if not current.is_joint:
        raise ConfChangeError("there is no joint configuration to leave")
    return _checked(
        Configuration(current.voters, learners=current.learners | current.learners_next)
    )


def _applied(current: Configuration, changes: Iterable[Change]) -> Configuration:
    """Return the joint configuration with the changes made in its incoming half."""
    outgoing = current.voters
    voters, learners = set(current.voters), set(current.learners)
    learners_next: set[int] = set()
    for change in changes:
        member = change.member
        if member == NONE or change.type is ChangeType.UPDATE:
            continue
        for group in (voters, learners, learners_next):
            group.discard(member)
        if change.type is ChangeType.ADD_VOTER:
            voters.add(member)
        elif change.type is ChangeType.ADD_LEARNER:
            (learners_next if member in outgoing else learners).add(member)
    if not voters:
        raise ConfChangeError("the change would remove all voters")
    return Configuration(frozenset(voters), outgoing, frozenset(learners), frozenset(learners_next))


def _checked(config: Configuration) -> Configuration:
    invariant(not config.learners & config.all_voters, "a learner is a voter too")
    invariant(config.learners_next <= config.outgoing, "a learner to be is no outgoing voter")
    invariant(not config.learners_next & config.voters, "a learner to be is an incoming voter")
    invariant(config.is_joint or not config.auto_leave, "nothing to leave automatically")
    return config
