"""Whole courses of events as text: see script.py for the commands."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.raft.script import Script
from tests.store import transcript

FILES = sorted((Path(__file__).parent / "testdata").glob("*.txt"))


def test_there_are_transcripts() -> None:
    assert FILES


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_cluster_behaves_as_written(path: Path) -> None:
    transcript.run(path, Script().execute)
