"""How a member behaves: fixed for its life, checked once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from sampan.raft.message import NO_LIMIT, NONE
from sampan.raft.storage import Storage

__all__ = ["Options", "ReadMode"]


class ReadMode(Enum):
    """How a leader makes sure that it still leads before it answers a read (thesis 6.4).

    SAFE   a round of heartbeats confirms it
    LEASE  the answers to recent heartbeats do while they are fresh, else as SAFE. Needs clocks
           that run at about the same speed: see `sampan.raft.reads`.
    """

    SAFE = "safe"
    LEASE = "lease"


@dataclass(frozen=True, slots=True)
class Options:
    """A member's settings. Raises ValueError for those that make no sense.

    id                     the member's own, positive and never used again by another
    storage                what is durable
    draw                   `draw(n)` returns an integer in [0, n), evenly and independently of the
                           other members', as `random.Random(seed).randrange` does
    applied                the last index that the application had applied before a restart
    election_ticks         T; an election starts after [T, 2T) ticks without a leader
    heartbeat_ticks        a leader sends heartbeats that often; less than T
    pre_vote               ask before disturbing a leader (thesis 9.6)
    check_quorum           a leader that does not hear a majority for T ticks steps down, and
                           nobody votes within T ticks of hearing a leader (thesis 6.2, 4.2.3)
    read_mode              LEASE needs check_quorum
    forwarding             a follower passes proposals on to its leader
    step_down_on_removal   a leader that is no voter any more steps down as it applies that
    async_writes           see `sampan.raft`
    patient_commit         a leader tells what is committed with the next entries or heartbeat, or
                           when it is asked to by `announce_commit`, instead of at once
    max_message_bytes      of the entries in one append; one entry may exceed it
    max_inflight_messages  appends not answered yet, per follower
    max_inflight_bytes     the same in bytes
    max_uncommitted_bytes  data proposed and not committed yet; one proposal may exceed it
    max_applying_bytes     of entries handed out and not reported applied; one may exceed it
    """

    id: int
    storage: Storage
    draw: Callable[[int], int]
    applied: int = 0
    election_ticks: int = 10
    heartbeat_ticks: int = 1
    pre_vote: bool = True
    check_quorum: bool = True
    read_mode: ReadMode = ReadMode.SAFE
    forwarding: bool = True
    step_down_on_removal: bool = True
    async_writes: bool = False
    patient_commit: bool = False
    max_message_bytes: int = 1 << 20
    max_inflight_messages: int = 256
    max_inflight_bytes: int = NO_LIMIT
    max_uncommitted_bytes: int = NO_LIMIT
    max_applying_bytes: int = 1 << 26

    def __post_init__(self) -> None:
        _require(self.id != NONE and self.id > 0, "a member's id is positive")
        _require(self.heartbeat_ticks > 0, "heartbeat_ticks must be positive")
        _require(
            self.election_ticks > self.heartbeat_ticks,
            "election_ticks must be greater than heartbeat_ticks",
        )
        _require(
            self.check_quorum or self.read_mode is not ReadMode.LEASE,
            "lease reads need check_quorum",
        )
        for name in (
            "max_message_bytes",
            "max_inflight_messages",
            "max_inflight_bytes",
            "max_uncommitted_bytes",
            "max_applying_bytes",
        ):
            _require(getattr(self, name) > 0, f"{name} must be positive")


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)
