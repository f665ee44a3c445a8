"""A real dockerd with containerd that uses `sampan runc` for its containers."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.busybox import docker_archive, root_tar
from tests.real import require, require_root
from tests.real_dockerd import RealDockerd

pytestmark = [pytest.mark.root, pytest.mark.real]


@pytest.fixture(scope="module")
def dockerd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealDockerd]:
    require_root()
    place = tmp_path_factory.mktemp("dockerd")
    program = place / "sampan-runc"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m sampan.cli.main runc "$@"\n')
    program.chmod(0o755)
    flags = (f"--add-runtime=sampan={program}", "--default-runtime=sampan")
    server = RealDockerd(place / "engine", flags).start()
    try:
        server.docker("load", stdin=docker_archive(root_tar(require("busybox")), "box", ["latest"]))
        yield server
    finally:
        server.stop()


def run(dockerd: RealDockerd, *words: str, check: bool = True) -> tuple[int, str]:
    done = dockerd.docker("run", "--network", "none", *words, check=check)
    return done.returncode, done.stdout.decode()


def test_containers_of_docker(dockerd: RealDockerd, tmp_path: Path) -> None:
    assert run(dockerd, "--rm", "box", "echo", "hello") == (0, "hello\n")
    assert run(dockerd, "--rm", "box", "sh", "-c", "exit 4", check=False)[0] == 4
    assert run(dockerd, "--rm", "box", "nosuch", check=False)[0] == 127
    _, status = run(dockerd, "--rm", "--user", "bob", "box", "cat", "/proc/self/status")
    assert "CapEff:\t0000000000000000" in status
    assert "CapBnd:\t00000000a80425fb" in status
    assert "Seccomp:\t2" in status
    code, _ = run(dockerd, "--rm", "--read-only", "box", "touch", "/x", check=False)
    assert code == 1


def test_a_running_container_of_docker(dockerd: RealDockerd) -> None:
    run(dockerd, "--detach", "--name", "long", "box", "sleep", "600")
    done = dockerd.docker("exec", "-u", "bob", "long", "sh", "-c", "id -u; exit 3", check=False)
    assert (done.returncode, done.stdout) == (3, b"1000\n")
    for words in (("pause",), ("unpause",), ("update", "--pids-limit", "50")):
        dockerd.docker(*words, "long")
    assert b"sleep 600" in dockerd.docker("top", "long").stdout
    dockerd.docker("kill", "long")
    state = dockerd.docker("inspect", "-f", "{{.State.Status}} {{.State.ExitCode}}", "long")
    assert state.stdout == b"exited 137\n"
    dockerd.docker("rm", "long")
