"""What a container may not do: the defaults are Docker's, seen from inside."""

from __future__ import annotations

import pytest
from tests.engine_server import EngineServer

pytestmark = [pytest.mark.real, pytest.mark.root]


def status(engine: EngineServer, *words: str) -> dict[str, str]:
    text = engine.run(*words, "busybox", "cat", "/proc/self/status")
    return {
        key: value.strip() for key, _, value in (line.partition(":") for line in text.splitlines())
    }


def test_capabilities_and_filter(engine: EngineServer) -> None:
    found = status(engine)
    assert found["CapEff"] == found["CapBnd"] == "00000000a80425fb"
    assert found["CapInh"] == found["CapAmb"] == "0000000000000000"
    assert (found["Seccomp"], found["NoNewPrivs"]) == ("2", "0")


def test_capabilities_follow_the_flags(engine: EngineServer) -> None:
    assert status(engine, "--cap-drop", "ALL")["CapEff"] == "0000000000000000"
    added = status(engine, "--cap-drop", "ALL", "--cap-add", "NET_ADMIN")
    assert added["CapEff"] == "0000000000001000"
    user = status(engine, "--user", "bob")
    assert (user["CapEff"], user["Uid"].split()[0], user["Groups"]) == ("0" * 16, "1000", "50 1001")
    assert status(engine, "--security-opt", "no-new-privileges")["NoNewPrivs"] == "1"
    assert status(engine, "--security-opt", "seccomp=unconfined")["Seccomp"] == "0"
    assert status(engine, "--privileged")["Seccomp"] == "0"


@pytest.mark.parametrize(
    "script",
    [
        "unshare -m true",
        "unshare -U true",
        "mount -t tmpfs x /tmp",
        "echo x > /proc/sys/kernel/shmmax",
    ],
)
def test_refused(engine: EngineServer, script: str) -> None:
    done = engine.docker(
        "run", "--rm", "--network", "none", "busybox", "sh", "-c", script, check=False
    )
    assert done.returncode != 0


def test_masked_and_read_only_paths(engine: EngineServer) -> None:
    mounts = engine.run("busybox", "mount")
    for path in ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"):
        line = next((one for one in mounts.splitlines() if f" {path} " in one), None)
        assert line is None or "(ro" in line, path
    hidden = "for f in keys timer_list kcore; do [ -e /proc/$f ] && wc -c < /proc/$f; done; true"
    assert set(engine.run("busybox", "sh", "-c", hidden).split()) <= {"0"}
    assert engine.run("busybox", "ls", "/sys/firmware") == ""


def test_only_standard_descriptors_are_open(engine: EngineServer) -> None:
    # The fourth is the directory that ls reads.
    assert engine.run("busybox", "ls", "/proc/self/fd").split() == ["0", "1", "2", "3"]


def test_a_read_only_root(engine: EngineServer) -> None:
    done = engine.docker(
        "run", "--rm", "--network", "none", "--read-only", "busybox", "touch", "/x", check=False
    )
    assert b"Read-only file system" in done.stderr


def test_limits_are_enforced(engine: EngineServer) -> None:
    script = "dd if=/dev/zero of=/dev/null bs=64M count=1"
    done = engine.docker(
        "run",
        "--network",
        "none",
        "--name",
        "oom",
        "-m",
        "16m",
        "--memory-swap",
        "16m",
        "busybox",
        "sh",
        "-c",
        f"{script}; exit 5",
        check=False,
    )
    assert engine.out("inspect", "-f", "{{.State.OOMKilled}}", "oom") == "true\n"
    assert done.returncode in (5, 137)
    assert engine.run("--ulimit", "nofile=64:64", "busybox", "sh", "-c", "ulimit -n") == "64\n"


def test_init_reaps_and_passes_the_exit_code(engine: EngineServer) -> None:
    done = engine.docker(
        "run", "--rm", "--network", "none", "--init", "busybox", "sh", "-c", "exit 4", check=False
    )
    assert done.returncode == 4
    shown = engine.run("--init", "--user", "bob", "busybox", "ps", "-o", "pid,args")
    assert shown.splitlines()[1].split() == ["1", "/sbin/docker-init"]


def test_hostile_links_in_the_image_do_not_lead_out(engine: EngineServer) -> None:
    """A destination that is a link to the host's files is resolved inside the root."""
    script = "rm -rf /tmp; ln -s ../../../../etc /tmp"
    engine.docker("run", "--network", "none", "--name", "evil", "busybox", "sh", "-c", script)
    engine.docker("commit", "evil", "evil:latest")
    try:
        shown = engine.run("--tmpfs", "/tmp/below", "evil:latest", "mount")
        assert "tmpfs on /etc/below type tmpfs" in shown
    finally:
        engine.docker("rm", "evil")
        engine.docker("rmi", "evil:latest")
