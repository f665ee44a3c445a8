"""Options about security and isolation, given to the real docker command line."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest
from tests.engine_server import EngineServer

pytestmark = [pytest.mark.real, pytest.mark.root]


def refused(engine: EngineServer, *words: str) -> str:
    """What `docker run` says when it fails; nothing of the container stays."""
    done = engine.docker("run", "--rm", "--network", "none", *words, check=False)
    assert done.returncode != 0
    assert engine.out("ps", "-aq") == ""
    return done.stderr.decode()


def profile(path: Path, **changes: object) -> str:
    """A seccomp profile that allows everything but making directories."""
    rule = {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38}
    document = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule], **changes}
    path.write_text(json.dumps(document))
    return f"seccomp={path}"


def test_a_filter_of_one_s_own(engine: EngineServer, tmp_path: Path) -> None:
    option = ("--security-opt", profile(tmp_path / "p.json"))
    script = "mkdir /x 2>&1; grep Seccomp: /proc/self/status"
    shown = engine.run(*option, "busybox", "sh", "-c", script)
    assert "Function not implemented" in shown
    assert "Seccomp:\t2" in shown
    also = engine.run(*option, "--privileged", "busybox", "sh", "-c", script)
    assert "Function not implemented" in also
    engine.docker(
        "run", "-d", "--network", "none", *option, "--name", "filtered", "busybox", "sleep", "9"
    )
    assert engine.docker("exec", "filtered", "mkdir", "/y", check=False).returncode != 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"syscalls": "all"}, "Decoding seccomp profile failed"),
        ({"archMap": [{}], "architectures": ["SCMP_ARCH_X86_64"]}, "both 'architectures' and"),
        ({"defaultAction": "SCMP_ACT_SHRUG"}, "SCMP_ACT_SHRUG"),
    ],
)
def test_a_filter_that_is_none(
    engine: EngineServer, tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    option = ("--security-opt", profile(tmp_path / "p.json", **changes))
    assert message in refused(engine, *option, "busybox", "true")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--security-opt color=red", 'invalid --security-opt 2: "color=red"'),
        ("--uts host --hostname box", "conflicting options: hostname and the UTS mode"),
        ("--ipc secret", "invalid IPC mode: secret"),
        ("--storage-opt size=1g", "--storage-opt is supported only for overlay over xfs"),
        ("--gpus all", 'could not select device driver "" with capabilities: [[gpu]]'),
        ("--device vendor.com/class=one", 'could not select device driver "cdi"'),
        ("--device /dev/nothing", "error gathering device information while adding custom device"),
        ("--device /etc/passwd", "not a device node"),
        ("--device-read-bps /dev/zero:1mb", '"/dev/zero" is not a block device'),
        ("--sysctl kernel.msgmax=1 --ipc host", "is not allowed in the hosts ipc namespace"),
        ("--ulimit nofile=9:9999999999", "setrlimit RLIMIT_NOFILE"),
        ("--cpuset-cpus 4000", "Requested CPUs are not available - requested 4000"),
        ("-v /tmp:/proc/sys", '"/proc/sys" cannot be mounted because it is inside /proc'),
        ("-v /tmp:/proc", '"/proc" cannot be mounted because it is inside /proc'),
    ],
)
def test_refused_with_docker_s_words(engine: EngineServer, words: str, message: str) -> None:
    assert message in refused(engine, *words.split(), "busybox", "true")


def test_sysctls_of_the_host_s_network(engine: EngineServer) -> None:
    done = engine.docker(
        *"run --rm --network host --sysctl net.ipv4.ip_forward=1 busybox true".split(), check=False
    )
    assert b"is not allowed in the hosts network namespace" in done.stderr


def test_privileged_gets_the_devices_and_no_links(engine: EngineServer) -> None:
    shown = engine.run("--privileged", "busybox", "stat", "-c", "%n %F", "/dev/stdin", "/dev/ptmx")
    assert shown == "/dev/stdin symbolic link\n/dev/ptmx symbolic link\n"
    listed = set(engine.run("--privileged", "busybox", "find", "/dev", "-type", "b").split())
    host = {f"/dev/{one.name}" for one in os.scandir("/dev") if _is_block(one)}
    assert host <= listed


def _is_block(entry: os.DirEntry[str]) -> bool:
    return stat.S_ISBLK(entry.stat(follow_symlinks=False).st_mode)


def test_devices_of_a_directory(engine: EngineServer, tmp_path: Path) -> None:
    os.makedirs(tmp_path / "a" / "b")
    os.mknod(tmp_path / "a" / "zero", stat.S_IFCHR | 0o640, os.makedev(1, 5))
    os.mknod(tmp_path / "a" / "b" / "full", stat.S_IFCHR | 0o600, os.makedev(1, 7))
    os.symlink("/dev/mem", tmp_path / "a" / "link")
    words = ("--device", f"{tmp_path / 'a'}:/dev/of:r", "busybox", "sh", "-c")
    shown = engine.run(*words, "find /dev/of -type c -exec stat -c '%n %a %t:%T' {} + | sort")
    assert shown == "/dev/of/b/full 600 1:7\n/dev/of/zero 640 1:5\n"


def test_memory_shared_between_containers(engine: EngineServer) -> None:
    start = ("run", "-d", "--network", "none")
    engine.docker(*start, "--ipc", "shareable", "--name", "donor", "busybox", "sleep", "60")
    engine.docker("exec", "donor", "sh", "-c", "echo shared > /dev/shm/x")
    script = "cat /dev/shm/x; echo back > /dev/shm/y; readlink /proc/self/ns/ipc"
    shown = engine.run("--ipc", "container:donor", "busybox", "sh", "-c", script)
    theirs = engine.out("exec", "donor", "sh", "-c", "cat /dev/shm/y; readlink /proc/self/ns/ipc")
    assert shown.split()[0] == "shared"
    assert theirs.split() == ["back", shown.split()[1]]
    engine.docker(*start, "--name", "closed", "busybox", "sleep", "60")
    done = engine.docker(*start, "--ipc", "container:closed", "busybox", "true", check=False)
    assert b"non-shareable IPC" in done.stderr


def test_processes_of_another_container(engine: EngineServer) -> None:
    engine.docker("run", "-d", "--network", "none", "--name", "peer", "busybox", "sleep", "61")
    assert "sleep 61" in engine.run("--pid", "container:peer", "busybox", "ps")


def test_cgroups_below_another_parent(engine: EngineServer) -> None:
    shown = engine.run(
        "--cgroup-parent", "/isolation-parent/a", "busybox", "cat", "/proc/self/cgroup"
    )
    assert ":/isolation-parent/a/" in shown
    for folder, _, _ in os.walk("/sys/fs/cgroup", topdown=False):
        if "/isolation-parent" in folder:
            os.rmdir(folder)


def test_writable_cgroups(engine: EngineServer) -> None:
    option = ("--security-opt", "writable-cgroups=true")
    script = (
        "mkdir $(ls -d /sys/fs/cgroup/pids 2>/dev/null || echo /sys/fs/cgroup)/below && echo ok"
    )
    assert engine.run(*option, "busybox", "sh", "-c", script) == "ok\n"
    assert refused(engine, "busybox", "sh", "-c", script)


def test_a_warning_for_what_the_kernel_lacks(engine: EngineServer) -> None:
    if (
        Path("/sys/fs/cgroup/blkio/blkio.weight").exists()
        or Path("/sys/fs/cgroup/io.stat").exists()
    ):
        pytest.skip("this kernel has weights for block devices")
    done = engine.docker(*"run --rm --network none --blkio-weight 300 busybox true".split())
    assert b"Your kernel does not support Block I/O weight" in done.stderr
