"""`sampan etcd soak-watch`: writers, watchers, cut connections and a server that gets killed.

For a bounded time writers put, delete and run transactions on keys of their own while watchers
follow them through a relay that cuts connections at random; the server is killed (SIGKILL) and
started again, and history is compacted under the watchers' feet. Afterwards every watcher's history
is held against what was written, see `soak_check`.
"""

from __future__ import annotations

import asyncio
import random
import shlex
import sys
import tempfile
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import click

from sampan.base.errors import SampanError
from sampan.cli.soak_check import Change, History, Write, check
from sampan.cli.soak_proxy import CutProxy
from sampan.cli.soak_server import SoakServer, own_command
from sampan.loop import runner
from sampan.store.client import Client, DeleteResult, RpcError, ops

__all__ = ["Options", "Summary", "run", "soak_watch"]

_KEYS_PER_WRITER = 5
_WRITE_TIMEOUT_S = 2.0
_CATCH_UP_S = 60.0
_MARK = Change(b"mark", b"end")


@dataclass(frozen=True, slots=True)
class Options:
    """What to do to which server. `writes_per_s` is the total of all writers.

    With `endpoints` (host:port or http URLs; the first is used) the run uses a server that is there
    already and kills nothing. Otherwise `server` is started, an etcd-compatible command line; empty
    means our own.
    """

    duration_s: float = 10.0
    seed: int = 1
    writers: int = 4
    watchers: int = 10
    writes_per_s: float = 200.0
    endpoints: tuple[str, ...] = ()
    server: tuple[str, ...] = ()
    compact: bool = True


@dataclass(frozen=True, slots=True)
class Summary:
    """How a run went; `problems` is empty when every history was right."""

    seed: int
    duration_s: float
    watchers: int
    writes: int
    acknowledged: int
    events: int
    cuts: int
    kills: int
    compactions: int
    relists: int
    final_revision: int
    problems: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """True when every watcher was told the truth."""
        return not self.problems

    def line(self) -> str:
        """The summary as one line."""
        unknown = self.writes - self.acknowledged
        return (
            f"soak-watch {'ok' if self.ok else 'FAILED'}: seed {self.seed}, "
            f"{self.duration_s:.1f} s, {self.writes} writes ({unknown} of unknown outcome), "
            f"{self.events} events to {self.watchers} watchers, {self.cuts} connections cut, "
            f"{self.kills} kills, {self.compactions} compactions, {self.relists} relists, "
            f"final revision {self.final_revision}"
        )


class _Soak:
    """One run: the parts that share the relay, the dice and the record."""

    def __init__(self, options: Options, proxy: CutProxy, server: SoakServer | None) -> None:
        self.options = options
        self.proxy = proxy
        self.server = server
        self.writes: list[Write] = []
        self.histories: list[History] = []
        self.kills = 0
        self.compactions = 0
        self.prefix = f"soak/{options.seed}/".encode()
        self.over = asyncio.Event()
        self.moved = asyncio.Event()

    def client(self) -> Client:
        """A client with connections of its own, all through the relay."""
        return Client([self.proxy.endpoint], timeout_s=_WRITE_TIMEOUT_S)

    async def write(self, number: int) -> None:
        """Write to this writer's own keys until the run is over; every value is unique."""
        dice = random.Random(f"{self.options.seed} writer {number}")
        pause_s = self.options.writers / self.options.writes_per_s
        sequence = 0
        async with self.client() as client:
            while not self.over.is_set():
                changes: list[Change] = []
                for slot in dice.sample(range(_KEYS_PER_WRITER), dice.choice((1, 1, 1, 2))):
                    sequence += 1
                    key = b"%s%d/%d" % (self.prefix, number, slot)
                    deletion = dice.random() < 0.15
                    changes.append(Change(key, None if deletion else b"%d.%d" % (number, sequence)))
                await self.attempt(client, changes)
                await asyncio.sleep(pause_s * dice.uniform(0.5, 1.5))

    async def attempt(self, client: Client, changes: list[Change]) -> None:
        """Apply `changes` in one transaction and record what came of it."""
        operations = [
            ops.delete(change.key) if change.value is None else ops.put(change.key, change.value)
            for change in changes
        ]
        try:
            result = await client.transact(then=operations)
        except RpcError:
            self.writes += [Write(change, None) for change in changes]
            return
        revision = result.header.revision
        for change, outcome in zip(changes, result.responses, strict=True):
            # Deleting what is not there changes nothing and is seen by nobody.
            if not (isinstance(outcome, DeleteResult) and outcome.deleted == 0):
                self.writes.append(Write(change, revision))

    async def watch(self, history: History) -> None:
        """Follow all keys until cancelled."""
        async with self.client() as client:
            watch = client.watch(self.prefix, prefix=True, start_revision=history.start_rev)
            try:
                async for batch in watch:
                    history.batches.append(batch)
                    self.moved.set()
            finally:
                self.moved.set()

    async def chaos(self) -> None:
        """Cut, kill and compact until the run is over; the first two come early."""
        dice = random.Random(f"{self.options.seed} chaos")
        first = ["cut", "kill", "compact"]
        while not self.over.is_set():
            await asyncio.sleep(dice.uniform(0.1, 0.8))
            drawn = dice.choices(("cut", "kill", "compact"), (6, 1, 2))[0]
            await self.misfortune(first.pop(0) if first else drawn, dice)

    async def misfortune(self, what: str, dice: random.Random) -> None:
        """Let one thing go wrong."""
        share = dice.choice((0.3, 0.6, 1.0))
        if what == "kill" and self.server is not None:
            await self.server.kill()
            self.kills += 1
            await asyncio.sleep(dice.uniform(0, 0.3))
            await self.server.start()
            self.proxy.target = ("127.0.0.1", self.server.port)
        elif what == "compact" and self.options.compact:
            # Whoever is behind now, its connection cut, will find its history gone.
            await self.proxy.cut(lambda: dice.random() < share)
            await self.compact()
        else:
            await self.proxy.cut(lambda: dice.random() < share)

    async def compact(self) -> None:
        """Compact to the current revision."""
        async with self.client() as client:
            try:
                reading = await client.range(_MARK.key, count_only=True)
                await client.compact(reading.header.revision)
            except RpcError:
                return
        self.compactions += 1

    async def mark(self) -> int:
        """Write the last change, however often it takes; returns its revision."""
        async with self.client() as client:
            key = self.prefix + _MARK.key
            for number in range(100):
                change = Change(key, b"%s.%d" % (_MARK.value, number))
                await self.attempt(client, [change])
                if self.writes[-1].revision is not None:
                    return self.writes[-1].revision
                await asyncio.sleep(0.2)
        raise SampanError("the server takes no writes after the run")

    async def run(self) -> int:
        """Do it all; returns the final revision."""
        async with self.client() as client:
            # An earlier run with this seed may have left its keys in a server that is not ours.
            cleared = await client.delete(self.prefix, prefix=True, timeout_s=30)
        self.histories = [
            History(f"watcher {number}", cleared.header.revision + 1)
            for number in range(self.options.watchers)
        ]
        watchers = [asyncio.create_task(self.watch(one)) for one in self.histories]
        try:
            await self.trouble()
            final_revision = await self.mark()
            await self.catch_up(final_revision, watchers)
        finally:
            for watcher in watchers:
                watcher.cancel()
            ends = await asyncio.gather(*watchers, return_exceptions=True)
        for end in ends:
            if isinstance(end, Exception):
                raise end
        return final_revision

    async def catch_up(self, revision: int, watchers: Sequence[asyncio.Task[None]]) -> None:
        """Wait until everyone is at `revision`, or long enough: then the check will say so."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_CATCH_UP_S):
                while any(history.reached < revision for history in self.histories):
                    if any(watcher.done() for watcher in watchers):
                        return
                    self.moved.clear()
                    await self.moved.wait()

    async def trouble(self) -> None:
        """Write, and let things go wrong, for the run's duration."""
        try:
            async with asyncio.TaskGroup() as group:
                for number in range(self.options.writers):
                    group.create_task(self.write(number))
                group.create_task(self.chaos())
                await asyncio.sleep(self.options.duration_s)
                self.over.set()
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from None


async def run(options: Options) -> Summary:
    """Run once. Raises SampanError when the server does not start, RpcError for a refused watch."""
    async with AsyncExitStack() as stack:
        server: SoakServer | None = None
        if options.endpoints:
            address = urlsplit(options.endpoints[0], scheme="http")
            if not address.netloc:
                address = urlsplit(f"//{options.endpoints[0]}")
            target = (address.hostname or "127.0.0.1", address.port or 2379)
        else:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="soak-watch-"))
            server = SoakServer(options.server or own_command(), Path(folder) / "data")
            stack.push_async_callback(server.kill)
            await server.start()
            target = ("127.0.0.1", server.port)
        proxy = await stack.enter_async_context(CutProxy(target))
        soak = _Soak(options, proxy, server)
        final_revision = await soak.run()
    histories = soak.histories
    return Summary(
        seed=options.seed,
        duration_s=options.duration_s,
        watchers=options.watchers,
        writes=len(soak.writes),
        acknowledged=sum(write.revision is not None for write in soak.writes),
        events=sum(len(batch.events) for one in histories for batch in one.batches),
        cuts=proxy.cuts,
        kills=soak.kills,
        compactions=soak.compactions,
        relists=sum(1 for one in histories for _ in one.relists),
        final_revision=final_revision,
        problems=check(soak.writes, histories, final_revision),
    )


@click.command("soak-watch")
@click.option("--duration", type=float, default=10.0, show_default=True, help="Seconds of trouble.")
@click.option("--seed", type=int, default=1, show_default=True, help="Picks what goes wrong.")
@click.option("--writers", type=click.IntRange(1), default=4, show_default=True, help="How many.")
@click.option("--watchers", type=click.IntRange(1), default=10, show_default=True, help="How many.")
@click.option("--rate", type=float, default=200.0, show_default=True, help="Writes per second.")
@click.option("--endpoints", default="", help="Use this running server and kill nothing.")
@click.option("--server", default="", help="Command of another etcd to start instead of our own.")
@click.option("--compact/--no-compact", default=True, show_default=True, help="Compact meanwhile.")
def soak_watch(
    duration: float,
    seed: int,
    writers: int,
    watchers: int,
    rate: float,
    endpoints: str,
    server: str,
    compact: bool,
) -> None:
    """Check that watches lose, double and reorder nothing while everything goes wrong."""
    options = Options(
        duration_s=duration,
        seed=seed,
        writers=writers,
        watchers=watchers,
        writes_per_s=rate,
        endpoints=tuple(part for part in endpoints.split(",") if part),
        server=tuple(shlex.split(server)),
        compact=compact,
    )
    try:
        summary = runner.run(run(options))
    except (SampanError, RpcError) as error:
        raise click.ClickException(str(error)) from None
    for problem in summary.problems:
        click.echo(problem)
    click.echo(summary.line())
    sys.exit(0 if summary.ok else 1)


if __name__ == "__main__":
    soak_watch()
