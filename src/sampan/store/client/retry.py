"""What to do about a failed call: give up, try another endpoint, or get a new token. Pure.

A read may be repeated whenever an endpoint was not available. A write may be repeated only when it
surely had no effect: the call never reached a server's application (`NotProcessedError`), or the
server refused it before applying it, as it does with a stale auth token.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum, auto

from sampan.loop.channel_errors import NotProcessedError
from sampan.wire.grpc.status import Code, RpcError

__all__ = ["Rotation", "Verdict", "judge"]

# etcd refuses with these before a request takes effect; a new token cures each of them. The last
# two are what a server says that had auth enabled after our first call, or that knows no tokens.
_STALE_TOKEN = {
    (Code.UNAUTHENTICATED, "etcdserver: invalid auth token"),
    (Code.INVALID_ARGUMENT, "etcdserver: revision of auth store is old"),
    (Code.INVALID_ARGUMENT, "etcdserver: user name is empty"),
}


class Verdict(Enum):
    """What a failed call asks for."""

    FAIL = auto()
    RETRY = auto()
    REFRESH_TOKEN = auto()


def judge(error: RpcError, *, repeatable: bool) -> Verdict:
    """Judge a failed call; `repeatable` says that doing it twice is as good as once."""
    if isinstance(error, NotProcessedError):
        return Verdict.RETRY
    if (error.code, error.message) in _STALE_TOKEN:
        return Verdict.REFRESH_TOKEN
    if repeatable and error.code is Code.UNAVAILABLE:
        return Verdict.RETRY
    return Verdict.FAIL


class Rotation:
    """The order in which `size` endpoints are tried: a circle that starts at the last good one."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._current = 0

    @property
    def current(self) -> int:
        """The endpoint to use: the last good one, or the next after one that failed."""
        return self._current

    def round(self) -> Iterator[int]:
        """Yield every endpoint once, the current one first."""
        start = self._current
        for step in range(self._size):
            yield (start + step) % self._size

    def succeeded(self, index: int) -> None:
        """Note that endpoint `index` answered."""
        self._current = index

    def failed(self, index: int) -> None:
        """Note that endpoint `index` did not answer; no effect when another is current already."""
        if index == self._current:
            self._current = (index + 1) % self._size
