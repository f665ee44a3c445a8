"""One daemon with CRI for the tests that share it; each leaves it without pods."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.cri_client import CriClient
from tests.engine_server import EngineServer
from tests.real import require_root


@pytest.fixture(scope="session")
def shared_cri(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CriClient]:
    require_root()
    place = tmp_path_factory.mktemp("cri")
    engine = EngineServer(place, flags=[f"--cri-socket={place / 'cri.sock'}"]).start()
    client = CriClient(engine, place)
    try:
        engine.load()
        yield client
        client.clear()
    finally:
        client.close()
        engine.stop()
        client.remove_cgroups()


@pytest.fixture
def cri(shared_cri: CriClient) -> Iterator[CriClient]:
    yield shared_cri
    shared_cri.clear()
