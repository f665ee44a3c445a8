"""What can go wrong outside the algorithm.

SampanError
  RaftError
    ProposalDropped       not taken: no leader, a transfer under way, the limit reached ...; retry
    ConfChangeError       the membership change is not allowed from the present configuration
    StorageError
      Compacted           the entries asked for were replaced by a snapshot
      Unavailable         the entries asked for are not there (yet)
      SnapshotUnavailable no snapshot can be had just now; the caller asks again later
      SnapshotOutOfDate   the snapshot offered is older than the one there is
"""

from __future__ import annotations

from sampan.base.errors import SampanError

__all__ = [
    "Compacted",
    "ConfChangeError",
    "ProposalDropped",
    "RaftError",
    "SnapshotOutOfDate",
    "SnapshotUnavailable",
    "StorageError",
    "Unavailable",
]


class RaftError(SampanError):
    """The library's own errors; everything else it raises is an InvariantError, a bug."""


class ProposalDropped(RaftError):
    """The proposal was not taken and left no trace; proposing again later may succeed."""


class ConfChangeError(RaftError):
    """The membership change is not allowed from the present configuration."""


class StorageError(RaftError):
    """Storage cannot give what was asked for."""


class Compacted(StorageError):
    """The index lies before the first entry kept; a snapshot stands for it."""


class Unavailable(StorageError):
    """The index lies behind the last entry kept."""


class SnapshotUnavailable(StorageError):
    """A snapshot is being prepared; ask again at the next chance."""


class SnapshotOutOfDate(StorageError):
    """A newer snapshot is there already."""
