"""Automatic compaction: when to compact, and up to which revision.

The policies are pure: they are told the time and the revision and answer with the revision to
compact at. `Compactor` asks one of them on its schedule. As in etcd, `periodic` keeps a window of
time and compacts once per window, at most once an hour; `revision` keeps a number of revisions and
looks every five minutes.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Protocol

from sampan.base.log import Logger
from sampan.base.units import parse_duration_s
from sampan.wire.grpc.status import Code, RpcError

__all__ = ["Compactor", "Periodic", "Policy", "Revision", "make_policy"]

_HOUR_S = 3600.0
_REVISION_INTERVAL_S = 300.0
_SAMPLES_PER_COMPACTION = 10


class Policy(Protocol):
    """Decides when to compact."""

    @property
    def interval_s(self) -> float:
        """Seconds between two calls of `tick`."""
        ...

    def tick(self, now_s: float, revision: int) -> int | None:
        """Return the revision to compact at now, or None; `revision` is the store's."""
        ...

    def compacted(self, now_s: float, revision: int) -> None:
        """Take note that the revision which `tick` gave has been compacted."""
        ...


class Periodic:
    """Keeps `retention_s` seconds of history."""

    def __init__(self, retention_s: float, now_s: float) -> None:
        self._retention_s = retention_s
        self._every_s = min(retention_s, _HOUR_S)
        self._due_s = now_s + retention_s
        self._samples: deque[int] = deque(maxlen=int(retention_s / self.interval_s) + 1)
        self._last = 0

    @property
    def interval_s(self) -> float:
        """A tenth of the time between two compactions."""
        return self._every_s / _SAMPLES_PER_COMPACTION

    def tick(self, now_s: float, revision: int) -> int | None:
        """Return the revision that was current one retention ago, once that is due."""
        target = None
        if self._samples and now_s >= self._due_s and self._samples[0] != self._last:
            target = self._samples[0]
        self._samples.append(revision)
        return target

    def compacted(self, now_s: float, revision: int) -> None:
        """Count the time to the next compaction from here."""
        self._due_s = now_s + self._every_s
        self._last = revision


class Revision:
    """Keeps the last `retention_revs` revisions."""

    def __init__(self, retention_revs: int) -> None:
        self._retention_revs = retention_revs
        self._last = 0

    @property
    def interval_s(self) -> float:
        """Five minutes."""
        return _REVISION_INTERVAL_S

    def tick(self, now_s: float, revision: int) -> int | None:
        """Return the revision that leaves exactly the retained ones, when there is a new one."""
        target = revision - self._retention_revs
        return target if target > 0 and target != self._last else None

    def compacted(self, now_s: float, revision: int) -> None:
        """Do not give the same revision again."""
        self._last = revision


def make_policy(mode: str, retention: str, now_s: float) -> Policy | None:
    """Return the policy for `--auto-compaction-mode` and `-retention`, None when disabled.

    A bare number means hours in periodic mode and revisions in revision mode; 0 disables. Raises
    ValueError for an unknown mode or a retention that is neither.
    """
    if mode not in ("periodic", "revision"):
        raise ValueError(f'unknown auto-compaction-mode "{mode}"')
    number = int(retention) if retention.isascii() and retention.isdigit() else None
    if mode == "revision":
        if number is None:
            raise ValueError(
                f'auto-compaction-retention "{retention}" is not a number of revisions'
            )
        return Revision(number) if number else None
    try:
        seconds = parse_duration_s(retention) if number is None else number * _HOUR_S
    except ValueError as error:
        raise ValueError(f"auto-compaction-retention: {error}") from None
    if seconds < 0:
        raise ValueError(f'auto-compaction-retention "{retention}" is negative')
    return Periodic(seconds, now_s) if seconds else None


class Compactor:
    """Runs one policy: `revision()` reads the store's, `await compact(rev)` compacts it."""

    def __init__(
        self,
        policy: Policy,
        *,
        revision: Callable[[], int],
        compact: Callable[[int], Awaitable[object]],
        log: Logger,
        now_s: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._policy = policy
        self._revision = revision
        self._compact = compact
        self._log = log
        self._now_s = now_s
        self._sleep = sleep

    async def run(self) -> None:
        """Compact on schedule until cancelled; a failed compaction is logged and tried again."""
        while True:
            await self.step()
            await self._sleep(self._policy.interval_s)

    async def step(self) -> None:
        """Ask the policy once and do what it says."""
        target = self._policy.tick(self._now_s(), self._revision())
        if target is None:
            return
        self._log.info("starting auto compaction", revision=target)
        try:
            await self._compact(target)
        except RpcError as error:
            # OUT_OF_RANGE: somebody else has already compacted beyond; as good as done.
            if error.code is not Code.OUT_OF_RANGE:
                message = "failed auto compaction"
                self._log.warning(message, revision=target, error=error.message)
                return
        self._policy.compacted(self._now_s(), target)
        self._log.info("completed auto compaction", revision=target)
