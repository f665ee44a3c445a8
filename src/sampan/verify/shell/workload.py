"""What the recording clients do: a mix of every kind of operation on a few keys."""

from __future__ import annotations

import random
from dataclasses import dataclass

from sampan.verify.core.request import (
    Compact,
    Compare,
    Delete,
    Grant,
    KeepAlive,
    Put,
    Range,
    Request,
    Revoke,
    Txn,
)

__all__ = ["Keys", "Mix"]

_LEASE_TTL_S = 2.0
_KEPT_REVISIONS = 200


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys of a workload: `count` of them that begin with `prefix`, and the range of all."""

    prefix: bytes
    count: int

    def key(self, number: int) -> bytes:
        """One key."""
        return b"%s%02d" % (self.prefix, number)

    @property
    def end(self) -> bytes:
        """The end of the range of all keys."""
        return self.prefix[:-1] + bytes([self.prefix[-1] + 1])

    @property
    def all(self) -> list[bytes]:
        """All keys."""
        return [self.key(number) for number in range(self.count)]


class Mix:
    """The operations of one client. `seen` is the newest revision that it was told."""

    def __init__(self, dice: random.Random, client: int, keys: Keys, *, compact: bool) -> None:
        self._dice = dice
        self._client = client
        self._keys = keys
        self._sequence = 0
        self._lease = 0
        self.seen = 0
        self._kinds = {
            self._put: 30,
            self._get: 20,
            self._range: 8,
            self._stale: 6,
            self._past: 4,
            self._swap: 12,
            self._move: 6,
            self._delete: 6,
            self._delete_range: 1,
            self._put_with_lease: 5,
            self._keep_alive: 3,
            self._revoke: 1,
            self._compact: 0.3 if compact and client == 1 else 0,
        }

    def next(self) -> Request:
        """The next operation."""
        kinds = list(self._kinds)
        (kind,) = self._dice.choices(kinds, [self._kinds[one] for one in kinds])
        return kind()

    def _key(self) -> bytes:
        return self._keys.key(self._dice.randrange(self._keys.count))

    def _value(self) -> bytes:
        self._sequence += 1
        return b"%d.%d" % (self._client, self._sequence)

    def _flip(self) -> bool:
        return self._dice.random() < 0.5

    def _put(self) -> Request:
        return Put(self._key(), self._value(), prev_kv=self._flip())

    def _get(self) -> Request:
        return Range(self._key())

    def _range(self) -> Request:
        limit = self._dice.choice((0, 0, 3))
        count_only, keys_only = (self._dice.random() < 0.1 for _ in range(2))
        return Range(
            self._keys.prefix,
            self._keys.end,
            limit=limit,
            keys_only=keys_only,
            count_only=count_only,
        )

    def _stale(self) -> Request:
        return Range(self._keys.prefix, self._keys.end, serializable=True)

    def _past(self) -> Request:
        revision = max(0, self.seen - self._dice.randrange(20))
        return Range(self._keys.prefix, self._keys.end, revision=revision)

    def _delete(self) -> Request:
        return Delete(self._key(), prev_kv=self._flip())

    def _delete_range(self) -> Request:
        start, end = sorted((self._key(), self._key()))
        return Delete(start, end + b"\0", prev_kv=self._flip())

    def _swap(self) -> Request:
        """Take a key if nobody has it, as a lock does, or read who has."""
        key = self._key()
        free = Compare(key, self._dice.choice(("create", "mod", "version")), "=", 0)
        return Txn((free,), (Put(key, self._value()),), (Range(key),))

    def _move(self) -> Request:
        """Write two keys at once if the first is not too new; read the range in both cases."""
        one, other = self._dice.sample(self._keys.all, 2)
        old = Compare(one, "mod", "<", self.seen)
        write = (Put(one, self._value()), Put(other, self._value()))
        everything = Range(self._keys.prefix, self._keys.end)
        return Txn((old,), (*write, everything), (everything, Delete(other)))

    def _put_with_lease(self) -> Request:
        if self._lease:
            return Put(self._key(), self._value(), self._lease, prev_kv=self._flip())
        self._lease = self._dice.randrange(1 << 32, 1 << 60)
        return Grant(self._lease, _LEASE_TTL_S)

    def _keep_alive(self) -> Request:
        return KeepAlive(self._lease) if self._lease else self._put_with_lease()

    def _revoke(self) -> Request:
        """End the lease, or leave it to end by itself."""
        lease, self._lease = self._lease, 0
        return Revoke(lease) if lease and self._flip() else self._get()

    def _compact(self) -> Request:
        return Compact(max(1, self.seen - _KEPT_REVISIONS))

    def failed(self, request: Request) -> None:
        """An operation with a lease was refused: it has ended, the next one needs another."""
        if isinstance(request, KeepAlive | Put | Grant | Revoke) and request.lease == self._lease:
            self._lease = 0
