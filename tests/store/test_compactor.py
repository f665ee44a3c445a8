"""Automatic compaction by time and by revision."""

from __future__ import annotations

import asyncio

import pytest

from sampan.base.log import Logger
from sampan.store.shell.compactor import Compactor, Periodic, Policy, Revision, make_policy
from sampan.wire.grpc.status import Code, RpcError

MINUTE_S = 60.0
HOUR_S = 3600.0


def run(policy: Policy, ticks: int, revisions_per_tick: int) -> list[tuple[float, int]]:
    """Return (time, revision) of every compaction when the store grows at an even pace."""
    compactions = []
    for i in range(ticks):
        now_s = i * policy.interval_s
        target = policy.tick(now_s, 1 + i * revisions_per_tick)
        if target is not None:
            compactions.append((now_s, target))
            policy.compacted(now_s, target)
    return compactions


def test_a_short_window_is_compacted_once_per_window() -> None:
    policy = Periodic(5 * MINUTE_S, 0.0)
    assert policy.interval_s == 30.0
    assert run(policy, 31, 10) == [(300.0, 1), (600.0, 91), (900.0, 191)]


def test_a_long_window_is_compacted_hourly_once_it_is_full() -> None:
    policy = Periodic(3 * HOUR_S, 0.0)
    assert policy.interval_s == 6 * MINUTE_S
    assert run(policy, 51, 10) == [(3 * HOUR_S, 1), (4 * HOUR_S, 91), (5 * HOUR_S, 191)]


def test_an_idle_store_is_not_compacted_again() -> None:
    assert run(Periodic(5 * MINUTE_S, 0.0), 100, 0) == [(300.0, 1)]


def test_a_failed_compaction_is_tried_again_at_the_next_tick() -> None:
    policy = Periodic(5 * MINUTE_S, 0.0)
    targets = [policy.tick(i * 30.0, 1 + i) for i in range(12)]
    assert targets == [None] * 10 + [1, 1]


def test_a_number_of_revisions_is_kept() -> None:
    policy = Revision(100)
    assert policy.interval_s == 5 * MINUTE_S
    assert policy.tick(0.0, 100) is None
    assert policy.tick(300.0, 150) == 50
    policy.compacted(300.0, 50)
    assert policy.tick(600.0, 150) is None
    assert policy.tick(900.0, 151) == 51


@pytest.mark.parametrize(
    ("mode", "retention", "interval_s"),
    [
        ("periodic", "1", 6 * MINUTE_S),
        ("periodic", "5m", 30.0),
        ("periodic", "24h", 6 * MINUTE_S),
        ("periodic", "30s", 3.0),
        ("revision", "1000", 5 * MINUTE_S),
    ],
)
def test_the_flags_name_a_policy(mode: str, retention: str, interval_s: float) -> None:
    policy = make_policy(mode, retention, 0.0)
    assert policy is not None and policy.interval_s == interval_s


@pytest.mark.parametrize("mode", ["periodic", "revision"])
def test_zero_disables(mode: str) -> None:
    assert make_policy(mode, "0", 0.0) is None


@pytest.mark.parametrize(
    ("mode", "retention"),
    [
        ("daily", "1"),
        ("periodic", "soon"),
        ("periodic", "-5m"),
        ("revision", "5m"),
        ("periodic", ""),
    ],
)
def test_wrong_flags(mode: str, retention: str) -> None:
    with pytest.raises(ValueError, match="auto-compaction"):
        make_policy(mode, retention, 0.0)


def test_the_compactor_goes_on_after_an_error() -> None:
    outcomes: list[RpcError | None] = [
        RpcError(Code.UNAVAILABLE, "no leader"),
        RpcError(Code.OUT_OF_RANGE, "mvcc: required revision has been compacted"),
        None,
    ]
    asked: list[int] = []
    lines: list[str] = []
    revision = 10

    async def compact(target: int) -> None:
        asked.append(target)
        error = outcomes.pop(0)
        if error is not None:
            raise error

    compactor = Compactor(
        Revision(5),
        revision=lambda: revision,
        compact=compact,
        log=Logger(lines.append, lambda: 0.0),
        now_s=lambda: 0.0,
    )

    async def steps() -> None:
        nonlocal revision
        await compactor.step()
        await compactor.step()
        await compactor.step()
        revision = 12
        await compactor.step()

    asyncio.run(steps())
    assert asked == [5, 5, 7]
    assert next(line for line in lines if "failed" in line).count("no leader") == 1


def test_the_compactor_sleeps_between_steps() -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 3:
            raise asyncio.CancelledError

    async def compact(_: int) -> None:
        raise AssertionError("nothing to compact")

    log = Logger(lambda _: None, lambda: 0.0)
    compactor = Compactor(Revision(5), revision=lambda: 1, compact=compact, log=log, sleep=sleep)
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(compactor.run())
    assert slept == [300.0] * 3
