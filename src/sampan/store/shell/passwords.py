"""Hashing and checking passwords with bcrypt, which is slow on purpose, off the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

from sampan.store.core import errors
from sampan.wire.grpc.status import Code, RpcError

__all__ = ["DEFAULT_COST", "MAX_PENDING", "Passwords"]

DEFAULT_COST: Final = 10
"""The logarithm of the work per password, as in `--bcrypt-cost`."""

MAX_PENDING: Final = 1000
"""How many passwords may wait to be hashed or checked; more are refused."""

_MIN_COST, _MAX_COST = 4, 31
_MAX_BYTES = 72
_WORKERS = 2

_T = TypeVar("_T")


def _hash(password: bytes, cost: int) -> bytes:
    import bcrypt  # here, because a server without passwords starts faster without it

    return bcrypt.hashpw(password, bcrypt.gensalt(cost, prefix=b"2a"))


def _matches(password_hash: bytes, password: bytes) -> bool:
    import bcrypt

    try:
        return bcrypt.checkpw(password, password_hash)
    except ValueError:
        # A stored hash that is none matches nothing.
        return False


class Passwords:
    """A few threads of their own, so that a flood of logins does not hold up the disk's work."""

    def __init__(self, cost: int = DEFAULT_COST) -> None:
        """Hash with `cost`; one outside 4 to 31 means the default."""
        self.cost = cost if _MIN_COST <= cost <= _MAX_COST else DEFAULT_COST
        self._executor: ThreadPoolExecutor | None = None
        self._pending = 0

    async def hash(self, password: str) -> bytes:
        """Return the bcrypt hash with a fresh salt.

        Raises UNKNOWN for a password of more than 72 bytes, which bcrypt cannot tell apart.
        """
        data = password.encode()
        if len(data) > _MAX_BYTES:
            raise RpcError(Code.UNKNOWN, "bcrypt: password length exceeds 72 bytes")
        return await self._run(lambda: _hash(data, self.cost))

    async def matches(self, password_hash: bytes, password: str) -> bool:
        """Say whether `password` is the one hashed."""
        data = password.encode()[:_MAX_BYTES]
        return await self._run(lambda: _matches(password_hash, data))

    async def _run(self, work: Callable[[], _T]) -> _T:
        if self._pending >= MAX_PENDING:
            raise errors.TOO_MANY_REQUESTS()
        if self._executor is None:
            self._executor = ThreadPoolExecutor(_WORKERS, "passwords")
        self._pending += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._executor, work)
        finally:
            self._pending -= 1

    def close(self) -> None:
        """Drop what waits; what runs ends by itself."""
        if self._executor is not None:
            self._executor.shutdown(wait=False, cancel_futures=True)
