"""The seam between the state machine and whatever makes its entries durable and ordered.

Every write reaches the state machine through a `Log`: propose -> durable (with several members also
agreed) -> `LogSink.apply` in log order. The one-member log and the Raft log both satisfy it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from sampan.base.errors import SampanError
from sampan.raft import ConfChange
from sampan.wire.grpc.status import RpcError

__all__ = ["Log", "LogFullError", "LogSink"]


class LogFullError(SampanError):
    """There is no room for an entry; nothing of it is in the log, and others may follow."""


class LogSink(Protocol):
    """The state machine's side of the log."""

    def apply(self, first_index: int, entries: Sequence[bytes], contexts: Sequence[object]) -> None:
        """Take committed entries `first_index`, `first_index + 1`, ... in order.

        `contexts[i]` is what `Log.propose` was given with `entries[i]`; None on replay and for
        entries proposed by another member. Both sequences have the same length, never zero.
        """

    def rejected(self, contexts: Sequence[object], error: Exception) -> None:
        """Learn that the proposals with these contexts will never be applied, and why.

        Nothing of them is in the log. `error` is typed by the log: LogFullError when there is no
        room, anything else when it takes no more entries.
        """


class Log(Protocol):
    """The proposer's side: an ordered, durable log of opaque entries."""

    @property
    def term(self) -> int:
        """The term under which new entries are written, >= 1."""

    @property
    def leader(self) -> int:
        """The id of the member that leads as far as known, 0 if nobody does."""

    @property
    def leads(self) -> bool:
        """Whether this member leads: it alone expires leases and compacts by itself."""

    @property
    def applied_term(self) -> int:
        """The term of the last entry applied."""

    @property
    def last_index(self) -> int:
        """The index of the last entry proposed so far, durable or not."""

    @property
    def committed_index(self) -> int:
        """The index of the last entry known to be durable and agreed on."""

    @property
    def pending(self) -> int:
        """How many proposed entries are not applied yet (for "too many requests")."""

    def propose(self, entry: bytes, context: object) -> None:
        """Append `entry`; never blocks.

        Later, on the loop, the sink gets it in `apply` once it is durable, or its context in
        `rejected`. Exactly one of the two happens.
        """

    def propose_as_leader(self, entry: bytes, context: object) -> None:
        """As `propose`, but rejected if another member leads by the time it would be sent.

        A lease must not end by the word of a member that led when it was last renewed elsewhere.
        """

    def propose_membership(self, change: ConfChange, entry: bytes, context: object) -> None:
        """Propose to change who the members are; as `propose`, for an entry of a MEMBER_* kind."""

    def read_barrier(self, ready: Callable[[], None], failed: Callable[[RpcError], None]) -> None:
        """Call `ready` (maybe at once) when everything acknowledged before this call is applied.

        This is the gate of a linearizable read. Acknowledged by whichever member; when that cannot
        be found out in time, `failed` is called instead.
        """
