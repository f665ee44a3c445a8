"""An engine with the buildx and compose plugins beside the docker command line."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.engine_server import EngineServer
from tests.netns import NetworkNamespace
from tests.real import require, require_root


def write(place: Path, files: Mapping[str, str]) -> Path:
    for name, text in files.items():
        path = place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return place


@dataclass(frozen=True, slots=True)
class Buildx:
    """`docker buildx` with one engine."""

    engine: EngineServer

    def run(
        self, *words: str, stdin: bytes | None = None, check: bool = True
    ) -> subprocess.CompletedProcess[bytes]:
        """`docker buildx ...`"""
        return self.engine.docker("buildx", *words, stdin=stdin, check=check)

    def build(self, place: Path, files: Mapping[str, str], *flags: str) -> str:
        """Build a directory with these files; returns the progress, plain."""
        where = str(write(place, files))
        return self.run("build", "--progress=plain", *flags, where).stderr.decode()

    def refused(self, place: Path, files: Mapping[str, str], *flags: str) -> str:
        """The same, but it fails, and leaves nothing; returns what was said."""
        images, where = self.engine.out("images", "-qa"), str(write(place, files))
        done = self.run("build", "--progress=plain", *flags, where, check=False)
        assert done.returncode != 0
        assert self.engine.out("images", "-qa") == images
        assert self.leftovers() == []
        return done.stderr.decode()

    def leftovers(self) -> list[str]:
        """What a build that has ended must not leave."""
        exec_root, images = self.engine.place / "exec", self.engine.place / "data" / "images"
        folders = [exec_root / "containers", exec_root / "build", exec_root / "agents"]
        folders += [images / "spool", *(images / "build" / "contexts").glob("*/*/parts")]
        found = [one for folder in folders if folder.is_dir() for one in folder.iterdir()]
        found += (images / "build" / "contexts").glob("*/own-*")
        return [str(one) for one in found if one.name != "host-frame"]


@pytest.fixture(scope="package")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EngineServer]:
    require_root()
    netns = NetworkNamespace.make()
    server = EngineServer(
        tmp_path_factory.mktemp("buildkit"), flags=("--build-from-host",), netns=netns.path
    )
    plugins = server.place / "cli-plugins"
    plugins.mkdir()
    (plugins / "docker-buildx").symlink_to(require("docker-buildx"))
    (plugins / "docker-compose").symlink_to(require("docker-compose-v2"))
    try:
        server.start().load()
        yield server
    finally:
        server.stop()
        netns.close()


@pytest.fixture
def buildx(engine: EngineServer) -> Buildx:
    return Buildx(engine)
