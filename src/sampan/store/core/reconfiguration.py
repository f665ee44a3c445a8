"""Which changes of the members are too dangerous: they could leave the cluster without a quorum.

With `--strict-reconfig-check` a change is refused before it reaches the log when too few members
have started or are connected.

Source: etcd's server/etcdserver/api/membership/cluster.go and server/etcdserver/server.go (mayAdd,
mayRemove, mayPromote), release 3.6.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from sampan.store.core import errors
from sampan.store.core.cluster import Member

__all__ = ["Standing"]


@dataclass(frozen=True, slots=True)
class Standing:
    """How the members are, as one of them, `me`, sees it.

    `connected` are the others that it has a connection to now, `steady` those to which it has had
    one for some time.
    """

    members: Collection[Member]
    me: int
    connected: frozenset[int] = frozenset()
    steady: frozenset[int] = frozenset()

    def check_add(self, *, is_learner: bool) -> None:
        """Raise MEMBER_NOT_ENOUGH_STARTED or UNHEALTHY if adding a member is too dangerous."""
        voters = self._voters()
        started = sum(map(_is_started, voters))
        # Whoever restores a cluster member by member may add a third while the second is new.
        restoring = started == 1 and len(voters) == 2
        if not is_learner and not restoring and started < _quorum(len(voters)):
            raise errors.MEMBER_NOT_ENOUGH_STARTED()
        if self._active(voters) < len(voters):
            raise errors.UNHEALTHY()

    def check_remove(self, member_id: int) -> None:
        """Raise MEMBER_NOT_ENOUGH_STARTED or UNHEALTHY if removing a member is too dangerous."""
        voters = self._voters()
        if any(member.id == member_id and member.is_learner for member in self.members):
            return
        left = [member for member in voters if member.id != member_id]
        if sum(map(_is_started, left)) < _quorum(len(left)):
            raise errors.MEMBER_NOT_ENOUGH_STARTED()
        if member_id != self.me and member_id not in self.connected:
            return  # it is of no use to the quorum now
        if self._active(voters) - 1 < 1 + (len(voters) - 1) // 2:
            raise errors.UNHEALTHY()

    def check_promote(self) -> None:
        """Raise MEMBER_NOT_ENOUGH_STARTED if one more voter is too many for those that run."""
        voters = self._voters()
        if 1 + sum(map(_is_started, voters)) < _quorum(len(voters) + 1):
            raise errors.MEMBER_NOT_ENOUGH_STARTED()

    def _voters(self) -> list[Member]:
        return [member for member in self.members if not member.is_learner]

    def _active(self, members: Iterable[Member]) -> int:
        return sum(member.id == self.me or member.id in self.steady for member in members)


def _is_started(member: Member) -> bool:
    """A member that has started has told its name."""
    return bool(member.name)


def _quorum(voters: int) -> int:
    return voters // 2 + 1
