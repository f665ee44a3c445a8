"""Recording a history: clients and watchers for a while, then quiet, and one last look."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

from sampan.base.errors import SampanError
from sampan.store.client import Client, RpcError
from sampan.verify.core.history import History, Watcher
from sampan.verify.core.request import Delete, Put, Range, Request, Result, Txn
from sampan.verify.shell.calls import refused, send
from sampan.verify.shell.follower import Follower
from sampan.verify.shell.tape import Tape
from sampan.verify.shell.workload import Keys, Mix

__all__ = ["Options", "Recording", "record"]

_WATCHER_PROCESS = 1_000
_LAST_PROCESS = 0
_RETRY_S = 0.2


@dataclass(frozen=True, slots=True)
class Options:
    """What to record. `rate` is operations a second of all clients together.

    `bookmarks` asks watches for progress; `exclusive` says that nobody else writes to the store;
    `settle_s` is how long the store may take to get well after the trouble.
    """

    endpoints: tuple[str, ...]
    clients: int = 5
    seconds: float = 10.0
    rate: float = 200.0
    keys: int = 8
    seed: int = 1
    prefix: bytes = b"record/"
    timeout_s: float = 3.0
    compact: bool = True
    bookmarks: bool = True
    exclusive: bool = True
    settle_s: float = 60.0


@dataclass(frozen=True, slots=True)
class Recording:
    """How a recording went."""

    answered: int
    unknown: int
    failed: int
    watchers: int
    resumptions: int
    revision: int

    def line(self) -> str:
        """The recording in one line."""
        total = self.answered + self.unknown + self.failed
        return (
            f"recorded {total} operations ({self.unknown} of unknown outcome, {self.failed} "
            f"refused) and {self.watchers} watchers ({self.resumptions} resumptions), "
            f"final revision {self.revision}"
        )


async def record(options: Options, path: Path, over: asyncio.Event | None = None) -> Recording:
    """Record into `path` for `options.seconds`, or until `over` is set.

    Raises SampanError when the store does not answer before or after.
    """
    keys = Keys(options.prefix, options.keys)
    async with AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(_client(options, number))
            for number in range(options.clients + 1)
        ]
        cleared = await _patiently(clients[0], Delete(keys.prefix, keys.end), options.settle_s)
        beginning = History(revision=cleared.revision or 1, exclusive=options.exclusive)
        with path.open("w", encoding="utf-8") as file:
            session = _Session(options, keys, Tape(file, beginning), clients)
            followers = [
                await stack.enter_async_context(_client(options, number)) for number in range(5)
            ]
            return await session.run(followers, beginning.revision, over)


def _client(options: Options, number: int) -> Client:
    """A client with connections of its own, which begins with another endpoint than the last."""
    start = number % len(options.endpoints)
    order = options.endpoints[start:] + options.endpoints[:start]
    return Client(order, timeout_s=options.timeout_s, connect_timeout_s=1.0, retry_rounds=1)


async def _patiently(client: Client, request: Request, limit_s: float) -> Result:
    """Do it, however often it takes."""
    error = "no answer"
    with suppress(TimeoutError):
        async with asyncio.timeout(limit_s):
            while True:
                try:
                    return await send(client, request)
                except RpcError as failure:
                    error = str(failure)
                    await asyncio.sleep(_RETRY_S)
    raise SampanError(f"the store did not answer within {limit_s:g} s: {error}")


class _Session:
    """One recording: the parts that share the tape."""

    def __init__(self, options: Options, keys: Keys, tape: Tape, clients: Sequence[Client]) -> None:
        self.options = options
        self.keys = keys
        self.tape = tape
        self.clients = clients
        self.stopped = False

    async def run(
        self, watching: Sequence[Client], revision: int, over: asyncio.Event | None
    ) -> Recording:
        """Do it all."""
        followers = self.followers(watching, revision + 1)
        tasks = [asyncio.create_task(one.run()) for one in followers]
        try:
            async with asyncio.TaskGroup() as group:
                for number in range(1, self.options.clients + 1):
                    group.create_task(self.work(number))
                group.create_task(self.stop(over))
            final = await self.last_writes()
            await self.catch_up(followers, final)
            await self.last_reads()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        for one in followers:
            one.end(final)
        return Recording(
            self.tape.answered,
            self.tape.unknown,
            self.tape.failed,
            len(followers),
            sum(one.resumptions for one in followers),
            final,
        )

    def followers(self, clients: Sequence[Client], start: int) -> list[Follower]:
        """Watchers of several kinds, each beginning at another member."""
        key, end = self.keys.prefix, self.keys.end
        kinds: list[tuple[bytes, bytes, int, bool, frozenset[str]]] = [
            (key, end, start, True, frozenset()),
            (key, end, start, False, frozenset()),
            (self.keys.key(0), b"", start, True, frozenset()),
            (key, end, start, True, frozenset({"noput"})),
            (key, end, 0, False, frozenset({"nodelete"})),
        ]
        found = []
        for number, (client, kind) in enumerate(zip(clients, kinds, strict=True), 1):
            watcher = Watcher(_WATCHER_PROCESS + number, number, *kind)
            dice = random.Random(f"{self.options.seed} watcher {number}")
            bookmarks = self.options.bookmarks
            found.append(Follower(client, self.tape, watcher, dice, bookmarks=bookmarks))
        return found

    async def stop(self, over: asyncio.Event | None) -> None:
        """Let the clients end when it is time."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self.options.seconds):
                await (over or asyncio.Event()).wait()
        self.stopped = True

    async def work(self, number: int) -> None:
        """One client: an operation, a pause, and so on."""
        dice = random.Random(f"{self.options.seed} client {number}")
        mix = Mix(dice, number, self.keys, compact=self.options.compact)
        pause_s = self.options.clients / self.options.rate
        while not self.stopped:
            request = mix.next()
            result = await self.do(self.clients[number], number, request)
            if result is None:
                mix.failed(request)
            elif result.revision:
                mix.seen = max(mix.seen, result.revision)
            await asyncio.sleep(pause_s * dice.uniform(0.5, 1.5))

    async def do(self, client: Client, process: int, request: Request) -> Result | None:
        """One operation, written down; None unless it was answered."""
        self.tape.invoke(process, request)
        try:
            result = await send(client, request)
        except RpcError as error:
            text = f"{error.code.name}: {error.message}"
            (self.tape.fail if refused(error) else self.tape.lost)(process, text)
            return None
        self.tape.ok(process, result)
        return result

    async def last_writes(self) -> int:
        """Put every key, then delete all, so that every watcher has something to wait for."""
        puts = Txn((), tuple(Put(key, b"last") for key in self.keys.all))
        await self.until_answered(puts)
        result = await self.until_answered(Delete(self.keys.prefix, self.keys.end))
        return result.revision or 0

    async def last_reads(self) -> None:
        """Read everything, at each member."""
        for client in self.clients[1:]:
            await self.do(client, _LAST_PROCESS, Range(self.keys.prefix, self.keys.end))

    async def until_answered(self, request: Request) -> Result:
        """Do it again and again; each attempt is an operation of the history."""
        deadline_s = asyncio.get_running_loop().time() + self.options.settle_s
        while asyncio.get_running_loop().time() < deadline_s:
            result = await self.do(self.clients[0], _LAST_PROCESS, request)
            if result is not None:
                return result
            await asyncio.sleep(_RETRY_S)
        raise SampanError(f"the store takes no writes {self.options.settle_s:g} s after the run")

    async def catch_up(self, followers: Sequence[Follower], final: int) -> None:
        """Wait until each was told the last change that it waits for, or long enough."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self.options.settle_s):
                for one in followers:
                    # Who is told no deletions knows of the puts, one revision before.
                    last = final - ("nodelete" in one.watcher.filters)
                    while one.next <= last:
                        one.moved.clear()
                        await one.moved.wait()
