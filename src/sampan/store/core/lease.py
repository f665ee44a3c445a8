"""Leases: keys that go away when their owner stops saying that it is there.

What a member does with a lease is in the log (grant, revoke, checkpoint) and hence the same on
every member. When a lease runs out is not: only the *primary* counts the time, and when a lease has
run out it proposes to revoke it. A keepalive costs no log entry; it only moves the deadline on the
primary. A long lease is *checkpointed* now and then, so that its remaining time survives a restart
or a change of the primary; without a checkpoint a lease starts with its full time again.

Times are seconds of a monotonic clock that the caller hands in.
Source: the v3 API's Lease service; the layout of bucket "lease" is etcd's (leasepb.Lease).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush
from math import ceil, inf
from typing import Final, Protocol

from sampan.store.core import errors
from sampan.store.core.backend import Backend
from sampan.store.pb import lease_pb2

__all__ = ["MAX_TTL_S", "REVOKE_RATE", "KeySpace", "Lease", "Lessor"]

MAX_TTL_S: Final = 9_000_000_000
"""The longest time to live that can be asked for, in seconds."""

REVOKE_RATE: Final = 1000
"""At most this many expired leases are to be revoked per second."""

_BUCKET = "lease"
_RETRY_S = 3.0
"""An expired lease whose revocation did not happen is offered again after this time."""

_PROMOTE_RATE = REVOKE_RATE * 3 // 4
"""Deadlines per second after a promotion, so that later ones find some of the rate left."""


class KeySpace(Protocol):
    """Where the keys of a lease live."""

    def delete(self, key: bytes) -> object:
        """Delete `key` in the open transaction."""

    def commit(self) -> int:
        """Close the transaction, return the revision after it."""


@dataclass(slots=True, eq=False)
class Lease:
    """A granted lease.

    `ttl_s` is the granted time, `remaining_s` the last checkpoint (0: none) and `deadline_s` the
    moment it runs out, infinite on a member that is not the primary.
    """

    lease_id: int
    ttl_s: int
    remaining_s: int = 0
    deadline_s: float = inf
    keys: set[bytes] = field(default_factory=set)
    checkpoint_scheduled: bool = False
    _gone: list[Callable[[], None]] = field(default_factory=list)

    def when_revoked(self, callback: Callable[[], None]) -> None:
        """Call `callback` once when the lease is revoked."""
        self._gone.append(callback)

    def _revoked(self) -> None:
        callbacks, self._gone = self._gone, []
        for callback in callbacks:
            callback()


class Lessor:
    """All leases of the store.

    `min_ttl_s` is what a shorter request is raised to (1.5 election timeouts); `clock` gives the
    monotonic time in seconds; `checkpoint_interval_s` infinite turns checkpoints off.
    """

    def __init__(
        self,
        backend: Backend,
        clock: Callable[[], float],
        *,
        min_ttl_s: int = 2,
        checkpoint_interval_s: float = 300.0,
    ) -> None:
        self.primary = False
        self.granted_total = 0
        self.revoked_total = 0
        self.renewed_total = 0
        self.expired_total = 0
        self._backend = backend
        self._clock = clock
        self._min_ttl_s = min_ttl_s
        self._checkpoint_interval_s = checkpoint_interval_s
        self._leases: dict[int, Lease] = {}
        # One entry per lease, at its deadline or before: a keepalive leaves the entry where it is,
        # and an entry that comes up too early is put back.
        self._deadlines: list[tuple[float, int, Lease]] = []
        self._checkpoints: list[tuple[float, int, Lease]] = []
        self._ticket = 0

    def __len__(self) -> int:
        return len(self._leases)

    def __contains__(self, lease_id: int) -> bool:
        return lease_id in self._leases

    # ---- what the log says

    def grant(self, lease_id: int, ttl_s: int) -> Lease:
        """Create a lease of at least `ttl_s` seconds; a shorter time than the minimum is raised.

        Raises LEASE_NOT_FOUND for ID 0, LEASE_TTL_TOO_LARGE, LEASE_EXIST.
        """
        if not lease_id:
            raise errors.LEASE_NOT_FOUND()
        if ttl_s > MAX_TTL_S:
            raise errors.LEASE_TTL_TOO_LARGE()
        if lease_id in self._leases:
            raise errors.LEASE_EXIST()
        lease = Lease(lease_id, max(ttl_s, self._min_ttl_s))
        self._leases[lease_id] = lease
        self._persist(lease)
        if self.primary:
            self._start(lease, self._clock())
        self.granted_total += 1
        return lease

    def revoke(self, lease_id: int, key_space: KeySpace) -> None:
        """Remove the lease and delete its keys, in order, in one revision.

        Raises LEASE_NOT_FOUND.
        """
        lease = self._leases.pop(lease_id, None)
        if lease is None:
            raise errors.LEASE_NOT_FOUND()
        for key in sorted(lease.keys):
            key_space.delete(key)
        key_space.commit()
        self._backend.delete(_BUCKET, _row(lease_id))
        self.revoked_total += 1
        if lease.deadline_s <= self._clock():
            self.expired_total += 1
        lease._revoked()

    def checkpoint(self, lease_id: int, remaining_s: int) -> None:
        """Record how long the lease has left, 0 for its full time; an unknown lease is ignored."""
        lease = self._leases.get(lease_id)
        if lease is None:
            return
        lease.remaining_s = remaining_s
        self._persist(lease)

    def attach(self, key: bytes, lease_id: int) -> None:
        """Let the key go away with the lease; ignored for an unknown lease."""
        lease = self._leases.get(lease_id)
        if lease is not None:
            lease.keys.add(key)

    def detach(self, key: bytes, lease_id: int) -> None:
        """Undo `attach`; ignored for an unknown lease."""
        lease = self._leases.get(lease_id)
        if lease is not None:
            lease.keys.discard(key)

    def restore(self) -> None:
        """Read the leases from the backend; the keys are attached by whoever reads the keys."""
        self.demote()
        self._leases.clear()
        for _, row in self._backend.scan(_BUCKET):
            stored = lease_pb2.Lease.FromString(row)
            ttl_s = max(stored.TTL, self._min_ttl_s)
            self._leases[stored.ID] = Lease(stored.ID, ttl_s, stored.RemainingTTL)

    # ---- what only the primary knows

    def promote(self, extend_s: float = 0.0) -> None:
        """Become the primary: every lease runs from now on, with `extend_s` on top.

        Deadlines that pile up are spread out, for each of them becomes a log entry.
        """
        self.primary = True
        now_s = self._clock()
        for lease in self._leases.values():
            lease.deadline_s = now_s + extend_s + (lease.remaining_s or lease.ttl_s)
        by_deadline = sorted(self._leases.values(), key=lambda lease: lease.deadline_s)
        if len(by_deadline) >= REVOKE_RATE:
            earliest_s = 0.0
            for lease in by_deadline:
                lease.deadline_s = max(lease.deadline_s, earliest_s)
                earliest_s = lease.deadline_s + 1 / _PROMOTE_RATE
        self._deadlines = [(lease.deadline_s, self._next(), lease) for lease in by_deadline]
        heapify(self._deadlines)
        self._checkpoints = []
        for lease in by_deadline:
            lease.checkpoint_scheduled = False
            self._schedule_checkpoint(lease, now_s)

    def demote(self) -> None:
        """Stop being the primary: no lease runs out here any more."""
        self.primary = False
        self._deadlines = []
        self._checkpoints = []
        for lease in self._leases.values():
            lease.deadline_s = inf

    def renew(self, lease_id: int) -> int:
        """Start the lease's time again; return it in seconds, 0 when it is unknown or has run out.

        A lease with a checkpoint must get one of 0 through the log before (see `checkpointed`).
        Raises NOT_LEADER on a member that is not the primary.
        """
        if not self.primary:
            raise errors.NOT_LEADER()
        now_s = self._clock()
        lease = self._leases.get(lease_id)
        if lease is None or lease.deadline_s <= now_s:
            return 0
        lease.deadline_s = now_s + lease.ttl_s
        self._schedule_checkpoint(lease, now_s)
        self.renewed_total += 1
        return lease.ttl_s

    def checkpointed(self, lease_id: int) -> bool:
        """Say whether the log holds a checkpoint that a keepalive has to reset."""
        lease = self._leases.get(lease_id)
        return lease is not None and lease.remaining_s > 0

    def has_run_out(self, lease_id: int) -> bool:
        """Say whether the lease still exists but has run out, so that its revocation is near."""
        lease = self._leases.get(lease_id)
        return lease is not None and lease.deadline_s <= self._clock()

    def expired(self, limit: int) -> list[int]:
        """Return the IDs of at most `limit` leases to revoke now, those longest over first.

        A lease is given out again after 3 s if it still exists then.
        """
        now_s = self._clock()
        due: list[int] = []
        heap = self._deadlines
        while heap and heap[0][0] <= now_s and len(due) < limit:
            _, _, lease = heappop(heap)
            if self._leases.get(lease.lease_id) is not lease:
                continue
            if lease.deadline_s > now_s:
                heappush(heap, (lease.deadline_s, self._next(), lease))
                continue
            due.append(lease.lease_id)
            heappush(heap, (now_s + _RETRY_S, self._next(), lease))
        return due

    def due_checkpoints(self, limit: int = 1000) -> list[tuple[int, int]]:
        """Return (lease ID, remaining seconds) of at most `limit` checkpoints to propose now."""
        now_s = self._clock()
        due: list[tuple[int, int]] = []
        heap = self._checkpoints
        while heap and heap[0][0] <= now_s and len(due) < limit:
            _, _, lease = heappop(heap)
            lease.checkpoint_scheduled = False
            if self._leases.get(lease.lease_id) is not lease or lease.deadline_s <= now_s:
                continue
            remaining_s = ceil(lease.deadline_s - now_s)
            if remaining_s < lease.ttl_s:
                due.append((lease.lease_id, remaining_s))
            self._schedule_checkpoint(lease, now_s)
        return due

    # ---- looking

    def lookup(self, lease_id: int) -> Lease | None:
        """Return the lease, None when there is none."""
        return self._leases.get(lease_id)

    def remaining_s(self, lease: Lease) -> float:
        """Return the seconds until the lease runs out; negative when it has, infinite elsewhere."""
        return lease.deadline_s - self._clock()

    def leases(self) -> list[Lease]:
        """Return all leases, the next to run out first."""
        return sorted(self._leases.values(), key=lambda lease: (lease.deadline_s, lease.lease_id))

    # ---- inside

    def _start(self, lease: Lease, now_s: float) -> None:
        lease.deadline_s = now_s + (lease.remaining_s or lease.ttl_s)
        heappush(self._deadlines, (lease.deadline_s, self._next(), lease))
        self._schedule_checkpoint(lease, now_s)

    def _schedule_checkpoint(self, lease: Lease, now_s: float) -> None:
        """Keep one checkpoint ahead while the lease has more than an interval left."""
        if lease.checkpoint_scheduled:
            return
        if lease.deadline_s - now_s > self._checkpoint_interval_s:
            lease.checkpoint_scheduled = True
            due_s = now_s + self._checkpoint_interval_s
            heappush(self._checkpoints, (due_s, self._next(), lease))

    def _next(self) -> int:
        """Return a number that decides between equal times, so that leases are never compared."""
        self._ticket += 1
        return self._ticket

    def _persist(self, lease: Lease) -> None:
        row = lease_pb2.Lease(ID=lease.lease_id, TTL=lease.ttl_s, RemainingTTL=lease.remaining_s)
        self._backend.put(_BUCKET, _row(lease.lease_id), row.SerializeToString())


def _row(lease_id: int) -> bytes:
    return lease_id.to_bytes(8, "big", signed=True)
