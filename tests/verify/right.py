"""Histories that are right by construction: a store that answers, and clients that overlap.

Every operation takes effect at one moment between question and answer, on a dictionary that is
written here once more and knows nothing of the checkers' model.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

from sampan.verify import (
    Branched,
    Change,
    Compare,
    Delete,
    Deleted,
    Done,
    Grant,
    History,
    Put,
    Range,
    Ranged,
    Record,
    Recorder,
    Request,
    Result,
    Revoke,
    Txn,
    Watcher,
    Wrote,
)

KEYS = (b"a", b"b", b"c")
ALL = (b"a", b"d")


@dataclass
class Store:
    """An etcd in a few lines; `past` keeps the records as of each revision."""

    revision: int = 1
    lease: int = 7
    live: dict[bytes, Record] = field(default_factory=dict)
    past: dict[int, dict[bytes, Record]] = field(default_factory=lambda: {1: {}})
    log: list[Change] = field(default_factory=list)

    def do(self, request: Request) -> Result:
        if isinstance(request, Range) and request.revision:
            found = self.pick(self.past[request.revision], request.key, request.range_end)
            return Ranged(self.revision, tuple(found), len(found))
        before, at = dict(self.live), self.revision + 1
        result = self.inner(request, at)
        changed = sorted(
            key for key in {*before, *self.live} if before.get(key) != self.live.get(key)
        )
        self.revision += bool(changed)
        self.log += [Change(key, at, self.live.get(key), before.get(key)) for key in changed]
        self.past[self.revision] = dict(self.live)
        return self.named(result)

    def named(self, result: Result) -> Result:
        match result:
            case Wrote(_, prev):
                return Wrote(self.revision, prev)
            case Ranged(_, kvs, count, more):
                return Ranged(self.revision, kvs, count, more)
            case Deleted(_, count, prevs):
                return Deleted(self.revision, count, prevs)
            case Branched(_, succeeded, results):
                return Branched(self.revision, succeeded, results)
            case Done(_, ttl_s):
                return Done(self.revision, ttl_s)

    def pick(self, live: dict[bytes, Record], key: bytes, end: bytes) -> list[Record]:
        return [live[k] for k in sorted(live) if (key <= k < end if end else k == key)]

    def inner(self, request: Request, at: int) -> Result:
        match request:
            case Put(key, value, lease, prev_kv):
                old = self.live.get(key)
                create, version = (old.create, old.version + 1) if old else (at, 1)
                self.live[key] = Record(key, value, create, at, version, lease)
                return Wrote(None, old if prev_kv else None)
            case Range(key, end):
                found = self.pick(self.live, key, end)
                return Ranged(None, tuple(found), len(found))
            case Delete(key, end, prev_kv):
                gone = self.pick(self.live, key, end)
                for one in gone:
                    del self.live[one.key]
                return Deleted(None, len(gone), tuple(gone) if prev_kv else ())
            case Txn(compares, success, failure):
                held = all(self.holds(one) for one in compares)
                branch = success if held else failure
                return Branched(None, held, tuple(self.inner(one, at) for one in branch))
            case Revoke(lease):
                self.live = {k: one for k, one in self.live.items() if one.lease != lease}
                self.lease += lease == self.lease
        return Done(None)

    def holds(self, compare: Compare) -> bool:
        record = self.live.get(compare.key)
        actual = getattr(record, compare.target) if record else 0
        return bool(actual == compare.operand)


KINDS = ("put", "put", "get", "range", "past", "stale", "delete", "txn", "revoke")
PLAIN = ("put", "put", "get", "range", "delete", "revoke")
"""The operations that need no revisions to be explained."""


def random_request(
    dice: random.Random, store: Store, number: int, kinds: Sequence[str] = KINDS
) -> Request:
    key, value = dice.choice(KEYS), b"%d" % number
    lease = dice.choice((0, 0, 0, store.lease))
    prev_kv = dice.random() < 0.5
    mod = store.live[key].mod if key in store.live else 0
    match dice.choice(kinds):
        case "put":
            return Put(key, value, lease, prev_kv)
        case "get":
            return Range(key)
        case "range":
            return Range(*ALL)
        case "past":
            return Range(*ALL, revision=dice.randrange(1, store.revision + 1))
        case "stale":
            return Range(*ALL, serializable=True)
        case "delete":
            return Delete(*dice.choice(((key, b""), ALL)), prev_kv)
        case "revoke":
            return Revoke(store.lease)
    other = dice.choice([one for one in KEYS if one != key])
    condition = Compare(key, "mod", "=", dice.choice((mod, mod, 0)))
    return Txn((condition,), (Put(key, value), Delete(other)), (Range(*ALL), Put(other, value)))


def make(
    seed: int,
    operations: int = 12,
    processes: int = 3,
    unknown: float = 0.15,
    kinds: Sequence[str] = KINDS,
) -> History:
    """A history of so many operations; some stay without an answer, done or not done or late."""
    return Session(random.Random(seed), processes, unknown, kinds).run(operations)


@dataclass
class Session:
    """The making of one history."""

    dice: random.Random
    processes: int
    unknown: float
    kinds: Sequence[str] = KINDS
    store: Store = field(default_factory=Store)
    recorder: Recorder = field(default_factory=Recorder)
    now_s: float = 0.0
    waiting: dict[int, Request] = field(default_factory=dict)
    done: dict[int, Result] = field(default_factory=dict)
    late: list[Request] = field(default_factory=list)

    def run(self, operations: int) -> History:
        dice = self.dice
        for lease in range(7, 7 + operations):
            self.recorder.invoke(0, 0.0, Grant(lease, 1000.0))
            self.recorder.ok(0, 0.0, Done(1))
        begun = 0
        while begun < operations or self.waiting:
            self.now_s += 0.001
            process = dice.randrange(1, self.processes + 1)
            if process not in self.waiting and begun < operations:
                begun += 1
                request = random_request(dice, self.store, begun, self.kinds)
                self.waiting[process] = request
                self.recorder.invoke(process, self.now_s, request)
            elif process in self.done:
                self.recorder.ok(process, self.now_s, self.done.pop(process))
                del self.waiting[process]
            elif process in self.waiting:
                self.effect(process)
            if self.late and dice.random() < 0.1:
                late = self.late.pop()
                if not isinstance(late, Put | Revoke) or late.lease in (0, self.store.lease):
                    self.store.do(late)
        return self.recorder.history

    def effect(self, process: int) -> None:
        request = self.waiting[process]
        if isinstance(request, Put | Revoke) and 0 < request.lease < self.store.lease:
            self.recorder.fail(process, self.now_s, "requested lease not found")
            del self.waiting[process]
        elif self.dice.random() >= self.unknown:
            if isinstance(request, Range) and request.serializable:
                self.done[process] = self.old_state()
            else:
                self.done[process] = self.store.do(request)
        else:
            self.lose(process, request)

    def lose(self, process: int, request: Request) -> None:
        """The client hears nothing; the request is done, or never, or later."""
        self.recorder.unknown(process, self.now_s)
        del self.waiting[process]
        fate = self.dice.choice(("done", "never", "late"))
        if fate == "done":
            self.store.do(request)
        elif fate == "late":
            self.late.append(request)

    def old_state(self) -> Ranged:
        """What a member answers that lags behind."""
        at = self.dice.randrange(max(1, self.store.revision - 3), self.store.revision + 1)
        kvs = tuple(self.store.past[at][key] for key in sorted(self.store.past[at]))
        return Ranged(at, kvs, len(kvs))


def watched(seed: int, operations: int = 25, unknown: float = 0.15) -> History:
    """A right history with watchers of several kinds, each of whom breaks off once and resumes."""
    session = Session(random.Random(seed), 3, unknown)
    history = session.run(operations)
    dice, store, recorder = session.dice, session.store, session.recorder
    asked = [
        Watcher(10, 1, *ALL, 2, prev_kv=True),
        Watcher(11, 2, b"a", b"", 2),
        Watcher(12, 3, *ALL, 2, filters=frozenset({"noput"})),
        Watcher(13, 4, *ALL, 2, prev_kv=True, filters=frozenset({"nodelete"})),
    ]
    for watcher in asked:
        recorder.watch(session.now_s, watcher)
        follow(session, watcher, dice.randrange(2, store.revision + 2))
    return history


def follow(session: Session, watcher: Watcher, resume_at: int) -> None:
    """Tell a watcher all of its changes, one to three revisions a message."""
    store, recorder, now_s = session.store, session.recorder, session.now_s
    mine = [one for one in store.log if asked_for(watcher, one)]
    at = 1
    while at < store.revision:
        if at + 1 == resume_at:
            recorder.notice(watcher.name, now_s, "resume", resume_at)
        until = min(at + session.dice.randrange(1, 4), store.revision)
        until = resume_at - 1 if at + 1 < resume_at <= until else until
        changes = [
            one if watcher.prev_kv else Change(one.key, one.revision, one.record)
            for one in mine
            if at < one.revision <= until
        ]
        if changes:
            recorder.notice(watcher.name, now_s, "events", until, changes)
        if session.dice.random() < 0.3:
            recorder.notice(watcher.name, now_s, "progress", until)
        at = until
    recorder.notice(watcher.name, now_s, "end", store.revision)


def asked_for(watcher: Watcher, change: Change) -> bool:
    inside = change.key == watcher.key or bool(
        watcher.range_end and watcher.key <= change.key < watcher.range_end
    )
    return inside and ("nodelete" if change.record is None else "noput") not in watcher.filters
