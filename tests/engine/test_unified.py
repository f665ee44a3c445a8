"""The engine on a machine with the unified hierarchy only, as it sees the machine.

In a mount namespace of its own, the daemon finds nothing else mounted. The kernel is the same, so
limits are those whose controllers are not bound to version 1 there.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.engine_server import EngineServer
from tests.real import require_root

from sampan.engine.runtime.shell.cgroups import layout

pytestmark = [pytest.mark.real, pytest.mark.root]

ONLY_UNIFIED = """
set -e
mount --bind "$1" "$2"
for place in $(awk '$5 ~ "^/sys/fs/cgroup/" {print $5}' /proc/self/mountinfo); do
    umount "$place"
done
mount --move "$2" /sys/fs/cgroup
shift 2; exec "$@"
"""


@pytest.fixture(scope="module")
def unified(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EngineServer]:
    require_root()
    found = layout()
    if found.unified is None:
        pytest.skip("this machine has no unified hierarchy mounted")
    place = tmp_path_factory.mktemp("unified")
    (place / "moved").mkdir()
    prefix: tuple[str, ...] = ()
    if found.v1:
        shell = ("unshare", "--mount", "--propagation", "private", "sh", "-c", ONLY_UNIFIED, "sh")
        prefix = (*shell, found.unified, str(place / "moved"))
    server = EngineServer(place, prefix=prefix).start()
    try:
        server.load()
        yield server
        server.clear()
    finally:
        server.stop()


@pytest.fixture
def engine(unified: EngineServer) -> Iterator[EngineServer]:
    yield unified
    unified.clear()


def group_of(engine: EngineServer, name: str) -> Path:
    id_ = engine.out("inspect", "-f", "{{.Id}}", name).strip()
    return Path(f"{layout().unified}/docker/{id_}")


def test_a_container_has_a_group_and_sees_it_alone(engine: EngineServer) -> None:
    assert engine.out("info", "-f", "{{.CgroupVersion}} {{.CgroupDriver}}") == "2 cgroupfs\n"
    start = ("run", "-d", "--network", "none", "--name", "alone")
    engine.docker(*start, "busybox", "sleep", "600")
    pid = engine.out("inspect", "-f", "{{.State.Pid}}", "alone").strip()
    group = group_of(engine, "alone")
    assert (group / "cgroup.procs").read_text().split() == [pid]
    assert engine.out("exec", "alone", "grep", "^0::", "/proc/self/cgroup") == "0::/\n"
    shown = engine.out("exec", "alone", "sh", "-c", "mount | grep ' /sys/fs/cgroup '")
    assert "type cgroup2 (ro,nosuid,nodev,noexec,relatime" in shown
    assert engine.out("exec", "alone", "cat", "/sys/fs/cgroup/cgroup.procs").split()[0] == "1"
    engine.docker("rm", "-f", "alone")
    assert not group.exists()


def test_the_host_s_groups_are_seen_when_asked_for(engine: EngineServer) -> None:
    shown = engine.run("--cgroupns", "host", "busybox", "grep", "^0::", "/proc/self/cgroup")
    assert shown.startswith("0::/docker/")


def test_device_rules_are_obeyed(engine: EngineServer) -> None:
    script = "cd /tmp; mknod full c 1 7; head -c 1 full | wc -c; mknod mem c 1 1; cat mem"
    done = engine.docker(*"run --rm --network none busybox sh -c".split(), script, check=False)
    assert done.stdout == b"1\n"
    assert b"Operation not permitted" in done.stderr
    allowed = engine.run("--privileged", "busybox", "sh", "-c", "mknod f c 10 229; : < f; echo ok")
    assert allowed == "ok\n"


@pytest.mark.skipif(not Path("/dev/fuse").exists(), reason="opens /dev/fuse")
def test_devices_with_some_rights(engine: EngineServer) -> None:
    script = "(: < /dev/some) && echo read; (: > /dev/some) || echo refused"
    shown = engine.run("--device", "/dev/fuse:/dev/some:r", "busybox", "sh", "-c", script)
    assert shown.split() == ["read", "refused"]
    script = "mknod /tmp/some c 10 229; (: < /tmp/some) || echo refused; : > /tmp/some && echo ok"
    rule = ("--device-cgroup-rule", "c 10:229 w", "busybox", "sh", "-c", script)
    assert engine.run(*rule).split() == ["refused", "ok"]


def test_pausing_and_statistics(engine: EngineServer) -> None:
    engine.docker("run", "-d", "--network", "none", "--name", "still", "busybox", "sleep", "600")
    engine.docker("pause", "still")
    assert "frozen 1" in (group_of(engine, "still") / "cgroup.events").read_text()
    engine.docker("unpause", "still")
    assert "frozen 0" in (group_of(engine, "still") / "cgroup.events").read_text()
    assert "sleep 600" in engine.out("top", "still")
    stats = json.loads(engine.out("stats", "--no-stream", "--format", "json", "still"))
    assert stats["Name"] == "still"


def test_limits_without_a_controller_are_warned_of(engine: EngineServer) -> None:
    if "memory" in layout().unified_controllers:
        pytest.skip("this kernel has the memory controller on the unified hierarchy")
    done = engine.docker(*"run --rm --network none -m 32m busybox true".split())
    assert b"does not support memory limit capabilities" in done.stderr


def test_a_killed_daemon_leaves_no_group(engine: EngineServer) -> None:
    engine.docker("run", "-d", "--network", "none", "--name", "left", "busybox", "sleep", "600")
    group = group_of(engine, "left")
    engine.kill()
    engine.start()
    engine.docker("rm", "-f", "left")
    assert not group.exists()
    found = subprocess.run(["ls", str(group.parent)], capture_output=True, text=True, check=False)
    assert os.path.basename(group) not in found.stdout
