"""Results of builds taken to other engines: in images, in registries, in directories."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.engine_server import EngineServer
from tests.real import require_root
from tests.registry_server import RegistryServer

pytestmark = [pytest.mark.real, pytest.mark.root]

DOCKERFILE = (
    "FROM busybox AS tools\nWORKDIR /tools\nCOPY tool tool\n"
    "RUN --network=none cat /proc/sys/kernel/random/uuid > made\n"
    "FROM busybox\nCOPY --from=tools /tools/tool /bin/tool\nCOPY --link --chmod=600 data /data/\n"
    "RUN --network=none cat /proc/sys/kernel/random/uuid > /uuid\n"
)


@pytest.fixture(scope="module")
def engines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[EngineServer]]:
    require_root()
    servers = [EngineServer(tmp_path_factory.mktemp("engine")) for _ in range(2)]
    try:
        for server in servers:
            server.start().load()
        yield servers
    finally:
        for server in servers:
            server.stop()


@pytest.fixture(autouse=True)
def forgotten(engines: list[EngineServer]) -> None:
    for server in engines:
        server.docker("builder", "prune", "-af", env={"DOCKER_BUILDKIT": "0"}, check=False)
        server.out("system", "prune", "-f")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    place = tmp_path / "source"
    place.mkdir()
    (place / "Dockerfile").write_text(DOCKERFILE)
    (place / "tool").write_text("#!/bin/sh\necho tool\n")
    (place / "data").write_text("data")
    return place


def build(server: EngineServer, *words: str, check: bool = True) -> str:
    """`sampan build`; returns what it said."""
    done = subprocess.run(
        [sys.executable, "-m", "sampan.cli.main", "-H", server.url, "build", *words],
        capture_output=True,
        text=True,
        check=False,
    )
    assert not check or done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def uuid(server: EngineServer, image: str) -> str:
    return server.out("run", "--rm", "--net=none", image, "cat", "/uuid")


def test_a_directory_takes_results_to_another_engine(
    engines: list[EngineServer], source: Path, tmp_path: Path
) -> None:
    first, second = engines
    cache = tmp_path / "cache"
    build(first, "-t", "app", f"--cache-to=type=local,dest={cache},mode=max", str(source))
    said = build(second, "-t", "app", f"--cache-from=type=local,src={cache}", str(source))
    assert said.count("Using cache") == 6
    assert uuid(first, "app") == uuid(second, "app")
    assert first.out("images", "-q", "--no-trunc", "app") == second.out(
        "images", "-q", "--no-trunc", "app"
    )


@pytest.mark.parametrize("changed", ["tool", "data", "Dockerfile", "argument"])
def test_what_has_changed_is_not_taken_from_elsewhere(
    engines: list[EngineServer], source: Path, tmp_path: Path, changed: str
) -> None:
    first, second = engines
    cache = tmp_path / "cache"
    build(first, "-t", "app", f"--cache-to=type=local,dest={cache},mode=max", str(source))
    flags = []
    if changed == "Dockerfile":
        text = DOCKERFILE.replace("RUN --network=none cat", "RUN --network=none true && cat")
        (source / changed).write_text(text)
    elif changed == "argument":
        text = DOCKERFILE.replace("FROM busybox\n", "FROM busybox\nARG A=1\n")
        (source / "Dockerfile").write_text(text)
        flags = ["--build-arg=A=2"]
    else:
        (source / changed).write_text("changed")
    build(second, "-t", "app", *flags, f"--cache-from=type=local,src={cache}", str(source))
    assert uuid(first, "app") != uuid(second, "app")


def test_less_than_everything_is_what_the_image_itself_is_made_of(
    engines: list[EngineServer], source: Path, tmp_path: Path
) -> None:
    first, second = engines
    cache = tmp_path / "cache"
    build(first, "-t", "app", f"--cache-to=type=local,dest={cache}", str(source))
    config = read_config(cache)
    assert len(config["records"]) == 3  # two copies and a command of the last stage
    (source / "data").write_text("other")
    said = build(second, "-t", "app", f"--cache-from=type=local,src={cache}", str(source))
    assert said.count("Using cache") == 1


def read_config(cache: Path) -> dict[str, list[object]]:
    blobs = cache / "blobs" / "sha256"
    (named,) = json.loads((cache / "index.json").read_text())["manifests"]
    manifest = json.loads((blobs / named["digest"].partition(":")[2]).read_text())
    return dict(json.loads((blobs / manifest["config"]["digest"].partition(":")[2]).read_text()))


def test_a_source_that_lies_is_refused(
    engines: list[EngineServer], source: Path, tmp_path: Path
) -> None:
    first, second = engines
    cache = tmp_path / "cache"
    build(first, "-t", "app", f"--cache-to=type=local,dest={cache},mode=max", str(source))
    layers = [p for p in (cache / "blobs" / "sha256").iterdir() if p.stat().st_size > 1500]
    for path in layers:
        data = bytearray(path.read_bytes())
        data[600] ^= 1
        path.write_bytes(data)
    said = build(second, "-t", "app", f"--cache-from=type=local,src={cache}", str(source))
    assert "[Warning] importing" in said
    assert uuid(first, "app") != uuid(second, "app")


def test_a_registry_takes_results_to_another_engine(
    engines: list[EngineServer], source: Path, tmp_path: Path
) -> None:
    first, second = engines
    registry = RegistryServer(tmp_path / "registry").start()
    try:
        name = f"{registry.host}/cache:app"
        build(first, "-t", "app", f"--cache-to=type=registry,ref={name},mode=max", str(source))
        said = build(second, "-t", "app", f"--cache-from={name}", str(source))
        assert said.count("Using cache") == 6
        assert uuid(first, "app") == uuid(second, "app")
    finally:
        registry.stop()


def test_an_image_is_a_source_of_its_own_layers(
    engines: list[EngineServer], source: Path, tmp_path: Path
) -> None:
    first, second = engines
    registry = RegistryServer(tmp_path / "registry").start()
    try:
        name = f"{registry.host}/app"
        flag = "--build-arg=BUILDKIT_INLINE_CACHE=1"
        classic = {"DOCKER_BUILDKIT": "0"}
        first.docker("build", "-q", "-t", name, flag, str(source), env=classic)
        first.docker("push", "-q", name)
        second.docker("pull", "-q", name)
        words = ("build", "-t", "app", "--cache-from", name, flag, str(source))
        said = second.docker(*words, env=classic).stdout.decode()
        assert said.count("Using cache") == 3
        assert uuid(first, name) == uuid(second, "app")
    finally:
        registry.stop()


def test_a_source_that_is_not_there_is_told_and_the_build_goes_on(
    engines: list[EngineServer], source: Path, tmp_path: Path
) -> None:
    said = build(engines[0], f"--cache-from=type=local,src={tmp_path}/none", str(source))
    assert "[Warning] importing cache from" in said
    assert "no build cache at" in said
    said = build(engines[0], "--cache-from=type=gha", str(source), check=False)
    assert "type=gha is not supported" in said
