"""The daemon killed at random moments while containers with every option start and go."""

from __future__ import annotations

import os
import random
import select
import signal
import subprocess
from pathlib import Path

import pytest
from tests.engine_server import EngineServer
from tests.netns import NetworkNamespace
from tests.real import require

pytestmark = [pytest.mark.real, pytest.mark.root]

SLEEP = "busybox sleep 600"
MANY_WAYS = (
    f"-v named:/data -v /anonymous --tmpfs /scratch:size=1m --read-only --init {SLEEP}",
    f"-m 64m --pids-limit 20 --cpus 0.5 --cpuset-cpus 0 --blkio-weight 300 -t {SLEEP}",
    f"--ipc shareable --device /dev/zero:/dev/other --ulimit nofile=99 --cap-drop ALL {SLEEP}",
    f"--network mine -P --expose 80 --dns 192.0.2.1 --user bob -v /also {SLEEP}",
    f"--network none --health-cmd true --health-interval 50ms --health-retries 1 {SLEEP}",
    f"--restart always -v named:/data:ro --cgroupns private --pid host {SLEEP}",
    "--rm --network mine -v /gone busybox true",
    "--rm --security-opt no-new-privileges --cgroup-parent /survival-parent busybox false",
)


def client(own: EngineServer, *words: str) -> subprocess.Popen[bytes]:
    command = [str(require("docker")), "-H", own.url, *words]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)


def after_some_events(own: EngineServer, count: int) -> None:
    """Return when so many things have happened to containers since the daemon's start."""
    with client(own, "events", "--since", "1", "--filter", "type=container") as events:
        assert events.stdout is not None
        for _ in range(count):
            events.stdout.readline()
        events.kill()


def groups_below(names: set[str]) -> list[str]:
    found = []
    for folder, _, _ in os.walk("/sys/fs/cgroup"):
        if os.path.basename(folder) in names or folder.endswith("/survival-parent"):
            found.append(folder)
    return found


def processes_below(place: Path) -> list[str]:
    """Processes with a file below a directory open, or with it as root or on their command line."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                links = [os.readlink(one) for one in (entry / "fd").iterdir()]
                mounts = (entry / "mountinfo").read_text()
            except OSError:
                continue
            if any(link.startswith(str(place)) for link in links) or str(place) in mounts:
                found.append((entry / "cmdline").read_bytes().replace(b"\0", b" ").decode())
    return found


def test_nothing_is_left_of_them(own: EngineServer, netns: NetworkNamespace) -> None:
    chance = random.Random(1)
    own.docker("network", "create", "mine")
    ids: set[str] = set()
    for _ in range(3):
        ways = chance.sample(MANY_WAYS, len(MANY_WAYS))
        clients = [client(own, "run", "-d", *way.split()) for way in ways]
        victims = chance.sample(sorted(ids), min(2, len(ids)))
        clients += [client(own, "rm", "-f", "-v", victim) for victim in victims]
        after_some_events(own, chance.randrange(2, 18))
        own.kill()
        for one in clients:
            ids.update(one.communicate(timeout=30)[0].decode().split())
        own.start()
        ids.update(own.out("ps", "-aq", "--no-trunc").split())
    own.clear()
    data, run = own.place / "data", own.place / "exec"
    assert list((data / "containers").iterdir()) == []
    assert list((run / "containers").iterdir()) == []
    assert list((data / "images" / "writable").iterdir()) == []
    own.docker("volume", "prune", "-f")
    assert set(own.out("volume", "ls", "-q").split()) <= {"named"}
    own.docker("network", "rm", "mine")
    own.stop()
    assert processes_below(own.place) == []
    assert str(own.place) not in Path("/proc/self/mountinfo").read_text()
    for folder in groups_below({"survival-parent"}):
        os.rmdir(folder)
    assert groups_below(ids) == []
    own.start()
    assert netns.links("veth") == []
    assert netns.links("bridge") == ["sampan0"]
    assert list((run / "network").iterdir()) == []
    assert "tcp . " not in netns.rules()


def shim_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


@pytest.mark.parametrize(("paused", "alive"), [(False, True), (True, False)])
def test_a_killed_shim_takes_its_container_along(
    own: EngineServer, paused: bool, alive: bool
) -> None:
    words = ("--network", "none", "--name", "held", *SLEEP.split())
    id_ = own.out("run", "-d", *words).strip()
    pid = int(own.out("inspect", "-f", "{{.State.Pid}}", "held"))
    container = os.pidfd_open(pid)
    if paused:
        own.docker("pause", "held")
    if alive:
        waiting = client(own, "wait", "held")
    else:
        own.kill()
    os.kill(shim_of(pid), signal.SIGKILL)
    if alive:
        assert waiting.communicate(timeout=10)[0] == b"137\n"
    else:
        own.start()
    assert select.select([container], [], [], 10)[0], "the container's process has ended"
    os.close(container)
    assert groups_below({id_}) == []
    assert own.out("inspect", "-f", "{{.State.Status}}", "held") == "exited\n"
    own.docker("start", "held")
    own.docker("rm", "-f", "held")
