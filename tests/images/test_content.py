"""Blobs: whole and right, or not there."""

from __future__ import annotations

from pathlib import Path

import pytest

from sampan.base.errors import ConflictError, InvalidError, LimitError, NotFoundError
from sampan.images.core.image import digest_of
from sampan.images.shell.content import ContentStore


def test_a_blob_is_found_by_its_digest(tmp_path: Path) -> None:
    store = ContentStore(tmp_path)
    digest = store.put(b"data")
    assert digest == digest_of(b"data")
    assert store.read(digest) == b"data"
    assert store.put(b"data") == digest


def test_a_wrong_blob_leaves_nothing(tmp_path: Path) -> None:
    store = ContentStore(tmp_path)
    expected = digest_of(b"right")
    with store.writer(expected) as writer, pytest.raises(InvalidError, match="digest mismatch"):
        writer.write(b"wrong")
        writer.commit()
    assert not store.has(expected)
    assert not any((tmp_path / "ingest").iterdir())


def test_an_unfinished_blob_is_gone_after_a_restart(tmp_path: Path) -> None:
    store = ContentStore(tmp_path)
    with store.writer() as writer:
        writer.write(b"half")
        ContentStore(tmp_path)
        assert not any((tmp_path / "ingest").iterdir())


def test_collecting_keeps_what_is_wanted(tmp_path: Path) -> None:
    store = ContentStore(tmp_path)
    kept, gone = store.put(b"kept"), store.put(b"gone!")
    assert store.collect({kept}) == 5
    assert store.has(kept)
    with pytest.raises(NotFoundError):
        store.read(gone)


def test_bounds_and_names(tmp_path: Path) -> None:
    store = ContentStore(tmp_path)
    with pytest.raises(LimitError):
        store.read(store.put(b"x" * 100), limit_bytes=99)
    with pytest.raises(InvalidError):
        store.path("sha256:../../etc/passwd")


def test_what_broke_off_is_gone_on_with_after_a_restart(tmp_path: Path) -> None:
    data = b"first half, second half"
    expected = digest_of(data)
    with ContentStore(tmp_path).writer(expected, resume=True) as writer:
        writer.write(data[:11])
    store = ContentStore(tmp_path)
    assert not store.has(expected)
    with store.writer(expected, resume=True) as writer:
        assert writer.size_bytes == 11
        with pytest.raises(ConflictError):
            store.writer(expected, resume=True)
        writer.write(data[11:])
        assert writer.commit() == expected
    assert store.read(expected) == data
    assert not any((tmp_path / "ingest").iterdir())


def test_a_wrong_beginning_does_not_stay(tmp_path: Path) -> None:
    store = ContentStore(tmp_path)
    expected = digest_of(b"right")
    with store.writer(expected, resume=True) as writer:
        writer.write(b"wr")
    with store.writer(expected, resume=True) as writer, pytest.raises(InvalidError):
        writer.write(b"ght")
        writer.commit()
    assert not any((tmp_path / "ingest").iterdir())


def test_sha512(tmp_path: Path) -> None:
    store = ContentStore(tmp_path)
    expected = digest_of(b"data", "sha512")
    assert store.put(b"data", expected) == expected
    assert store.digests() == {expected}
    assert store.collect(()) == 4


def test_what_an_operation_uses_is_not_collected(tmp_path: Path) -> None:
    store = ContentStore(tmp_path)
    used, other = store.put(b"used"), store.put(b"other")
    with store.operation():
        store.use([used])
        written = store.put(b"written")
        store.collect(())
        assert store.digests() == {used, written}
        assert not store.has(other)
    store.collect(())
    assert store.digests() == set()
