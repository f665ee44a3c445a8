"""Blobs: whole and right, or not there."""

from __future__ import annotations

from pathlib import Path

import pytest

from sampan.base.errors import InvalidError, LimitError, NotFoundError
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
