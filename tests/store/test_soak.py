"""The soak command: its verdict on made-up histories, and short runs against real servers."""

from __future__ import annotations

from typing import Literal

import pytest
from click.testing import CliRunner
from tests.real import require
from tests.servers import SAMPAN, debian_etcd

from sampan.cli.soak import Options, run, soak_watch
from sampan.cli.soak_check import Change, History, Write, check
from sampan.loop import runner
from sampan.store.client import Event, KeyValue, Relist, WatchBatch

A1, A2, B1 = Change(b"a", b"1"), Change(b"a", b"2"), Change(b"b", b"3")
GONE = Change(b"a", None)
WRITES = (Write(A1, 2), Write(B1, 3), Write(GONE, 4), Write(A2, 5))
FINAL = 5


def event(revision: int, change: Change) -> Event:
    kind: Literal["put", "delete"] = "delete" if change.value is None else "put"
    return Event(kind, KeyValue(change.key, change.value or b"", 0, revision, 1, 0), None)


def batch(*changes: tuple[int, Change]) -> WatchBatch:
    return WatchBatch(tuple(event(*one) for one in changes), changes[-1][0])


def relist(revision: int, **state: int) -> WatchBatch:
    """`a2=5`: key a, value 2, changed at revision 5."""
    kvs = [
        KeyValue(name[:1].encode(), name[1:].encode(), 0, mod_revision, 1, 0)
        for name, mod_revision in state.items()
    ]
    return WatchBatch((), revision, Relist("compacted", revision, tuple(kvs), revision))


RIGHT = (batch((2, A1)), batch((3, B1), (4, GONE)), batch((5, A2)))


def verdict(*histories: tuple[WatchBatch, ...], writes: tuple[Write, ...] = WRITES) -> str:
    """What is wrong, when one more watcher saw everything."""
    watchers = [History("right", 2, list(RIGHT))]
    watchers += [History(f"w{n}", 2, list(history)) for n, history in enumerate(histories)]
    return "\n".join(check(writes, watchers, FINAL))


def test_true_histories_pass() -> None:
    assert verdict(RIGHT) == ""
    assert verdict((batch((2, A1)), relist(4, b3=3), batch((5, A2)))) == ""
    assert verdict((relist(5, a2=5, b3=3),)) == ""
    progress = WatchBatch((), 4)
    assert verdict((*RIGHT[:2], progress, RIGHT[2])) == ""


@pytest.mark.parametrize(
    ("history", "problem"),
    [
        ((RIGHT[0], RIGHT[2]), "missed"),
        ((RIGHT[0], RIGHT[1]), "stopped at revision 4 of 5"),
        ((RIGHT[0], RIGHT[0], *RIGHT[1:]), "came after"),
        ((RIGHT[0], RIGHT[2], RIGHT[1]), "came after"),
        ((batch((2, A1), (2, A1)), *RIGHT[1:]), "doubled"),
        ((batch((2, A1), (2, B1)), *RIGHT[1:]), "more than once"),
        ((batch((2, A1), (2, Change(b"x", b"9"))), *RIGHT[1:]), "never written"),
        ((RIGHT[0], relist(4, b3=3, a1=2), RIGHT[2]), "older than its change"),
        ((RIGHT[0], relist(4), RIGHT[2]), "is missing"),
        ((RIGHT[0], relist(4, b4=3), RIGHT[2]), "differs"),
        ((RIGHT[0], relist(4, b3=3, x7=4), RIGHT[2]), "never written"),
        ((WatchBatch((), 3), *RIGHT), "came after"),
    ],
)
def test_a_false_history_is_found_out(history: tuple[WatchBatch, ...], problem: str) -> None:
    assert problem in verdict(history)


def test_an_acknowledged_write_that_nobody_saw_is_found_out() -> None:
    lost = Write(Change(b"c", b"7"), 4)
    assert "seen by nobody" in verdict(writes=(*WRITES, lost))


def test_a_write_of_unknown_outcome_may_be_seen_or_not_but_not_twice() -> None:
    assert verdict(writes=(*WRITES[:3], Write(A2, None), Write(Change(b"c", b"7"), None))) == ""
    twice = (RIGHT[0], RIGHT[1], batch((5, A2), (6, A2)))
    assert "more than once" in verdict(twice, writes=(*WRITES[:3], Write(A2, None)))


@pytest.mark.real
@pytest.mark.parametrize("flavour", ["etcd", "sampan"])
def test_a_short_soak_finds_nothing_lost_doubled_or_out_of_order(flavour: str) -> None:
    etcd = SAMPAN if flavour == "sampan" else debian_etcd(require("etcd"))
    # Debian's etcd (3.4.23) loses a deletion for watches that start at a compaction's own revision.
    compact = flavour == "sampan"
    options = Options(
        duration_s=8.0 if compact else 4.0,
        seed=7,
        watchers=6,
        writes_per_s=100,
        server=etcd.command + etcd.flags,
        compact=compact,
    )
    summary = runner.run(run(options))
    assert summary.problems == ()
    assert summary.acknowledged > 0
    assert summary.events > 0
    assert summary.cuts > 0
    assert summary.kills > 0
    assert (summary.compactions > 0) == compact


@pytest.mark.real
def test_the_command_prints_a_summary_and_exits_with_the_verdict() -> None:
    etcd = debian_etcd(require("etcd"))
    arguments = ["--duration=1", "--watchers=2", "--rate=50", "--seed=3", "--no-compact"]
    server = " ".join(etcd.command + etcd.flags)
    result = CliRunner().invoke(soak_watch, [*arguments, f"--server={server}"])
    assert result.exit_code == 0, result.output
    assert result.output.startswith("soak-watch ok: seed 3,")


def test_a_server_that_does_not_start_is_said_so() -> None:
    result = CliRunner().invoke(soak_watch, ["--server=/bin/echo broken"])
    assert result.exit_code == 1
    assert "the server ended at once" in result.output
    assert "broken" in result.output
