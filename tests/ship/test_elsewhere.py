"""`sampan ship` where there is no bridge network, and with an engine that is not ours."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.engine_server import busybox_archive
from tests.netns import NetworkNamespace
from tests.real import require_root
from tests.real_dockerd import RealDockerd
from tests.stack import Stack

pytestmark = [pytest.mark.real, pytest.mark.root]

SERVING = """FROM busybox
RUN mkdir /www && echo %s > /www/index.html
HEALTHCHECK --interval=1s --retries=2 CMD grep -q . /www/index.html
CMD ["httpd", "-f", "-p", "8080", "-h", "/www"]
"""
TOML = 'name = "web"\n[run]\nports = ["8080"]\nmemory = "32MiB"\nstop_timeout = "1s"\n'


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    require_root()
    netns = NetworkNamespace.make()
    found = Stack(tmp_path / "state", netns)
    found.place.mkdir(mode=0o700)
    (found.place / "daemon.json").write_text('{"bridge": "none"}')
    try:
        found.run("up", "-d")
        yield found
    finally:
        found.close()
        netns.close()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    place = tmp_path / "source"
    place.mkdir()
    (place / "Dockerfile").write_text(SERVING % "one")
    (place / "sampan.toml").write_text(TOML)
    return place


def test_without_a_bridge_the_old_one_ends_first_and_comes_back(
    stack: Stack, source: Path, tmp_path: Path
) -> None:
    archive = tmp_path / "busybox.tar"
    archive.write_bytes(busybox_archive())
    stack.shell(f"docker load -q -i {archive}")
    said = stack.run("ship", str(source)).stdout
    assert "no bridge network" in said and "http://127.0.0.1:8080" in said
    assert stack.netns.get("http://127.0.0.1:8080/") == "one\n"
    (source / "Dockerfile").write_text("FROM busybox\nCMD exit 7\n")
    said = stack.run("ship", str(source), code=1).stdout
    assert "switch   FAILED: it ended with exit code 7" in said
    assert "release 1 still runs" in said
    assert stack.netns.get("http://127.0.0.1:8080/") == "one\n"
    (source / "Dockerfile").write_text(SERVING % "two")
    assert "release 3 is live" in stack.run("ship", str(source)).stdout
    assert stack.netns.get("http://127.0.0.1:8080/") == "two\n"


def test_dockerd_ships_as_our_engine_does(
    stack: Stack, source: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    # Its sockets lie deep below, and the path of a socket is short.
    real = RealDockerd(tmp_path_factory.mktemp("peer") / "d").start()
    try:
        real.docker("load", stdin=busybox_archive())

        def there(command: str, argument: str, code: int) -> str:
            done = subprocess.run(
                stack.words(command, argument),
                capture_output=True,
                text=True,
                env={**stack.environment, "DOCKER_HOST": real.url},
                timeout=90,
                check=False,
            )
            assert done.returncode == code, done.stdout + done.stderr
            return done.stdout

        assert "release 1 is live" in there("ship", str(source), 0)
        assert "nothing has changed" in there("ship", str(source), 0)
        (source / "Dockerfile").write_text(SERVING % "two")
        assert "release 2 is live" in there("ship", str(source), 0)
        (source / "Dockerfile").write_text("FROM busybox\nRUN exit 3\n")
        assert "release 2 still runs" in there("ship", str(source), 1)
        assert "release 4 is live" in there("rollback", "web", 0)
        shown = real.docker("exec", "web", "cat", "/www/index.html").stdout
        assert shown == b"one\n"
        assert real.docker("ps", "-aq").stdout.count(b"\n") == 1
    finally:
        real.stop()
