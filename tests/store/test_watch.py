"""The watch hub against a naive model, and the classes of bugs that other stores had."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from tests.store.watching import Recorder, World

from sampan.base.errors import InvariantError
from sampan.store.core import watch as watch_module
from sampan.store.core.encode import unframe
from sampan.store.core.ranges import FROM_KEY, covers, is_empty
from sampan.store.core.watch_stream import WatchStream
from sampan.store.pb.kv_pb2 import Event, KeyValue
from sampan.store.pb.rpc_pb2 import WatchCreateRequest, WatchResponse

KEYS = st.sampled_from([b"a", b"ab", b"b", b"ba", b"c"])
ENDS = st.sampled_from([b"", b"b", b"c", b"z", FROM_KEY])
Row = tuple[int, bytes, bool]
"""revision, key, deleted?"""


@dataclass
class Expected:
    """A watch as the model sees it."""

    request: WatchCreateRequest
    first_rev: int
    seen: list[Row] = field(default_factory=list)
    ended: bool = False
    header_rev: int = 0

    def wants(self, row: Row) -> bool:
        rev, key, deleted = row
        banned = WatchCreateRequest.NODELETE if deleted else WatchCreateRequest.NOPUT
        return (
            rev >= self.first_rev
            and covers(self.request.key, self.request.range_end, key)
            and banned not in self.request.filters
        )

    def take(self, response: WatchResponse, values: dict[tuple[bytes, int], bytes | None]) -> None:
        """Take a response; check each event against the values that the key really had."""
        assert not self.ended
        if response.canceled:
            assert response.compact_revision
            self.ended = True
        if not response.events:
            return
        assert response.header.revision >= self.header_rev
        self.header_rev = response.header.revision
        for event in response.events:
            self.seen.append((event.kv.mod_revision, event.kv.key, event.type == Event.DELETE))
            assert event.kv.mod_revision <= response.header.revision
            if event.HasField("prev_kv"):
                before = values[event.kv.key, event.kv.mod_revision - 1]
                assert event.prev_kv.value == before


@dataclass
class Reader:
    """A stream and its watches by ID."""

    stream: WatchStream
    sink: Recorder
    watches: dict[int, Expected] = field(default_factory=dict)


class HubMachine(RuleBasedStateMachine):
    """Writes, slow streams, catching up and compaction in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.history: list[Row] = []
        self.values: dict[tuple[bytes, int], bytes | None] = {}
        self.readers: list[Reader] = []

    def snapshot(self, revision: int) -> None:
        for key in (b"a", b"ab", b"b", b"ba", b"c"):
            records, _ = self.world.mvcc.records(key, b"", revision)
            at = records[0] if records else None
            value = None
            if at is not None:
                value = KeyValue.FromString(unframe(at[0])).value
            self.values[key, revision] = value

    @rule(keys=st.lists(KEYS, min_size=1, max_size=3, unique=True), batch=st.booleans())
    def put(self, keys: list[bytes], batch: bool) -> None:
        mvcc = self.world.mvcc
        for key in keys:
            self.history.append((mvcc.revision + 1, key, False))
            mvcc.put(key, b"%d" % len(self.history), 0)
            if batch:
                mvcc.commit()
                self.snapshot(mvcc.revision)
        self.world.end()
        self.snapshot(mvcc.revision)

    @rule(key=KEYS, end=ENDS)
    def delete(self, key: bytes, end: bytes) -> None:
        mvcc = self.world.mvcc
        gone = sorted(k for k in mvcc.index.live if covers(key, end, k))
        self.history += [(mvcc.revision + 1, k, True) for k in gone]
        self.world.delete(key, end)
        self.snapshot(mvcc.revision)

    @rule(
        key=KEYS,
        end=ENDS,
        back=st.integers(-3, 8),
        reader=st.integers(0, 3),
        filters=st.sets(st.sampled_from([0, 1]), max_size=2),
        prev=st.booleans(),
    )
    def watch(
        self, key: bytes, end: bytes, back: int, reader: int, filters: set[int], prev: bool
    ) -> None:
        if is_empty(key, end):
            return
        revision = self.world.mvcc.revision
        start = 0 if back == 0 else max(1, revision + 1 - back)
        if start < self.world.mvcc.compact_revision and start:
            return
        request = WatchCreateRequest(
            key=key,
            range_end=end,
            start_revision=start,
            filters=sorted(filters),  # type: ignore[arg-type]
            prev_kv=prev,
        )
        if reader >= len(self.readers):
            self.readers.append(Reader(*self.world.stream()))
        chosen = self.readers[min(reader, len(self.readers) - 1)]
        chosen.watches[len(chosen.watches)] = Expected(request, start or revision + 1)
        chosen.stream.create(request)

    @precondition(lambda self: self.readers)
    @rule(data=st.data(), room=st.none() | st.integers(0, 3))
    def give_room(self, data: st.DataObject, room: int | None) -> None:
        data.draw(st.sampled_from(self.readers)).sink.room = room

    @rule()
    def sync_once(self) -> None:
        self.world.hub.sync()

    @precondition(lambda self: self.world.mvcc.revision > 2)
    @rule(data=st.data())
    def compact(self, data: st.DataObject) -> None:
        mvcc = self.world.mvcc
        if mvcc.compact_revision < mvcc.revision:
            low = max(mvcc.compact_revision + 1, 1)
            self.world.compact(data.draw(st.integers(low, mvcc.revision)))

    @invariant()
    def seen_is_a_prefix_in_order(self) -> None:
        for reader in self.readers:
            for response in reader.sink.take():
                reader.watches[response.watch_id].take(response, self.values)
            for watch in reader.watches.values():
                wanted = [row for row in self.history if watch.wants(row)]
                assert watch.seen == wanted[: len(watch.seen)]

    def teardown(self) -> None:
        for reader in self.readers:
            reader.sink.room = None
        self.world.sync()
        self.seen_is_a_prefix_in_order()
        for reader in self.readers:
            for watch in reader.watches.values():
                if not watch.ended:
                    assert watch.seen == [row for row in self.history if watch.wants(row)]


TestHub = HubMachine.TestCase
TestHub.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


@pytest.mark.parametrize("slice_revs", [1, 2, 3])
def test_small_slices_split_no_revision(monkeypatch: pytest.MonkeyPatch, slice_revs: int) -> None:
    monkeypatch.setattr(watch_module, "SLICE_REVS", slice_revs)
    world = World()
    for number in range(7):
        world.put((b"a", b"%d" % number), (b"b", b"%d" % number))
    _, sink = world.watching(key=b"a", range_end=b"c", start_revision=2)
    world.sync()
    responses = sink.take()
    assert [e.kv.mod_revision for r in responses for e in r.events] == sorted([*range(2, 9)] * 2)
    assert all(len(r.events) % 2 == 0 for r in responses)


def test_no_time_travel_header_never_promises_what_was_not_delivered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # A client resumes after the header's revision: whatever it covers must have been sent.
    monkeypatch.setattr(watch_module, "SLICE_REVS", 2)
    world = World()
    for number in range(9):
        world.put((b"a", b"%d" % number))
    _, sink = world.watching(key=b"a", start_revision=2)
    world.hub.sync()
    (response,) = sink.take()
    assert response.header.revision == response.events[-1].kv.mod_revision == 3


def test_no_starvation_every_watcher_gets_its_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch_module, "SLICE_REVS", 2)
    world = World()
    for number in range(20):
        world.put((b"a", b"%d" % number))
    _, old = world.watching(key=b"a", start_revision=2)
    _, newer = world.watching(key=b"a", start_revision=18)
    world.hub.sync()
    world.hub.sync()
    assert old.messages
    assert newer.messages


def test_no_starvation_an_unread_stream_does_not_stop_catching_up() -> None:
    world = World()
    world.put((b"a", b"1"))
    stuck, sink = world.stream(room=1)
    stuck.create(WatchCreateRequest(key=b"a", start_revision=1))
    _, other = world.watching(key=b"a", start_revision=1)
    assert not world.hub.sync()
    assert len(other.events()) == 1
    assert len(sink.messages) == 1
    assert world.hub.slow_watcher_count == 1


def test_a_deletion_at_the_compacted_revision_is_not_lost() -> None:
    world = World()
    world.put((b"a", b"1"))
    revision = world.delete(b"a")
    world.put((b"b", b"1"))
    world.compact(revision)
    _, sink = world.watching(key=b"a", start_revision=revision)
    world.sync()
    assert [(e.type, e.kv.mod_revision) for e in sink.events()] == [(Event.DELETE, revision)]


def test_watches_that_share_a_stream_share_its_room() -> None:
    world = World()
    world.put((b"a", b"1"))
    stream, sink = world.stream(room=3)
    stream.create(WatchCreateRequest(key=b"a", start_revision=2))
    stream.create(WatchCreateRequest(key=b"a", start_revision=2, prev_kv=True))
    world.sync()
    assert [r.watch_id for r in sink.take() if r.events] == [0]
    sink.room = 5
    world.sync()
    assert [r.watch_id for r in sink.take() if r.events] == [1]


def test_compaction_while_catching_up_cancels_instead_of_skipping() -> None:
    world = World()
    for number in range(5):
        world.put((b"a", b"%d" % number))
    stream, sink = world.stream(room=1)
    stream.create(WatchCreateRequest(key=b"a", start_revision=2))
    world.compact(4)
    world.sync()
    sink.room = None
    world.sync()
    created, canceled = sink.take()
    assert created.created
    assert canceled.canceled
    assert canceled.compact_revision == 4
    assert world.hub.watcher_count == 0


def test_a_store_without_synced_watchers_need_not_report_changes() -> None:
    world = World()
    assert not world.listening
    stream, sink = world.watching(key=b"a")
    assert world.listening
    stream.cancel(0)
    world.put((b"a", b"1"))
    assert not world.listening
    assert [response.canceled for response in sink.take()] == [True]
    world.put((b"a", b"2"))
    stream.create(WatchCreateRequest(key=b"a"))
    assert world.listening
    world.put((b"a", b"3"))
    assert [event.kv.value for event in sink.events()] == [b"3"]


def test_permission_is_taken_away_inside_a_batch() -> None:
    class Rights:
        granted = True

        def check(self, key: bytes, range_end: bytes) -> None:
            """Allow everything at first."""

        def still(self, key: bytes, range_end: bytes) -> bool:
            return self.granted

    world, rights = World(), Rights()
    stream, sink = world.stream(permission=rights)
    stream.create(WatchCreateRequest(key=b"a"))
    _, other = world.watching(key=b"a")
    sink.messages.clear()
    world.mvcc.put(b"a", b"secret", 0)
    world.mvcc.commit()
    rights.granted = False
    world.hub.recheck()
    world.end()
    assert [response.canceled for response in sink.take()] == [True]
    assert len(other.events()) == 1


def test_joining_inside_a_batch_is_a_bug_that_shows() -> None:
    world = World()
    world.watching(key=b"a")
    world.mvcc.put(b"a", b"1", 0)
    world.mvcc.commit()
    world.watching(key=b"a")
    with pytest.raises(InvariantError):
        world.mvcc.publish()


def test_large_responses_end_between_revisions() -> None:
    world = World()
    for _ in range(4):
        world.put((b"a", b"x" * 300_000))
    _, sink = world.watching(key=b"a", start_revision=2)
    world.sync()
    assert [[e.kv.mod_revision for e in r.events] for r in sink.take()] == [[2, 3], [4, 5]]


def test_one_body_is_encoded_for_all_watchers_of_a_key() -> None:
    world = World()
    stream, sink = world.stream()
    for _ in range(100):
        stream.create(WatchCreateRequest(key=b"a"))
    sink.messages.clear()
    world.put((b"a", b"1"))
    responses = sink.take()
    assert [response.watch_id for response in responses] == list(range(100))
    assert {response.events[0].SerializeToString() for response in responses} == {
        responses[0].events[0].SerializeToString()
    }
    assert world.hub.events_total == 100


def test_closing_a_stream_forgets_its_watches() -> None:
    world = World()
    stream, _ = world.watching(key=b"a", range_end=b"b")
    stream.create(WatchCreateRequest(key=b"a", start_revision=1))
    stream.close()
    stream.close()
    assert world.hub.watcher_count == world.hub.stream_count == 0
