"""bbolt's file format: round trips, and the real etcd on the other side."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sampan.store.core.bolt import PAGE_BYTES, BoltError, BoltReader, BoltWriter, is_bolt

Content = dict[bytes, dict[bytes, bytes]]


def database(content: Content) -> bytes:
    file = bytearray()

    def write(offset: int, data: bytes) -> None:
        file.extend(bytes(max(0, offset + len(data) - len(file))))
        file[offset : offset + len(data)] = data

    writer = BoltWriter(write)
    for name in sorted(content):
        writer.add_bucket(name, sorted(content[name].items()))
    assert writer.finish() == len(file)
    return bytes(file)


def content_of(data: bytes) -> Content:
    reader = BoltReader(data)
    return {name: dict(reader.items(name)) for name in reader.buckets()}


KEYS = st.binary(min_size=1, max_size=30)


@settings(deadline=None)
@given(st.dictionaries(KEYS, st.dictionaries(KEYS, st.binary(max_size=300), max_size=60)))
def test_what_is_written_is_read(content: Content) -> None:
    data = database(content)
    assert is_bolt(data[:PAGE_BYTES])
    assert len(data) % PAGE_BYTES == 0
    assert content_of(data) == content


def test_large_trees_and_large_values() -> None:
    dice = random.Random(7)
    many = {b"%08d" % number: dice.randbytes(dice.randrange(200)) for number in range(20_000)}
    big = {b"a": bytes(100_000), b"b": b"", b"c": dice.randbytes(PAGE_BYTES), b"d": b"x"}
    long_names = {b"n" * 3000 + b"%04d" % number: b"v" for number in range(40)}
    content = {b"many": many, b"big": big, b"names": long_names, b"none": {}}
    data = database(content)
    assert content_of(data) == content
    assert list(BoltReader(data).items(b"many")) == sorted(many.items())
    assert list(BoltReader(data).items(b"unknown")) == []


def test_keys_must_ascend() -> None:
    writer = BoltWriter(lambda offset, data: None)
    with pytest.raises(BoltError, match="not ascending"):
        writer.add_bucket(b"b", [(b"2", b""), (b"1", b"")])


def test_the_second_meta_page_stands_in_for_the_first() -> None:
    data = bytearray(database({b"b": {b"k": b"v"}}))
    data[20:60] = bytes(40)
    assert content_of(bytes(data)) == {b"b": {b"k": b"v"}}
    data[PAGE_BYTES + 20 : PAGE_BYTES + 60] = bytes(40)
    with pytest.raises(BoltError, match="no valid meta page"):
        BoltReader(bytes(data))


@pytest.mark.parametrize("data", [b"", b"x", bytes(PAGE_BYTES * 4), b"SQLite format 3\0" * 600])
def test_other_files_are_refused(data: bytes) -> None:
    assert not is_bolt(data[:PAGE_BYTES])
    with pytest.raises(BoltError):
        BoltReader(data)


def test_a_file_that_is_cut_short_is_refused() -> None:
    data = database({b"b": {b"%04d" % each: bytes(100) for each in range(1000)}})
    with pytest.raises(BoltError, match="cut short"):
        BoltReader(data[:-PAGE_BYTES])


@given(st.data())
@settings(deadline=None, max_examples=300)
def test_damage_is_an_error_and_never_a_crash(data: st.DataObject) -> None:
    whole = bytearray(database({b"b": {b"%04d" % each: bytes(50) for each in range(300)}}))
    place = data.draw(st.integers(2 * PAGE_BYTES, len(whole) - 1))
    whole[place] ^= data.draw(st.integers(1, 255))
    try:
        content_of(bytes(whole))
    except BoltError:
        pass


def test_is_bolt_needs_enough_bytes(tmp_path: Path) -> None:
    assert not is_bolt(database({})[:20])
