"""The key space against a model: a list of dicts, one a revision."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from tests.store.buckets import Buckets, Leases

from sampan.store.core import encode, query, revision
from sampan.store.core.mvcc import Change, Mvcc
from sampan.store.pb.kv_pb2 import Event, KeyValue
from sampan.store.pb.rpc_pb2 import RangeRequest, RangeResponse
from sampan.wire.grpc.status import RpcError

KEYS = [b"a", b"a/1", b"a/2", b"b", b"\x00", b"\xff\xff"]
ENDS = [b"", b"\x00", b"a0", b"b", b"c", b"a"]


def kv_of(framed: bytes) -> KeyValue:
    return KeyValue.FromString(encode.unframe(framed))


class MvccMachine(RuleBasedStateMachine):
    """Every read at every readable revision agrees with the model, before and after a restart."""

    def __init__(self) -> None:
        super().__init__()
        self.backend = Buckets()
        self.leases = Leases()
        self.mvcc = Mvcc(self.backend, self.leases)
        self.seen: list[Change] = []
        self.mvcc.observer = lambda changes, _: self.seen.extend(changes)
        # history[r] is what every key was at revision r.
        self.history: list[dict[bytes, KeyValue]] = [{}, {}]
        self.events: list[tuple[int, bytes, bool]] = []

    def _put(self, state: dict[bytes, KeyValue], key: bytes, value: bytes, lease: int) -> None:
        main = len(self.history)
        old = state.get(key)
        state[key] = KeyValue(
            key=key,
            value=value,
            create_revision=old.create_revision if old else main,
            mod_revision=main,
            version=old.version + 1 if old else 1,
            lease=lease,
        )
        self.events.append((main, key, False))

    @rule(key=st.sampled_from(KEYS), value=st.binary(max_size=3), lease=st.integers(0, 2))
    def put(self, key: bytes, value: bytes, lease: int) -> None:
        state = dict(self.history[-1])
        previous = self.mvcc.put(key, value, lease)
        assert (previous is None) == (key not in state)
        self._put(state, key, value, lease)
        self._commit(state)

    @rule(
        puts=st.lists(
            st.tuples(st.none(), st.sampled_from(KEYS), st.binary(max_size=3)), max_size=4
        )
    )
    def put_each(self, puts: list[tuple[None, bytes, bytes]]) -> None:
        first = len(self.history)
        expected = [encode.varint(first + n) for n in range(len(puts))]
        assert self.mvcc.put_each(puts) == expected
        for _, key, value in puts:
            state = dict(self.history[-1])
            self._put(state, key, value, 0)
            self.history.append(state)
        self.mvcc.publish()

    @rule(key=st.sampled_from(KEYS), end=st.sampled_from(ENDS))
    def delete(self, key: bytes, end: bytes) -> None:
        state = dict(self.history[-1])
        gone = [k for k in sorted(state) if self._covers(key, end, k)]
        records = self.mvcc.delete_range(key, end)
        assert [kv_of(record[0]) for record in records] == [state[k] for k in gone]
        if not gone:
            assert self.mvcc.commit() == len(self.history) - 1
            return
        for k in gone:
            self.events.append((len(self.history), k, True))
            del state[k]
        self._commit(state)

    @rule(
        puts=st.dictionaries(st.sampled_from(KEYS), st.binary(max_size=2), min_size=1, max_size=4),
        gone=st.sampled_from(KEYS),
    )
    def transaction(self, puts: dict[bytes, bytes], gone: bytes) -> None:
        state = dict(self.history[-1])
        for key, value in puts.items():
            self.mvcc.put(key, value, 0)
            self._put(state, key, value, 0)
        if gone not in puts and gone in state:
            assert self.mvcc.delete(gone) is not None
            self.events.append((len(self.history), gone, True))
            del state[gone]
        assert {k: kv_of(r[0]) for k, r in self.mvcc.index.live.items()} == state
        self._commit(state)

    def _commit(self, state: dict[bytes, KeyValue]) -> None:
        assert self.mvcc.commit() == len(self.history)
        self.history.append(state)
        self.mvcc.publish()

    @staticmethod
    def _covers(key: bytes, end: bytes, candidate: bytes) -> bool:
        if not end:
            return key == candidate
        return candidate >= key and (end == b"\x00" or candidate < end)

    @precondition(lambda self: len(self.history) > 2)
    @rule(data=st.data(), purge=st.booleans())
    def compact(self, data: st.DataObject, purge: bool) -> None:
        at = data.draw(st.integers(1, len(self.history) - 1))
        if at <= self.mvcc.compact_revision:
            with pytest.raises(RpcError, match="has been compacted"):
                self.mvcc.compact(at)
            return
        self.mvcc.compact(at)
        if purge:
            for _ in self.mvcc.purge(at):
                pass

    @rule()
    def restart(self) -> None:
        compacted = self.mvcc.compact_revision
        self.leases = Leases()
        self.mvcc = Mvcc(self.backend, self.leases)
        self.mvcc.restore([sorted(self.backend.revisions.items())])
        self.mvcc.observer = lambda changes, _: self.seen.extend(changes)
        assert self.mvcc.compact_revision == compacted

    @rule(
        key=st.sampled_from(KEYS),
        end=st.sampled_from(ENDS),
        limit=st.integers(0, 3),
        data=st.data(),
    )
    def read(self, key: bytes, end: bytes, limit: int, data: st.DataObject) -> None:
        at = data.draw(st.integers(0, len(self.history)))
        request = RangeRequest(key=key, range_end=end, revision=at, limit=limit)
        if at == len(self.history) or 0 < at < self.mvcc.compact_revision:
            with pytest.raises(RpcError, match=r"future revision|has been compacted"):
                query.answer(self.mvcc, request, b"")
            return
        state = self.history[at] if at else self.history[-1]
        expected = [state[k] for k in sorted(state) if self._covers(key, end, k)]
        response = RangeResponse.FromString(query.answer(self.mvcc, request, b""))
        assert list(response.kvs) == (expected[:limit] if limit else expected)
        assert response.count == len(expected)
        assert response.more == (bool(limit) and len(expected) > limit)

    @invariant()
    def revision_is_the_models(self) -> None:
        assert self.mvcc.revision == len(self.history) - 1

    @invariant()
    def leases_hold_what_the_records_say(self) -> None:
        state = self.history[-1]
        assert self.leases.held == {(k, kv.lease) for k, kv in state.items() if kv.lease}

    @invariant()
    def every_change_was_published_once(self) -> None:
        assert [(main, key, gone) for key, _, main, gone, _ in self.seen] == self.events
        for key, event, main, gone, before in self.seen:
            parsed = Event.FromString(event)
            old = self.history[main - 1].get(key)
            assert (parsed.type == Event.DELETE) == gone
            assert parsed.kv.key == key and parsed.kv.mod_revision == main
            assert (None if before is None else KeyValue.FromString(before)) == old

    @invariant()
    def history_is_readable_from_the_compaction_on(self) -> None:
        start = max(self.mvcc.compact_revision, 1)
        replayed = [(c[2], c[0], c[3]) for c in self.mvcc.changes(start, len(self.history))]
        wanted = [event for event in self.events if event[0] >= start]
        after = [event for event in wanted if event[0] > start]
        assert [event for event in replayed if event[0] > start] == after
        # At the compacted revision itself nothing that a watch must see is lost.
        assert {e for e in replayed if e[0] == start} == {e for e in wanted if e[0] == start}


TestMvcc = MvccMachine.TestCase
TestMvcc.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


def test_revisions_sort_as_bytes_the_way_they_sort_as_numbers() -> None:
    revisions = [(1, 0), (1, 1), (1, 300), (2, 0), (256, 0), (2**40, 7)]
    packed = [revision.pack(main, sub) for main, sub in revisions]
    assert packed == sorted(packed)
    assert [revision.unpack(key)[:2] for key in packed] == revisions
    assert packed[0] < revision.pack(1, 0, tombstone=True) < packed[1]


@pytest.mark.parametrize("n", [0, 1, 127, 128, 16383, 16384, 2**28, 2**35 + 5, 2**62, -1, -(2**63)])
def test_varint_is_protobufs(n: int) -> None:
    expected = KeyValue(lease=n).SerializeToString()[1:] or b"\x00"
    assert encode.varint(n) == expected


@pytest.mark.parametrize("size", [0, 1, 100, 127, 128, 20_000, 3_000_000])
def test_hand_written_key_value_is_protobufs(size: int) -> None:
    kv = KeyValue(
        key=b"k", create_revision=3, mod_revision=70_000, version=2, value=b"v" * size, lease=-5
    )
    raw = encode.key_value(b"k", 3, encode.varint(70_000), 2, b"v" * size, -5)
    assert raw == kv.SerializeToString()
    assert encode.unframe(encode.frame(raw)) == raw
