"""One engine for the tests that share it, and engines of their own for those that kill it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.engine_server import EngineServer, busybox_archive
from tests.netns import NetworkNamespace
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


@pytest.fixture(scope="module")
def module_engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EngineServer]:
    """An engine for one file, in the machine's network."""
    require_root()
    server = EngineServer(tmp_path_factory.mktemp("engine"))
    try:
        server.start().load()
        yield server
    finally:
        server.stop()


@pytest.fixture
def netns() -> Iterator[NetworkNamespace]:
    require_root()
    made = NetworkNamespace.make()
    yield made
    made.close()


@pytest.fixture
def own(tmp_path: Path, netns: NetworkNamespace) -> Iterator[EngineServer]:
    server = EngineServer(tmp_path, netns=netns.path).start()
    server.load()
    try:
        yield server
        server.clear()
    finally:
        server.stop()


@pytest.fixture(scope="session")
def real_dockerd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealDockerd]:
    require_root()
    real = RealDockerd(tmp_path_factory.mktemp("peer") / "docker").start()
    try:
        real.docker("load", stdin=busybox_archive())
        yield real
    finally:
        real.stop()
