"""A pull that is broken off by its client, or by the daemon's death."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.engine_server import EngineServer
from tests.fault_proxy import Fault, FaultProxy
from tests.images.registry_images import Registry, layer
from tests.real import require, require_root
from tests.registry_server import RegistryServer

pytestmark = [pytest.mark.root, pytest.mark.real]

SIZE = 3_000_000


@pytest.fixture
def proxy(tmp_path: Path) -> Iterator[FaultProxy]:
    """A registry with an image whose layer stops coming, once, in the middle."""
    registry = RegistryServer(tmp_path / "registry").start()
    Registry(registry.host).put_image("slow:1", [layer("slow", SIZE)])
    try:
        hold = Fault("GET .*/blobs/", hold_after=2_000_000)
        with FaultProxy(registry.host, Fault("GET .*/blobs/", times=1), hold) as proxy:
            yield proxy
    finally:
        registry.stop()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EngineServer]:
    require_root()
    server = EngineServer(tmp_path / "engine").start()
    try:
        yield server
    finally:
        server.stop()


def begin(server: EngineServer, proxy: FaultProxy) -> subprocess.Popen[bytes]:
    """`docker pull`, of which a part has come."""
    client = subprocess.Popen(
        [require("docker"), "pull", f"{proxy.host}/slow:1"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "DOCKER_HOST": server.url, "DOCKER_CONFIG": str(server.place)},
    )
    assert proxy.held.wait(20)
    return client


def test_a_client_that_leaves_ends_its_pull(server: EngineServer, proxy: FaultProxy) -> None:
    client = begin(server, proxy)
    client.terminate()
    client.wait(10)
    assert proxy.left.wait(20)
    assert server.out("images", "-aq") == ""
    server.docker("pull", f"{proxy.host}/slow:1")
    assert [one for one in proxy.requests("GET .*/blobs/") if "range" in one.headers]


def test_a_killed_daemon_goes_on_with_what_it_has(server: EngineServer, proxy: FaultProxy) -> None:
    client = begin(server, proxy)
    ingest = server.place / "data" / "images" / "ingest"
    server.kill()
    client.wait(10)
    begun = sum(path.stat().st_size for path in ingest.iterdir())
    server.start()
    assert server.out("images", "-aq") == ""
    server.docker("pull", f"{proxy.host}/slow:1")
    ranges = [one.headers.get("range") for one in proxy.requests("GET .*/blobs/")]
    assert not begun or f"bytes={begun}-" in ranges
    assert list(ingest.iterdir()) == []
