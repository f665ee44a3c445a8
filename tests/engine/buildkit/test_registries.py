"""Builds with a private registry whose password only the client has, and clients that die."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.engine_server import EngineServer, busybox_archive
from tests.real import require, require_root
from tests.registry_server import RegistryServer

if TYPE_CHECKING:
    from tests.engine.buildkit.conftest import Buildx

pytestmark = [pytest.mark.real, pytest.mark.root]


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegistryServer]:
    server = RegistryServer(tmp_path_factory.mktemp("private"), users={"me": "secret"}).start()
    yield server
    server.stop()


@pytest.fixture
def near(tmp_path: Path, engine: EngineServer) -> Iterator[EngineServer]:
    """An engine in the machine's own network, where the registry is."""
    require_root()
    server = EngineServer(tmp_path / "near")
    server.place.mkdir()
    (server.place / "cli-plugins").symlink_to(engine.place / "cli-plugins")
    server.start()
    try:
        yield server
    finally:
        server.stop()


def test_a_private_base_a_push_and_a_cache(
    near: EngineServer, registry: RegistryServer, tmp_path: Path
) -> None:
    name = f"{registry.host}/private"
    near.docker("login", "-u", "me", "-p", "secret", registry.host)
    near.docker("load", stdin=busybox_archive())
    near.docker("tag", "busybox", f"{name}/base:1")
    near.docker("push", f"{name}/base:1")
    near.docker("rmi", "busybox", f"{name}/base:1")
    (tmp_path / "Dockerfile").write_text(
        f"FROM {name}/base:1 AS base\nFROM scratch\nCOPY --from=base /etc/passwd /p\n"
    )
    words = ("buildx", "build", "--progress=plain", "--push", "-t", f"{name}/made:1")
    cache = (f"--cache-to=type=registry,ref={name}/cache:1,mode=max",)
    near.docker(*words, *cache, str(tmp_path))
    near.docker("rmi", f"{name}/made:1")
    near.docker("buildx", "prune", "-af")
    near.docker("pull", f"{name}/made:1")
    again = near.docker(*words, f"--cache-from=type=registry,ref={name}/cache:1", str(tmp_path))
    assert b"CACHED" in again.stderr
    near.docker("logout", registry.host)
    near.docker("rmi", "-f", f"{name}/base:1", check=False)
    refused = near.docker(*words, "--pull", str(tmp_path), check=False)
    assert refused.returncode != 0
    assert near.out("ps", "-aq") == ""


def test_a_client_that_is_killed_leaves_nothing(buildx: Buildx, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM busybox\nCOPY . /\nRUN echo begun && sleep 4343\n")
    server = buildx.engine
    command = [str(require("docker-buildx")), "build", "--progress=plain", str(tmp_path)]
    environment = {**os.environ, "DOCKER_HOST": server.url, "DOCKER_CONFIG": str(server.place)}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as client:
        assert client.stderr is not None
        assert any(line.endswith(" begun\n") for line in client.stderr)
        client.kill()
    deadline = time.monotonic() + 20
    while buildx.leftovers() and time.monotonic() < deadline:
        server.out("ps", "-q")
    assert buildx.leftovers() == []
