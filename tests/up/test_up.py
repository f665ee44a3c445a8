"""`sampan up`, `status`, `env` and `down` with real processes, the real docker and etcdctl."""

from __future__ import annotations

import os
import select
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.engine_server import busybox_archive
from tests.netns import NetworkNamespace
from tests.real import require, require_root
from tests.stack import SAMPAN, Stack

pytestmark = [pytest.mark.real, pytest.mark.root]


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    require_root()
    netns = NetworkNamespace.make()
    found = Stack(tmp_path / "state", netns)
    try:
        yield found
    finally:
        found.close()
        netns.close()


def test_from_up_to_down_with_docker_and_etcdctl(stack: Stack, tmp_path: Path) -> None:
    require("docker")
    require("etcdctl")
    up = stack.run("up", "-d")
    assert 'eval "$(sampan env' in up.stdout
    assert {name: one["state"] for name, one in stack.status().items()} == dict.fromkeys(
        ("store", "engine", "registry"), "ready"
    )
    assert stack.place.stat().st_mode & 0o777 == 0o700
    for name in ("endpoints.json", "status.json", "up.log", "daemon.json"):
        assert (stack.place / name).stat().st_mode & 0o077 == 0
    assert stack.shell("etcdctl put a b >&2; etcdctl get a --print-value-only") == "b\n"
    second = stack.run("up", code=1)
    assert "is up already" in second.stderr and "sampan down" in second.stderr

    archive = tmp_path / "busybox.tar"
    archive.write_bytes(busybox_archive())
    stack.shell(
        f"docker load -q -i {archive}\n"
        "docker run -d --stop-timeout 1 --name sleeper busybox sleep 1000\n"
        "docker tag busybox $SAMPAN_REGISTRY/b\ndocker push -q $SAMPAN_REGISTRY/b"
    )
    endpoints = (stack.place / "endpoints.json").read_text()
    assert "down" in stack.run("down").stdout
    assert "nothing is up" in stack.run("status", code=3).stdout
    assert "sampan up" in stack.run("env", code=1).stderr
    assert stack.run("down").stdout.startswith("nothing is up")

    stack.run("up", "-d")
    assert (stack.place / "endpoints.json").read_text() == endpoints
    assert stack.shell("docker ps -a --format '{{.Names}} {{.State}}'") == "sleeper exited\n"
    assert stack.shell("etcdctl get a --print-value-only") == "b\n"


def test_what_ends_is_started_again_and_all_end_with_the_supervisor(stack: Stack) -> None:
    with subprocess.Popen(
        stack.words("up"), stdout=subprocess.PIPE, text=True, env=stack.environment
    ) as up:
        assert up.stdout is not None
        said = iter(up.stdout.readline, "")
        assert any("everything is ready" in line for line in said)
        before = stack.status()
        os.kill(before["registry"]["pid"], signal.SIGKILL)
        ended = next(line for line in said if line.startswith("up "))
        assert "registry ended" in ended and "SIGKILL" in ended
        assert any(line.startswith("registry | registry listens") for line in said)
        after = stack.status(code=None)
        assert after["registry"]["restarts"] == 1
        assert after["registry"]["pid"] != before["registry"]["pid"]
        assert after["store"]["pid"] == before["store"]["pid"]
        services = [os.pidfd_open(one["pid"]) for one in after.values()]
        up.kill()
        rest = list(said)  # To its end: nobody holds the other side any more.
        assert not any("everything has ended" in line for line in rest)
    for process in services:
        assert select.select([process], [], [], 20)[0]
        os.close(process)
    stack.run("up", "-d")


def test_a_service_that_cannot_run_is_reported_and_the_rest_runs(stack: Stack) -> None:
    stack.place.mkdir(mode=0o700)
    (stack.place / "daemon.json").write_text('{"nonsense": 1}')
    up = stack.run("up", "-d", code=1)
    assert "engine does not start: unable to configure the Docker daemon" in up.stderr
    assert "nonsense" in up.stderr
    states = {name: one["state"] for name, one in stack.status(code=1).items()}
    assert states == {"store": "ready", "engine": "crash loop", "registry": "ready"}
    assert "nonsense" in stack.run("status", code=1).stdout
    assert stack.shell("etcdctl endpoint health 2>&1").count("is healthy") == 1


def test_a_directory_that_cannot_be_used_is_named() -> None:
    done = subprocess.run(
        [*SAMPAN, "up", "--state-dir", "/proc/nowhere"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "cannot use the state directory /proc/nowhere" in done.stderr
