"""Linearizable reads of a replica: those that come together ask the leader once.

A read waits for a round, the round for the leader's answer, and the answer for what it names to be
applied here. Each has its time; a round without an answer is asked for again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from sampan.store.core import errors
from sampan.wire.grpc.status import RpcError

__all__ = ["ReadRounds"]

_Ready = Callable[[], None]
_Failed = Callable[[RpcError], None]


@dataclass(slots=True)
class _Read:
    """A read that waits; `until` is the tick of its failure."""

    ready: _Ready
    failed: _Failed
    until: int


@dataclass(slots=True)
class _Round:
    """Reads that were asked for together."""

    context: bytes
    reads: list[_Read]
    asked: int


class ReadRounds:
    """All reads of a member that wait. Times are ticks; `ask` asks the leader for an index."""

    def __init__(self, ask: Callable[[bytes], None], *, patience: int, retry: int) -> None:
        self._ask: Final = ask
        self._patience = patience
        self._retry = retry
        self._waiting: list[_Read] = []
        self._round: _Round | None = None
        self._confirmed: deque[tuple[int, list[_Read]]] = deque()

    @property
    def wants_round(self) -> bool:
        """Whether reads wait for a question, and none is under way."""
        return self._round is None and bool(self._waiting)

    def add(self, ready: _Ready, failed: _Failed, tick: int) -> None:
        """Let a read wait; one of both is called in the end."""
        self._waiting.append(_Read(ready, failed, tick + self._patience))

    def begin(self, context: bytes, tick: int) -> None:
        """Ask once for all reads that came since the last question."""
        self._round = _Round(context, self._waiting, tick)
        self._waiting = []
        self._ask(context)

    def ask_again(self, tick: int) -> None:
        """Repeat a question that has had no answer for too long."""
        if self._round is not None and tick - self._round.asked >= self._retry:
            self._round.asked = tick
            self._ask(self._round.context)

    def confirm(self, context: bytes, index: int) -> None:
        """The leader has answered: reads of that round wait for the index now."""
        asked = self._round
        if asked is None or asked.context != context:
            return  # the answer to a question that was asked twice
        self._round = None
        self._confirmed.append((index, asked.reads))

    def serve(self, applied_index: int) -> None:
        """Let those read who waited for what is applied."""
        confirmed = self._confirmed
        while confirmed and confirmed[0][0] <= applied_index:
            for read in confirmed.popleft()[1]:
                read.ready()

    def leader_lost(self) -> None:
        """The old leader may never answer: ask the new one."""
        if self._round is not None:
            self._waiting = self._round.reads + self._waiting
            self._round = None

    def expire(self, tick: int, lateness: Callable[[], RpcError]) -> None:
        """Fail what has waited too long."""
        if self._waiting and self._waiting[0].until <= tick:
            late = [read for read in self._waiting if read.until <= tick]
            self._waiting = self._waiting[len(late) :]
            _fail(late, lateness())
        if self._round is not None and self._round.reads[0].until <= tick:
            late, self._round = self._round.reads, None
            _fail(late, lateness())
        while self._confirmed and self._confirmed[0][1][0].until <= tick:
            _fail(self._confirmed.popleft()[1], errors.TIMEOUT_WAIT_APPLIED_INDEX())

    def stop(self) -> None:
        """Fail everything: there will be no answer."""
        for read in list(self._all()):
            read.failed(errors.STOPPED())
        self._waiting, self._round = [], None
        self._confirmed.clear()

    def _all(self) -> Iterator[_Read]:
        yield from self._waiting
        if self._round is not None:
            yield from self._round.reads
        for _, reads in self._confirmed:
            yield from reads


def _fail(reads: list[_Read], error: RpcError) -> None:
    for read in reads:
        read.failed(error)
