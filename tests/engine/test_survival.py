"""Containers and the daemon's death: nothing is lost, nothing is left behind."""

from __future__ import annotations

import os
import random
import select
import subprocess
from pathlib import Path

import docker
import pytest
from tests.engine_server import EngineServer
from tests.netns import NetworkNamespace
from tests.real import require

pytestmark = [pytest.mark.real, pytest.mark.root]


def cgroups_of(ids: list[str]) -> list[str]:
    return [
        folder
        for folder, _, _ in os.walk("/sys/fs/cgroup")
        if any(folder.endswith(id_) for id_ in ids)
    ]


def shims_below(place: Path) -> list[int]:
    """Processes whose shim socket or root is below a directory: by their open files' paths."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                links = [os.readlink(one) for one in (entry / "fd").iterdir()]
            except OSError:
                continue
            if any(link.startswith(str(place)) for link in links):
                found.append(int(entry.name))
    return found


def test_a_container_outlives_a_killed_daemon(own: EngineServer) -> None:
    script = "echo before; sleep 1; echo after; exit 6"
    own.docker("run", "-d", "--network", "none", "--name", "tough", "busybox", "sh", "-c", script)
    own.kill()
    own.start()
    assert own.out("wait", "tough") == "6\n"
    assert own.out("logs", "tough") == "before\nafter\n"


def test_an_end_that_nobody_saw_is_recorded(own: EngineServer) -> None:
    own.docker("run", "-d", "--network", "none", "--name", "alone", "busybox", "sh", "-c", "exit 8")
    own.docker("run", "-d", "--network", "none", "--name", "brief", "busybox", "sleep", "0.4")
    pid = int(own.out("inspect", "-f", "{{.State.Pid}}", "brief"))
    own.kill()
    if pid:
        wait_until_gone(pid)
    own.start()
    shown = own.out("inspect", "-f", "{{.State.Status}} {{.State.ExitCode}}", "alone", "brief")
    assert shown == "exited 8\nexited 0\n"


def wait_until_gone(pid: int) -> None:
    """Wait for a process that is not our child, by its pidfd."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        select.select([fd], [], [], 10)
    finally:
        os.close(fd)


def test_kills_at_random_moments_leave_nothing(own: EngineServer, netns: NetworkNamespace) -> None:
    chance = random.Random(7)
    ids: list[str] = []
    own.docker("network", "create", "mine")
    run_for_a_moment = "run -d --network mine --expose 80 -P --rm busybox sh -c".split()
    run_for_a_moment.append("sleep 0.$((RANDOM % 5))")
    for _ in range(4):
        clients = [
            subprocess.Popen(
                [str(require("docker")), "-H", own.url, *run_for_a_moment],
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
            for _ in range(4)
        ]
        for client in clients[: chance.randrange(1, 4)]:
            client.wait(20)
        own.kill()
        for client in clients:
            out, _ = client.communicate(timeout=20)
            ids += out.decode().split()
        own.start()
    own.clear()
    assert own.out("ps", "-aq") == ""
    assert cgroups_of(ids) == []
    data = own.place / "data"
    assert list((data / "containers").iterdir()) == []
    assert list((data / "images" / "writable").iterdir()) == []
    assert str(own.place) not in Path("/proc/self/mountinfo").read_text()
    own.stop()
    assert shims_below(own.place / "exec") == []
    own.start()
    assert netns.links("veth") == []
    assert list((own.place / "exec" / "network").iterdir()) == []
    assert "tcp . " not in netns.rules()
    own.docker("network", "rm", "mine")
    assert netns.links("bridge") == ["sampan0"]


def test_stopping_the_daemon_stops_its_containers(own: EngineServer) -> None:
    words = ("--stop-timeout", "0", "busybox", "sleep", "600")
    own.docker("run", "-d", "--network", "none", "--name", "ends", *words)
    pid = int(own.out("inspect", "-f", "{{.State.Pid}}", "ends"))
    own.stop()
    assert not Path(f"/proc/{pid}").exists()
    own.start()
    assert own.out("inspect", "-f", "{{.State.Status}}", "ends") == "exited\n"


def test_a_wanted_container_comes_back_with_the_daemon(own: EngineServer) -> None:
    words = ("--restart", "always", "--stop-timeout", "0", "busybox", "sleep", "600")
    own.docker("run", "-d", "--network", "none", "--name", "always", *words)
    own.stop()
    own.start()
    assert own.out("inspect", "-f", "{{.State.Running}}", "always") == "true\n"


def test_the_docker_sdk(own: EngineServer) -> None:
    client = docker.DockerClient(base_url=own.url)
    try:
        output = client.containers.run("busybox", ["echo", "sdk"], network_mode="none", remove=True)
        assert output == b"sdk\n"
        one = client.containers.run("busybox", "sleep 600", network_mode="none", detach=True)
        code, out = one.exec_run("id -u")
        assert (code, out) == (0, b"0\n")
        assert [found.id for found in client.containers.list()] == [one.id]
        one.remove(force=True)
        with pytest.raises(docker.errors.NotFound):
            client.containers.get(one.id)
    finally:
        client.close()
