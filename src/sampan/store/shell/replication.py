"""The seam between the replicated log and whatever carries its messages to the other members.

The log decides what is said to whom; the transport knows addresses, streams and certificates. A
transport may lose, delay and reorder messages, as Raft allows; what it must not do is change one,
or deliver a PROPOSE message twice: what is proposed twice is applied twice.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Protocol

from sampan.raft import Message

__all__ = ["PeerSink", "PeerTransport", "SnapshotSource"]


class SnapshotSource(Protocol):
    """The store's content at one applied index, on its way to a member that lags too far behind.

    `message` is the SNAPSHOT message that names exactly this content: index, term, membership.
    """

    message: Message
    size_bytes: int

    def blocks(self, block_bytes: int) -> AsyncIterator[bytes]:
        """Yield the content, which only a log at the other end reads, in pieces of that size."""


class PeerTransport(Protocol):
    """What the log asks of the transport. All methods belong to the event loop, none blocks."""

    def connect(self, addresses: Mapping[int, Sequence[str]]) -> None:
        """Talk to these members from now on and to no others; peer URLs by member id, own left out.

        Called again whenever the membership or an address has changed.
        """

    def send(self, messages: Sequence[Message]) -> None:
        """Send messages, in order per member, to whoever their `to` names.

        What cannot be sent is dropped and reported by `PeerSink.unreachable`. A SNAPSHOT message
        makes the transport ask for `PeerSink.snapshot_source` and stream that beside the rest.
        """

    def active_since_s(self, member_id: int) -> float | None:
        """Return since when a member is connected, by the loop's clock; None if it is not."""

    async def close(self) -> None:
        """Let go of all connections; what is queued is lost."""


class PeerSink(Protocol):
    """What the transport tells the log, on the event loop."""

    snapshot_directory: Path
    """Where a snapshot under way is kept: on the file system of the data directory."""

    def received(self, messages: Sequence[Message]) -> None:
        """Take messages from other members of this cluster that are addressed to this one."""

    def unreachable(self, member_id: int) -> None:
        """Hear that messages to a member were probably lost."""

    def snapshot_sent(self, member_id: int, *, delivered: bool) -> None:
        """Hear what became of a snapshot sent to a member."""

    def snapshot_source(self, message: Message) -> AbstractAsyncContextManager[SnapshotSource]:
        """Make the content that answers a SNAPSHOT message, for as long as the context lasts."""

    async def receive_snapshot(self, message: Message, path: Path) -> None:
        """Take a snapshot that has arrived whole and verified at `path`; the file is the log's now.

        Returns when it is installed, or found to be out of date. Raises SampanError.
        """
