"""One engine for the tests that share it; each leaves it without containers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.engine_server import EngineServer, busybox_archive
from tests.real import require_root
from tests.real_dockerd import RealDockerd


@pytest.fixture(scope="session")
def shared_engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EngineServer]:
    require_root()
    server = EngineServer(tmp_path_factory.mktemp("engine")).start()
    try:
        server.load()
        yield server
    finally:
        server.stop()


@pytest.fixture
def engine(shared_engine: EngineServer) -> Iterator[EngineServer]:
    yield shared_engine
    shared_engine.clear()


@pytest.fixture(scope="session")
def real_dockerd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealDockerd]:
    require_root()
    real = RealDockerd(tmp_path_factory.mktemp("peer") / "docker").start()
    try:
        real.docker("load", stdin=busybox_archive())
        yield real
    finally:
        real.stop()
