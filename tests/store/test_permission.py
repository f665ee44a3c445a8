"""Key ranges: what a set of granted ranges covers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampan.store.core.permission import RangeSet, is_valid_range, merge_grants
from sampan.store.pb.auth_pb2 import Permission

# A small universe of keys, so that ranges often touch, overlap and leave one key out.
KEYS = st.binary(min_size=1, max_size=2).map(lambda key: bytes(b"\0abcd"[x % 5] for x in key))
ENDS = st.one_of(st.just(b""), st.just(b"\0"), KEYS, st.just(b"e"))
RANGES = st.tuples(KEYS, ENDS)


def _gapless(granted: list[tuple[bytes, bytes]], asked: tuple[bytes, bytes]) -> bool:
    """Brute force over all boundary points: is each elementary interval inside some range?"""
    begin = asked[0]
    end = asked[0] + b"\0" if not asked[1] else None if asked[1] == b"\0" else asked[1]
    bounds = {begin}
    spans: list[tuple[bytes, bytes | None]] = []
    for key, range_end in granted:
        stop = key + b"\0" if not range_end else None if range_end == b"\0" else range_end
        spans.append((key, stop))
        bounds.update(b for b in (key, stop) if b is not None)
    points = sorted(b for b in bounds if b >= begin and (end is None or b < end))
    return all(any(s <= p and (e is None or p < e) for s, e in spans) for p in points) and (
        end is not None or any(e is None for _, e in spans)
    )


@given(st.lists(RANGES, max_size=6), RANGES)
def test_refused_exactly_when_there_is_a_gap(
    granted: list[tuple[bytes, bytes]], asked: tuple[bytes, bytes]
) -> None:
    key, range_end = asked
    empty = range_end not in (b"", b"\0") and range_end <= key
    assert RangeSet(granted).covers(key, range_end) == (not empty and _gapless(granted, asked))


def test_touching_ranges_leave_no_gap() -> None:
    both = RangeSet([(b"m", b"z"), (b"a", b"m")])
    assert both.covers(b"a", b"z")
    assert not RangeSet([(b"a", b"l"), (b"m", b"z")]).covers(b"a", b"z")


def test_one_key_does_not_grant_its_successors() -> None:
    one = RangeSet([(b"k", b"")])
    assert one.covers(b"k")
    assert not one.covers(b"k\0")
    assert not one.covers(b"k", b"\0")
    assert not one.covers(b"k", b"l")


def test_open_end_covers_any_end() -> None:
    tail = RangeSet([(b"k", b"\0")])
    assert tail.covers(b"k", b"\0")
    assert tail.covers(b"z", b"zz")
    assert not tail.covers(b"j", b"\0")
    assert not RangeSet([(b"k", b"\xff\xff")]).covers(b"k", b"\0")


def test_whole_keyspace() -> None:
    everything = RangeSet([(b"\0", b"\0")])
    assert everything.covers(b"\0", b"\0")
    assert everything.covers(b"\0")


@pytest.mark.parametrize(
    ("key", "range_end", "valid"),
    [
        (b"a", b"", True),
        (b"a", b"b", True),
        (b"a", b"\0", True),
        (b"\0", b"\0", True),
        (b"", b"", False),
        (b"", b"\0", False),
        (b"b", b"a", False),
        (b"a", b"a", False),
    ],
)
def test_ranges_that_may_be_granted(key: bytes, range_end: bytes, valid: bool) -> None:
    assert is_valid_range(key, range_end) is valid


def test_grants_keep_reading_and_writing_apart() -> None:
    grants = merge_grants(
        [
            Permission(permType=Permission.READ, key=b"r"),
            Permission(permType=Permission.WRITE, key=b"w"),
            Permission(permType=Permission.READWRITE, key=b"x", range_end=b"y"),
        ]
    )
    assert grants.may_read(b"r") and not grants.may_write(b"r")
    assert grants.may_write(b"w") and not grants.may_read(b"w")
    assert grants.may_read(b"x", b"y") and grants.may_write(b"x1")
    assert not grants.root
