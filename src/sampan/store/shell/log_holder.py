"""The log as everybody keeps it: the one in use may change while the member runs.

A member that is alone has a log of its own; with the second member comes a replicated one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from sampan.raft import ConfChange
from sampan.store.core.log import Log
from sampan.wire.grpc.status import RpcError

__all__ = ["LogHolder"]

_L = TypeVar("_L", bound=Log)


class LogHolder(Generic[_L]):
    """A `Log` that is another one. `current` is that one.

    `propose` and `read_barrier` are its very methods, so that the holder costs no call.
    """

    propose: Callable[[bytes, object], None]
    read_barrier: Callable[[Callable[[], None], Callable[[RpcError], None]], None]

    def __init__(self, log: _L) -> None:
        self.use(log)

    def use(self, log: _L) -> None:
        """Put another log in the place of the present one."""
        self.current = log
        self.propose = log.propose
        self.read_barrier = log.read_barrier

    @property
    def term(self) -> int:
        """The term under which new entries are written."""
        return self.current.term

    @property
    def leader(self) -> int:
        """The member that leads, 0 if none is known to."""
        return self.current.leader

    @property
    def leads(self) -> bool:
        """Whether this member leads."""
        return self.current.leads

    @property
    def applied_term(self) -> int:
        """The term of the last entry applied."""
        return self.current.applied_term

    @property
    def last_index(self) -> int:
        """The index of the last entry."""
        return self.current.last_index

    @property
    def committed_index(self) -> int:
        """The index of the last entry that is agreed on."""
        return self.current.committed_index

    @property
    def pending(self) -> int:
        """How many proposed entries are not applied yet."""
        return self.current.pending

    def propose_as_leader(self, entry: bytes, context: object) -> None:
        """Propose what only the leader may."""
        self.current.propose_as_leader(entry, context)

    def propose_membership(self, change: ConfChange, entry: bytes, context: object) -> None:
        """Propose to change who the members are."""
        self.current.propose_membership(change, entry, context)
