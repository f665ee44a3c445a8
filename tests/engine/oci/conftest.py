"""Bundles for a whole run, and a runtime that each test leaves without containers."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.engine.oci.runtimes import SAMPAN, Bundles, Runtime
from tests.real import require_root


@pytest.fixture(scope="session")
def bundles() -> Iterator[Bundles]:
    """In a place that other users may enter: root of a user namespace is one of them."""
    with tempfile.TemporaryDirectory(prefix="bundles-") as place:
        os.chmod(place, 0o755)
        yield Bundles(Path(place))


@pytest.fixture
def oci(tmp_path: Path) -> Iterator[Runtime]:
    require_root()
    runtime = Runtime(SAMPAN, tmp_path / "state")
    yield runtime
    runtime.clear()
    assert not list((tmp_path / "state").glob("*"))
    left = [str(path) for id_ in runtime.made for path in Path("/sys/fs/cgroup").glob(f"*/{id_}")]
    assert left == []
