"""The linearizability checker: right histories pass, each kind of wrong one is named."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.verify.brute import linearizable, without_revisions
from tests.verify.right import KEYS, PLAIN, make

from sampan.verify import (
    Branched,
    Budget,
    Compare,
    Delete,
    Deleted,
    Done,
    Grant,
    History,
    KeepAlive,
    Operation,
    Put,
    Range,
    Ranged,
    Record,
    Recorder,
    Request,
    Result,
    Revoke,
    Txn,
    Verdict,
    Wrote,
    check,
)

SEEDS = st.integers(0, 1 << 32)


@given(SEEDS)
def test_what_a_right_store_told_passes(seed: int) -> None:
    report = check(make(seed, operations=40, processes=5))
    assert report.ok, str(report)


@given(SEEDS)
def test_it_passes_without_revisions_too(seed: int) -> None:
    history = without_revisions(make(seed, operations=25, kinds=PLAIN))
    report = check(history)
    assert report.ok, str(report)


def without_stale(history: History) -> History:
    return history.of(
        [
            one
            for one in history.operations
            if not (isinstance(one.request, Range) and one.request.serializable)
        ]
    )


def damaged(history: History, dice: random.Random) -> History:
    """Change one answer, or the moment of one, to another that is likely to look right."""
    operations = list(history.operations)
    answered = [number for number, one in enumerate(operations) if one.result is not None]
    if answered:
        at = dice.choice(answered)
        operations[at] = _damaged_one(operations[at], dice)
    return history.of(sorted(operations, key=lambda one: one.invoked))


def _damaged_one(one: Operation, dice: random.Random) -> Operation:
    result = one.result
    kind = dice.choice(("revision", "content", "sooner", "later"))
    if kind == "sooner":
        return replace(one, completed=dice.randrange(one.invoked + 1, one.completed + 1))
    if kind == "later":
        return replace(one, invoked=dice.randrange(one.invoked, one.completed))
    if kind == "revision" and result is not None and result.revision is not None:
        return replace(one, result=replace(result, revision=result.revision + dice.choice((-1, 1))))
    return replace(one, result=_other(result, dice))


def _other(result: Result | None, dice: random.Random) -> Result | None:
    match result:
        case Ranged(revision, kvs, count) if kvs:
            if dice.random() < 0.5:
                return Ranged(revision, kvs[1:], count - 1)
            first = replace(kvs[0], value=b"%d" % dice.randrange(8))
            return Ranged(revision, (first, *kvs[1:]), count)
        case Deleted(revision, deleted):
            return Deleted(revision, max(0, deleted + dice.choice((-1, 1))))
        case Wrote(revision, prev) if prev is not None:
            return Wrote(revision, replace(prev, value=b"%d" % dice.randrange(8)))
    return result


@settings(max_examples=400)
@given(SEEDS)
def test_the_verdict_is_that_of_trying_every_order(seed: int) -> None:
    dice = random.Random(seed)
    history = without_stale(make(seed, operations=6, unknown=0.3))
    history = damaged(history, dice) if dice.random() < 0.8 else history
    assert check(history).ok == linearizable(history)


@settings(max_examples=400)
@given(SEEDS)
def test_so_it_is_without_revisions(seed: int) -> None:
    dice = random.Random(seed)
    history = without_stale(make(seed, operations=7, unknown=0.3, kinds=PLAIN))
    history = damaged(history, dice) if dice.random() < 0.8 else history
    history = without_revisions(history)
    assert check(history).ok == linearizable(history, revisions=False)


# Each kind of wrong history by its name


class Script:
    """A history written down: `do` is one operation from beginning to end, a second each."""

    def __init__(self) -> None:
        self.recorder = Recorder()
        self.now_s = 0.0

    def do(self, request: Request, result: Result | None, process: int = 1) -> Script:
        self.begin(request, process)
        return self.end(result, process)

    def begin(self, request: Request, process: int) -> Script:
        self.now_s += 1
        self.recorder.invoke(process, self.now_s, request)
        return self

    def end(self, result: Result | None, process: int) -> Script:
        self.now_s += 1
        if result is None:
            self.recorder.unknown(process, self.now_s, "timeout")
        else:
            self.recorder.ok(process, self.now_s, result)
        return self

    def put(self, value: str, revision: int | None, process: int = 1, key: bytes = b"x") -> Script:
        told = None if revision is None else Wrote(revision)
        return self.do(Put(key, value.encode()), told, process)

    def get(self, revision: int, *kvs: Record, process: int = 2) -> Script:
        return self.do(Range(b"x"), Ranged(revision, kvs, len(kvs)), process)


def x(value: str, mod: int, create: int = 2, version: int = 1, lease: int = 0) -> Record:
    return Record(b"x", value.encode(), create, mod, version, lease)


BOTH = Txn((), (Put(b"x", b"1"), Put(b"y", b"1")))
ANSWERS = (Wrote(None), Wrote(None))
EMPTY = Compare(b"x", "mod", "=", 0)

WRONG: dict[str, tuple[Callable[[], Script], str, str]] = {
    "a lost write": (
        lambda: Script().put("1", 2).put("2", 3).get(3, x("1", 2)),
        "wrong answer",
        'told as "1"',
    ),
    "a write lost with its revision": (
        lambda: Script().put("1", 2).put("2", 3).get(2, x("1", 2)),
        "stale read",
        "names revision 3",
    ),
    "a revision given twice": (
        lambda: Script().put("1", 2).put("2", 2, process=2),
        "revision used twice",
        "revision 2",
    ),
    "a revision that goes back": (
        lambda: Script().put("0", None, 3).put("1", 3).put("2", 2, process=2),
        "revision went back",
        "names revision 3",
    ),
    "a revision that nobody made": (
        lambda: Script().put("1", 2).put("2", 4),
        "revision without a write",
        "revision 3",
    ),
    "a value from nowhere": (
        lambda: Script().put("1", 2).get(2, x("9", 2)),
        "wrong answer",
        'right is "1"',
    ),
    "a read before the write": (
        lambda: Script().get(2, x("1", 2)).put("1", 2),
        "revision without a write",
        "revision 2",
    ),
    "a version that does not count": (
        lambda: Script().put("1", 2).put("2", 3).get(3, x("2", 3, version=1)),
        "wrong answer",
        "version 2",
    ),
    "a deleted key that is back": (
        lambda: Script().put("1", 2).do(Delete(b"x"), Deleted(3, 1)).get(3, x("1", 2)),
        "wrong answer",
        "right is nothing",
    ),
    "half a transaction": (
        lambda: (
            Script()
            .do(BOTH, Branched(2, True, ANSWERS))
            .do(Range(b"x", b"z"), Ranged(2, (x("1", 2),), 1), 2)
        ),
        "wrong answer",
        '"y" is told as nothing',
    ),
    "the wrong branch of a transaction": (
        lambda: (
            Script()
            .put("1", 2)
            .do(Txn((EMPTY,), (Put(b"x", b"2"),)), Branched(3, True, (Wrote(None),)), 2)
        ),
        "wrong answer",
        "right is failure",
    ),
    "two winners of one lock": (
        lambda: (
            Script()
            .do(Txn((EMPTY,), (Put(b"x", b"1"),)), Branched(2, True, (Wrote(None),)))
            .do(Txn((EMPTY,), (Put(b"x", b"2"),)), Branched(3, True, (Wrote(None),)), 2)
        ),
        "wrong answer",
        "right is failure",
    ),
    "a wrong previous value": (
        lambda: Script().put("1", 2).do(Put(b"x", b"2", prev_kv=True), Wrote(3, x("7", 2))),
        "wrong answer",
        "the previous value",
    ),
    "a key that survives its lease": (
        lambda: (
            Script()
            .do(Grant(7, 60.0), Done(1))
            .do(Put(b"x", b"1", lease=7), Wrote(2))
            .do(Revoke(7), Done(3))
            .get(2, x("1", 2, lease=7))
        ),
        "stale read",
        "end of lease 7",
    ),
    "a lease that ends too early": (
        lambda: Script().do(Grant(7, 60.0), Done(1)).do(Put(b"x", b"1", lease=7), Wrote(2)).get(3),
        "revision without a write",
        "revision 3",
    ),
    "a renewed lease that ends": (
        lambda: (
            Script()
            .do(Grant(7, 8.0), Done(1))
            .do(Put(b"x", b"1", lease=7), Wrote(2))
            .do(KeepAlive(7), Done(2, ttl_s=8.0))
            .get(2, x("1", 2, lease=7))
            .get(3)
        ),
        "revision without a write",
        "revision 3",
    ),
    "a wrong past": (
        lambda: (
            Script()
            .put("1", 2)
            .put("2", 3)
            .do(Range(b"x", revision=2), Ranged(3, (x("2", 2),), 1), 2)
        ),
        "wrong answer about the past",
        'right is "1"',
    ),
    "a member that made something up": (
        lambda: (
            Script().put("1", 2).do(Range(b"x", serializable=True), Ranged(2, (x("3", 2),), 1), 2)
        ),
        "wrong answer about the past",
        'right is "1"',
    ),
    "a member that knows the future": (
        lambda: (
            Script().do(Range(b"x", serializable=True), Ranged(2, (x("1", 2),), 1), 2).put("1", 2)
        ),
        "revision without a write",
        "revision 2",
    ),
    "two clusters under one name": (
        lambda: (
            Script()
            .put("1", 2)
            .put("left", 3)
            .put("right", 3, process=2)
            .get(3, x("left", 3, version=2))
            .get(3, x("right", 3, version=2), process=3)
        ),
        "revision used twice",
        "revision 3",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_history_is_named(name: str) -> None:
    script, kind, words = WRONG[name]
    report = check(script().recorder.history)
    assert (report.verdict, report.kind) == (Verdict.VIOLATION, kind)
    assert words in str(report)


def test_a_lease_may_end_after_its_time() -> None:
    script = Script().do(Grant(7, 5.0), Done(1)).do(Put(b"x", b"1", lease=7), Wrote(2))
    for _ in range(3):
        script.get(2, x("1", 2, lease=7))
    assert check(script.get(3).recorder.history).ok


def test_an_unanswered_write_may_take_effect_much_later_or_never() -> None:
    script = Script().put("1", 2).put("2", None, process=3)
    script.get(2, x("1", 2))
    assert check(script.recorder.history).ok
    assert check(script.get(3, x("2", 3, version=2)).recorder.history).ok


def test_an_unanswered_write_takes_effect_once() -> None:
    script = Script().put("1", 2).put("2", None, process=3)
    script.get(3, x("2", 3, version=2)).put("3", 4)
    report = check(script.get(5, x("2", 5, version=4)).recorder.history)
    assert report.kind == "revision without a write"


def test_what_others_write_is_left_aside_when_they_may() -> None:
    for exclusive, right in ((True, False), (False, True)):
        recorder = Recorder(exclusive=exclusive)
        recorder.invoke(1, 0.0, Put(b"x", b"1"))
        recorder.ok(1, 1.0, Wrote(5))
        assert check(recorder.history).ok is right


def test_a_failed_check_shows_the_few_operations_that_matter() -> None:
    script = Script()
    for number in range(2, 300):
        script.put(str(number), number, key=b"y%d" % (number % 5))
        script.do(Range(b"y0", b"z"), None, 2)
    script.put("1", 300).put("2", 301).get(300, x("1", 300, create=300))
    for number in range(302, 400):
        script.put(str(number), number, key=b"y")
    report = check(script.recorder.history)
    assert report.kind == "stale read"
    assert len(report.lines) < 10
    assert "3 of 3 operations that are needed to show it (of 697 in all)" in str(report)


def hard(keys: int) -> History:
    """Unanswered writes that overlap, and gaps that each of them may fill."""
    script = Script()
    for number in range(keys):
        script.begin(Put(b"k%d" % number, b"v"), 10 + number)
    script.put("1", 2 + keys // 2)
    return script.get(3 + keys, x("1", 2 + keys // 2, create=2 + keys // 2)).recorder.history


def test_what_cannot_be_decided_within_bounds_is_said_to_be_so() -> None:
    report = check(hard(24), Budget(states=2_000))
    assert report.verdict is Verdict.UNDECIDED
    assert report.lines == ("undecided: more states to remember than allowed",)


def test_a_search_ends_when_its_time_is_over() -> None:
    report = check(hard(24), Budget(expired=lambda: True))
    assert report.verdict is Verdict.UNDECIDED


@given(SEEDS)
def test_a_beginning_of_a_right_history_is_right(seed: int) -> None:
    history = make(seed, operations=15)
    for position in range(0, 40, 3):
        assert check(history.until(position)).ok


@pytest.mark.parametrize("seed", range(40))
def test_lost_writes_are_found_wherever_they_are(seed: int) -> None:
    """An answered write that nobody else saw is taken out of a right history and its effects."""
    dice = random.Random(seed)
    script, live, lost = Script(), dict.fromkeys(KEYS, 0), dice.randrange(5, 50)
    revision = 1
    for number in range(60):
        key = dice.choice(KEYS)
        revision += 1
        script.put(str(number), revision, key=key)
        if number == lost:
            revision -= 1
        else:
            live[key] = number
    assert not check(script.recorder.history).ok


def test_an_answer_with_keys_alone_says_nothing_of_values() -> None:
    """What it shows of an unanswered write, its revisions, must not be taken for all of it."""
    for keys in (Range(b"a", b"c", keys_only=True), Txn((), (Range(b"a", keys_only=True),))):
        recorder = Recorder()
        recorder.invoke(1, 0, Put(b"a", b"unanswered"))
        recorder.invoke(2, 1, keys)
        bare = Ranged(2, (Record(b"a", b"", 2, 2, 1),), 1, False)
        recorder.ok(2, 2, bare if isinstance(keys, Range) else Branched(2, True, (bare,)))
        report = check(recorder.history)
        assert report.ok, str(report)
