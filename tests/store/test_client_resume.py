"""The watch's decisions: examples for each rule, then any history against any misfortune."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sampan.store.client.backoff import Backoff
from sampan.store.client.resume import (
    Begin,
    Broken,
    Check,
    Checked,
    Fail,
    Input,
    List,
    Listed,
    Open,
    Read,
    ReadFailed,
    Received,
    Refresh,
    Refreshed,
    Resume,
    Step,
    Wait,
    Waited,
)
from sampan.store.client.values import WatchBatch
from sampan.store.pb import kv_pb2, rpc_pb2
from sampan.wire.grpc.status import Code, RpcError

CLUSTER = 7
GONE = RpcError(Code.UNAVAILABLE, "gone")


def header(revision: int, cluster_id: int = CLUSTER) -> rpc_pb2.ResponseHeader:
    return rpc_pb2.ResponseHeader(cluster_id=cluster_id, revision=revision)


def created(revision: int, cluster_id: int = CLUSTER) -> Received:
    return Received(rpc_pb2.WatchResponse(header=header(revision, cluster_id), created=True))


def put(revision: int, key: bytes = b"k") -> kv_pb2.Event:
    return kv_pb2.Event(kv=kv_pb2.KeyValue(key=key, mod_revision=revision))


def events(*revisions: int, fragment: bool = False) -> Received:
    return Received(
        rpc_pb2.WatchResponse(
            header=header(revisions[-1]), events=map(put, revisions), fragment=fragment
        )
    )


def progress(revision: int) -> Received:
    return Received(rpc_pb2.WatchResponse(header=header(revision)))


def canceled(reason: str = "", compact_revision: int = 0) -> Received:
    return Received(
        rpc_pb2.WatchResponse(
            header=header(0), canceled=True, cancel_reason=reason, compact_revision=compact_revision
        )
    )


def range_at(revision: int, *keys: bytes, cluster_id: int = CLUSTER) -> rpc_pb2.RangeResponse:
    kvs = [kv_pb2.KeyValue(key=key) for key in keys]
    return rpc_pb2.RangeResponse(header=header(revision, cluster_id), kvs=kvs)


def watch(start_revision: int = 0, **options: bool) -> Resume:
    return Resume(Backoff(lambda: 0.5), start_revision=start_revision, **options)


def feed(resume: Resume, *inputs: Input) -> Step:
    step = Step(Read())
    for one in inputs:
        step = resume.step(one)
    return step


def revisions(batch: WatchBatch | None) -> list[int]:
    return [] if batch is None else [event.kv.mod_revision for event in batch.events]


def test_a_watch_opens_at_the_revision_asked_for() -> None:
    assert watch(5).step(Begin()) == Step(Open(5))
    assert watch().step(Begin()) == Step(Open(0))


def test_events_are_delivered_and_the_next_stream_starts_behind_them() -> None:
    resume = watch(5)
    step = feed(resume, Begin(), created(9), events(5, 6, 6))
    assert step.next == Read()
    assert revisions(step.batch) == [5, 6, 6]
    assert feed(resume, Broken(GONE), Waited()) == Step(Open(7))


def test_a_watch_from_now_resumes_where_it_was_created_though_nothing_came() -> None:
    resume = watch()
    assert feed(resume, Begin(), created(41), Broken(None), Waited()) == Step(Open(42))


def test_a_watch_that_was_never_created_still_starts_now() -> None:
    assert feed(watch(), Begin(), Broken(GONE), Waited()) == Step(Open(0))


def test_progress_moves_the_resume_point_and_is_reported_when_asked_for() -> None:
    resume = watch(3)
    assert feed(resume, Begin(), created(9), progress(9)) == Step(Read())
    assert resume.next_rev == 10
    loud = watch(3, report_progress=True)
    assert feed(loud, Begin(), created(9), progress(9)) == Step(Read(), WatchBatch((), 9))


def test_progress_below_a_future_start_changes_nothing() -> None:
    resume = watch(100)
    assert feed(resume, Begin(), created(9), progress(9)) == Step(Read())
    assert resume.next_rev == 100


def test_fragments_are_joined_and_half_of_them_is_nothing() -> None:
    resume = watch(5)
    assert feed(resume, Begin(), created(9), events(5, 5, fragment=True)) == Step(Read())
    step = resume.step(events(5, 6))
    assert revisions(step.batch) == [5, 5, 5, 6]
    assert feed(resume, events(7, fragment=True), Broken(GONE), Waited()) == Step(Open(7))
    assert revisions(feed(resume, created(9), events(7)).batch) == [7]


def test_events_from_before_the_resume_point_are_dropped() -> None:
    resume = watch(5)
    step = feed(resume, Begin(), created(9), events(5), Broken(GONE), Waited(), created(9))
    assert step == Step(Read())
    assert revisions(resume.step(events(4, 5, 6)).batch) == [6]
    assert resume.step(events(6)).batch is not None


def test_events_out_of_order_break_the_stream() -> None:
    resume = watch(5)
    feed(resume, Begin(), created(9), events(6))
    assert isinstance(resume.step(events(5)).next, Wait)
    assert resume.step(Waited()) == Step(Open(7))


def test_compaction_leads_to_a_list_that_is_reported() -> None:
    resume = watch(5)
    assert feed(resume, Begin(), created(9), canceled(compact_revision=8)) == Step(List())
    step = resume.step(Listed(range_at(12, b"a", b"b")))
    assert step.next == Open(13)
    assert step.batch is not None and step.batch.relist is not None
    assert (step.batch.revision, step.batch.events) == (12, ())
    relist = step.batch.relist
    assert (relist.reason, relist.compact_revision, relist.revision) == ("compacted", 8, 12)
    assert [kv.key for kv in relist.kvs] == [b"a", b"b"]


def test_a_list_that_fails_is_tried_again() -> None:
    resume = watch(5)
    feed(resume, Begin(), created(9), canceled(compact_revision=8))
    assert isinstance(resume.step(ReadFailed(GONE)).next, Wait)
    assert resume.step(Waited()) == Step(List())


def test_a_lagging_member_is_checked_and_waited_for() -> None:
    resume = watch(5)
    feed(resume, Begin(), created(9), events(9), Broken(GONE), Waited())
    assert resume.step(created(6)) == Step(Check())
    assert resume.step(Checked(range_at(9))) == Step(Read())
    assert revisions(resume.step(events(10)).batch) == [10]


def test_a_history_that_went_back_is_a_reset() -> None:
    resume = watch(5)
    feed(resume, Begin(), created(9), events(9), Broken(GONE), Waited())
    assert feed(resume, created(3), Checked(range_at(3))) == Step(List())
    step = resume.step(Listed(range_at(4, b"x")))
    assert step.next == Open(5)
    assert step.batch is not None and step.batch.relist is not None
    assert step.batch.relist.reason == "reset"


def test_another_cluster_is_a_reset_even_when_its_revision_is_higher() -> None:
    resume = watch(5)
    feed(resume, Begin(), created(9), Broken(GONE), Waited())
    assert resume.step(created(99, cluster_id=8)) == Step(List())
    assert resume.step(Listed(range_at(99, cluster_id=8))).next == Open(100)
    assert resume.step(created(99, cluster_id=8)) == Step(Read())


def test_a_future_start_revision_is_no_reset() -> None:
    assert feed(watch(100), Begin(), created(9)) == Step(Read())


@pytest.mark.parametrize(
    "reason",
    [
        "rpc error: code = PermissionDenied desc = etcdserver: permission denied",
        "etcdserver: permission denied",
    ],
)
def test_a_denial_is_final_without_a_token_and_worth_a_new_one_with(reason: str) -> None:
    step = feed(watch(), Begin(), canceled(reason))
    assert isinstance(step.next, Fail)
    assert step.next.error.code is Code.PERMISSION_DENIED
    assert step.next.error.message == "etcdserver: permission denied"
    resume = watch(authenticated=True)
    assert feed(resume, Begin(), canceled(reason)) == Step(Refresh())
    assert resume.step(Refreshed()) == Step(Open(0))
    assert isinstance(resume.step(canceled(reason)).next, Fail)


def test_each_success_makes_a_stale_token_worth_another_refresh() -> None:
    resume = watch(authenticated=True)
    stale = RpcError(Code.UNAUTHENTICATED, "etcdserver: invalid auth token")
    feed(resume, Begin(), Broken(stale), Refreshed(), created(9))
    assert resume.step(Broken(stale)) == Step(Refresh())


def test_an_unknown_cancellation_and_a_bad_request_are_final() -> None:
    assert isinstance(feed(watch(), Begin(), canceled("something new")).next, Fail)
    bad = RpcError(Code.INVALID_ARGUMENT, "etcdserver: key is not provided")
    assert feed(watch(), Begin(), Broken(bad)) == Step(Fail(bad))


def test_failures_in_a_row_back_off_and_a_created_watch_starts_over() -> None:
    resume = watch()
    resume.step(Begin())
    delays = []
    for _ in range(5):
        step = resume.step(Broken(GONE))
        assert isinstance(step.next, Wait)
        delays.append(step.next.delay_s)
        resume.step(Waited())
    assert delays == [0.375, 0.75, 1.5, 1.5, 1.5]
    assert feed(resume, created(1), Broken(GONE)) == Step(Wait(0.375))


@given(st.floats(0, 1, exclude_max=True), st.integers(0, 100))
def test_every_delay_lies_between_250_ms_and_2_s(draw: float, failures: int) -> None:
    backoff = Backoff(lambda: draw)
    delays = [backoff.next_delay_s() for _ in range(failures + 1)]
    assert all(0.25 <= delay <= 2.0 for delay in delays)
    assert delays == sorted(delays)


@dataclass
class Store:
    """A model of a store and the stream it would send: each revision changes one or more keys."""

    dice: random.Random
    history: list[list[bytes]] = field(default_factory=list)
    compacted: int = 0

    @property
    def revision(self) -> int:
        return len(self.history) + 1

    def write(self) -> None:
        keys = [b"k%d" % number for number in range(self.dice.randint(1, 4))]
        self.history.append(keys)

    def compact(self) -> None:
        self.compacted = self.dice.randint(self.compacted, self.revision)

    def changes(self, revision: int) -> list[kv_pb2.Event]:
        """What happened at `revision`; the first one is the empty store."""
        return [put(revision, key) for key in self.history[revision - 2]] if revision > 1 else []

    def stream(self, start: int) -> Iterator[Received]:
        """What a watch at `start` gets, up to now, in batches and fragments of any size."""
        yield created(self.revision)
        if start and start <= self.compacted:
            yield canceled(compact_revision=self.compacted)
            return
        at = start or self.revision + 1
        at = max(at, 2)
        while at <= self.revision:
            last = self.dice.randint(at, self.revision)
            flat = [event for rev in range(at, last + 1) for event in self.changes(rev)]
            yield from self.fragments(flat)
            if self.dice.random() < 0.3:
                yield progress(last)
            at = last + 1

    def fragments(self, flat: Sequence[kv_pb2.Event]) -> Iterator[Received]:
        while flat:
            size = self.dice.randint(1, len(flat))
            part, flat = flat[:size], flat[size:]
            response = rpc_pb2.WatchResponse(header=header(self.revision), events=part)
            response.fragment = bool(flat)
            yield Received(response)


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 2**32), st.integers(0, 20))
def test_nothing_is_lost_doubled_or_out_of_order(seed: int, start: int) -> None:
    dice = random.Random(seed)
    store = Store(dice)
    for _ in range(dice.randint(0, 20)):
        store.write()
    resume = Resume(Backoff(dice.random), start_revision=start)
    seen: list[tuple[int, bytes]] = []
    skipped: list[tuple[int, int]] = []
    first = 0
    step = resume.step(Begin())
    stream: Iterator[Received] = iter(())
    for turn in range(5_000):
        if step.batch is not None:
            assert not step.batch.events or not step.batch.relist
            seen += [(event.kv.mod_revision, event.kv.key) for event in step.batch.events]
        # After so many turns all is quiet, so that the watch can catch up.
        wild = turn < 150
        if not wild and first and resume.next_rev > store.revision:
            break
        if wild and dice.random() < 0.3:
            store.write()
        if wild and dice.random() < 0.05:
            store.compact()
        before = resume.next_rev
        event: Input
        match step.next:
            case Open(at):
                stream = store.stream(at)
                event = next(stream)
            case Read():
                event = next(stream, Broken(GONE))
            case Wait():
                event = Waited()
            case List():
                event = Listed(range_at(store.revision))
            case other:
                raise AssertionError(other)
        if wild and dice.random() < 0.15 and not isinstance(event, Waited):
            event = ReadFailed(GONE) if isinstance(event, Listed) else Broken(GONE)
        if isinstance(event, Listed):
            skipped.append((before, store.revision))
        step = resume.step(event)
        first = first or resume.next_rev
    else:
        raise AssertionError("the watch never caught up")
    truth = [
        (revision, key)
        for revision in range(max(first, 2), store.revision + 1)
        if not any(low <= revision <= high for low, high in skipped)
        for key in store.history[revision - 2]
    ]
    assert seen == truth
