"""Bundles for a whole run, and a runtime that each test leaves without containers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.engine.oci.runtimes import SAMPAN, Bundles, Runtime
from tests.real import require_root


@pytest.fixture(scope="session")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Bundles:
    return Bundles(tmp_path_factory.mktemp("bundles"))


@pytest.fixture
def oci(tmp_path: Path) -> Iterator[Runtime]:
    require_root()
    runtime = Runtime(SAMPAN, tmp_path / "state")
    yield runtime
    runtime.clear()
    assert not list((tmp_path / "state").glob("*"))
    left = [str(path) for id_ in runtime.made for path in Path("/sys/fs/cgroup").glob(f"*/{id_}")]
    assert left == []
