"""The watch checker: right notices pass, each broken guarantee is named."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.verify.right import watched

from sampan.verify import (
    Branched,
    Change,
    Delete,
    Notice,
    Put,
    Record,
    Recorder,
    Txn,
    Watcher,
    Wrote,
    check,
)

SEEDS = st.integers(0, 1 << 32)


@given(SEEDS)
def test_what_a_right_store_told_its_watchers_passes(seed: int) -> None:
    report = check(watched(seed))
    assert report.ok, str(report)


def puts(*keys: bytes) -> Recorder:
    """A put for each key in turn, at the revisions 2, 3, 4..."""
    recorder = Recorder()
    for revision, key in enumerate(keys, 2):
        recorder.invoke(1, revision, Put(key, b"%d" % revision))
        recorder.ok(1, revision, Wrote(revision))
    return recorder


def put(key: bytes, revision: int, create: int = 0, version: int = 1) -> Change:
    record = Record(key, b"%d" % revision, create or revision, revision, version)
    return Change(key, revision, record)


ABA = (put(b"a", 2), put(b"b", 3), put(b"a", 4, create=2, version=2))
Told = list[tuple[str, int, tuple[Change, ...]]]

BROKEN: dict[str, tuple[Told, str, str]] = {
    "a lost event": (
        [("events", 2, ABA[:1]), ("events", 4, ABA[2:])],
        "reliable",
        'never told: put of "b"',
    ),
    "a lost event at the end": (
        [("events", 3, ABA[:2]), ("end", 4, ())],
        "reliable",
        'not told before the watcher was at 4: put of "a"',
    ),
    "an event told twice": (
        [("events", 3, ABA[:2]), ("events", 4, ABA[1:])],
        "unique",
        'told again: put of "b"',
    ),
    "events out of order": (
        [("events", 4, (ABA[0], ABA[2], ABA[1]))],
        "ordered",
        "told after revision 4",
    ),
    "an old event in a later message": (
        [("events", 3, ABA[1:2]), ("events", 4, (ABA[0], ABA[2]))],
        "reliable",
        'never told: put of "a"',
    ),
    "a bookmark ahead of its events": (
        [("events", 2, ABA[:1]), ("progress", 4, ()), ("events", 4, ABA[1:])],
        "bookmarkable",
        'not told before the watcher was at 4: put of "b"',
    ),
    "a gap behind a resumption": (
        [("events", 2, ABA[:1]), ("resume", 3, ()), ("events", 4, ABA[2:])],
        "resumable",
        'never told: put of "b"',
    ),
    "a repetition behind a resumption": (
        [("events", 3, ABA[:2]), ("resume", 4, ()), ("events", 4, ABA[1:])],
        "unique",
        'told again: put of "b"',
    ),
    "an event that nobody made": (
        [("events", 4, ABA), ("events", 5, (put(b"b", 5),))],
        "nothing made up",
        'nothing in the history made put of "b"',
    ),
    "a wrong value": (
        [("events", 4, (ABA[0], put(b"b", 3, version=2), ABA[2]))],
        "right value",
        "version 2",
    ),
    "a refusal of what is still there": (
        [("events", 2, ABA[:1]), ("compacted", 2, ())],
        "resumable",
        "refused as compacted at 2",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_guarantee_is_named(name: str) -> None:
    told, guarantee, words = BROKEN[name]
    recorder = puts(b"a", b"b", b"a")
    recorder.watch(9, Watcher(2, 1, b"a", b"c", 2))
    for kind, revision, changes in told:
        recorder.notice(1, 9, kind, revision, changes)
    report = check(recorder.history)
    assert report.kind == guarantee
    assert words in str(report)


def pair() -> Recorder:
    """A transaction that changes two keys at revision 2."""
    recorder = Recorder()
    recorder.invoke(1, 1, Txn((), (Put(b"a", b"2"), Put(b"b", b"2"))))
    recorder.ok(1, 1, Branched(2, True, (Wrote(None), Wrote(None))))
    return recorder


@pytest.mark.parametrize("messages", [[1, 1], [1]])
def test_a_revision_that_comes_in_parts_is_not_atomic(messages: list[int]) -> None:
    recorder, changes = pair(), [put(b"a", 2), put(b"b", 2)]
    recorder.watch(9, Watcher(2, 1, b"a", b"c", 2))
    for size in messages:
        recorder.notice(1, 9, "events", 2, [changes.pop(0) for _ in range(size)])
    assert check(recorder.history).kind == "atomic"


@pytest.mark.parametrize(
    ("watcher", "changes", "guarantee"),
    [
        (Watcher(2, 1, b"a", b"c", 2, filters=frozenset({"noput"})), ABA, "filters"),
        (Watcher(2, 1, b"a", b"", 2), ABA, "filters"),
        (Watcher(2, 1, b"a", b"c", 2, prev_kv=True), ABA, "prevKV"),
        (Watcher(2, 1, b"a", b"c", 3), ABA, "ordered"),
    ],
)
def test_what_was_not_asked_for_is_noticed(
    watcher: Watcher, changes: tuple[Change, ...], guarantee: str
) -> None:
    recorder = puts(b"a", b"b", b"a")
    recorder.watch(9, replace(watcher, notices=[]))
    recorder.notice(1, 9, "events", 4, changes)
    assert check(recorder.history).kind == guarantee


def test_without_an_order_watchers_are_held_against_each_other() -> None:
    recorder = puts(b"a")
    recorder.invoke(1, 9, Put(b"a", b"9"))
    recorder.ok(1, 9, Wrote(2))
    for name, value in ((1, b"1"), (2, b"2")):
        recorder.watch(9, Watcher(name, name, b"a", b"", 2))
        recorder.notice(name, 9, "events", 2, [Change(b"a", 2, Record(b"a", value, 2, 2, 1))])
    report = check(recorder.history)
    assert report.kind == "revision used twice"
    assert "but watcher 1 was told" in str(report)


def test_a_watch_from_now_on_begins_where_the_answer_says() -> None:
    recorder = puts(b"a", b"b", b"a")
    recorder.watch(9, Watcher(2, 1, b"a", b"c", 0))
    recorder.notice(1, 9, "resume", 4)
    recorder.notice(1, 9, "events", 4, ABA[2:])
    recorder.notice(1, 9, "end", 4)
    assert check(recorder.history).ok


def dropped(notices: list[Notice], at: int, dice: random.Random) -> list[Notice]:
    return notices[:at] + notices[at + 1 :]


def doubled(notices: list[Notice], at: int, dice: random.Random) -> list[Notice]:
    return [*notices[: at + 1], *notices[at:]]


def swapped(notices: list[Notice], at: int, dice: random.Random) -> list[Notice]:
    events = [number for number, one in enumerate(notices) if one.kind == "events"]
    other = dice.choice([number for number in events if number != at] or [at])
    copy = list(notices)
    copy[at], copy[other] = copy[other], copy[at]
    return copy


def thinned(notices: list[Notice], at: int, dice: random.Random) -> list[Notice]:
    copy, changes = list(notices), list(notices[at].changes)
    changes.pop(dice.randrange(len(changes)))
    copy[at] = replace(notices[at], changes=tuple(changes))
    return copy


def altered(notices: list[Notice], at: int, dice: random.Random) -> list[Notice]:
    copy, changes = list(notices), list(notices[at].changes)
    number = dice.randrange(len(changes))
    record = changes[number].record
    other = None if record else Record(changes[number].key, b"?", 1, changes[number].revision, 1)
    changes[number] = replace(changes[number], record=other)
    copy[at] = replace(notices[at], changes=tuple(changes))
    return copy


@pytest.mark.parametrize("damage", [dropped, doubled, swapped, thinned, altered])
@given(seed=SEEDS)
def test_any_damage_to_right_notices_is_noticed(
    damage: Callable[[list[Notice], int, random.Random], list[Notice]], seed: int
) -> None:
    dice = random.Random(seed)
    history = watched(seed, unknown=0)
    del history.watchers[1:]  # so that nothing but the first one's word is there
    watcher = history.watchers[0]
    events = [number for number, one in enumerate(watcher.notices) if one.kind == "events"]
    if (damage is swapped and len(events) < 2) or not events:
        return
    watcher.notices = damage(watcher.notices, dice.choice(events), dice)
    assert not check(history).ok


def test_a_previous_value_tells_which_unanswered_write_took_effect() -> None:
    """Two writes without an answer fit into the gap; only a later event's previous value tells."""
    recorder = puts(b"a")
    for process, value in ((5, b"this"), (6, b"that")):
        recorder.invoke(process, 3, Put(b"a", value))
    recorder.invoke(1, 4, Put(b"a", b"4"))
    recorder.ok(1, 4, Wrote(4))
    recorder.watch(5, Watcher(2, 1, b"a", b"", 4, prev_kv=True))
    prev = Record(b"a", b"that", 2, 3, 2)
    told = Change(b"a", 4, Record(b"a", b"4", 2, 4, 3), prev)
    recorder.notice(1, 5, "events", 4, [told])
    assert check(recorder.history).ok


def test_the_silence_of_a_watcher_tells_what_did_not_take_effect() -> None:
    """A deletion or a put without an answer made revision 3; who wants puts was told of none."""
    recorder = puts(b"a")
    for process, request in ((5, Put(b"a", b"?")), (6, Delete(b"a"))):
        recorder.invoke(process, 3, request)
    recorder.invoke(1, 4, Put(b"b", b"4"))
    recorder.ok(1, 4, Wrote(4))
    recorder.watch(5, Watcher(2, 1, b"a", b"c", 3, filters=frozenset({"nodelete"})))
    recorder.notice(1, 5, "events", 4, [put(b"b", 4)])
    assert check(recorder.history).ok


def unanswered() -> Recorder:
    """Two writes without an answer, of which one made revision 3, and a right one behind it."""
    recorder = puts(b"a")
    for process, value in ((5, b"this"), (6, b"that")):
        recorder.invoke(process, 3, Put(b"b", value))
    recorder.invoke(1, 4, Put(b"c", b"4"))
    recorder.ok(1, 4, Wrote(4))
    return recorder


def holds(value: bytes) -> Watcher:
    """What the store really holds, when that value made revision 3."""
    changes = (put(b"a", 2), Change(b"b", 3, Record(b"b", value, 3, 3, 1)), put(b"c", 4))
    return Watcher(0, 0, b"\0", b"\0", 2, notices=[Notice("events", 99, 5, 4, changes)])


def test_watchers_are_judged_by_what_the_store_holds_where_that_is_known() -> None:
    recorder = unanswered()
    recorder.watch(5, Watcher(2, 1, b"b", b"", 2))
    told = Change(b"b", 3, Record(b"b", b"this", 3, 3, 1))
    recorder.notice(1, 5, "events", 3, [told])
    assert check(recorder.history, truth=holds(b"this")).ok
    assert check(recorder.history, truth=holds(b"that")).kind == "right value"


def test_what_the_store_holds_must_be_what_somebody_wrote() -> None:
    history = unanswered().history
    assert check(history, truth=holds(b"that")).ok
    assert check(history, truth=holds(b"else")).kind == "revision without a write"


def test_what_the_store_holds_must_be_what_it_acknowledged() -> None:
    changes = (put(b"a", 2), Change(b"b", 3, Record(b"b", b"?", 3, 3, 1)))
    truth = Watcher(0, 0, b"\0", b"\0", 2, notices=[Notice("events", 99, 5, 3, changes)])
    assert check(puts(b"a", b"b").history, truth=truth).kind == "right value"
