"""Ways out of a container that other runtimes once had, each tried from inside."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.engine_server import EngineServer
from tests.isolation_probe import answers, probe_program

pytestmark = [pytest.mark.real, pytest.mark.root]

SLEEP = ("busybox", "sleep", "600")
X86 = pytest.mark.skipif(os.uname().machine != "x86_64", reason="x86-64 machine code")


def start(engine: EngineServer, name: str, *words: str) -> int:
    """Start a container that sleeps; return its first process's pid on the host."""
    engine.docker("run", "-d", "--network", "none", "--name", name, *words, *SLEEP)
    return int(engine.out("inspect", "-f", "{{.State.Pid}}", name))


def shim_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def ids_of(path: str) -> tuple[int, int, int, int]:
    found = os.stat(path)
    return found.st_mode, found.st_uid, found.st_gid, found.st_ino


# Descriptors that leak, and a working directory outside of the root (CVE-2024-21626).


@pytest.mark.parametrize("number", range(3, 13, 2))
def test_no_descriptor_is_a_way_out_as_working_directory(engine: EngineServer, number: int) -> None:
    if number == 3:
        start(engine, "inner")
    words = ("-w", f"/proc/self/fd/{number}", "busybox", "ls", "../../../../..")
    done = engine.docker("run", "--rm", "--network", "none", *words, check=False)
    assert (done.returncode == 0, done.stdout) == (False, b"")


def test_no_descriptor_is_a_way_out_of_exec(engine: EngineServer) -> None:
    start(engine, "inner")
    for number in range(3, 16):
        words = ("-w", f"/proc/self/fd/{number}", "inner", "pwd")
        assert engine.docker("exec", *words, check=False).returncode == 126
    engine.docker("exec", "inner", "ln", "-s", "/proc/self/fd/7", "/way")
    assert engine.docker("exec", "-w", "/way", "inner", "pwd", check=False).returncode == 126


@pytest.mark.parametrize("flags", [(), ("--init",), ("-t",)], ids=["plain", "init", "terminal"])
def test_nothing_but_standard_descriptors_is_open(
    engine: EngineServer, flags: tuple[str, ...]
) -> None:
    pid = start(engine, "quiet", *flags)
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    for one in (pid, *children):
        assert {int(name) for name in os.listdir(f"/proc/{one}/fd")} == {0, 1, 2}
    # The fourth is the directory that ls reads.
    assert engine.out("exec", "quiet", "ls", "/proc/self/fd").split() == ["0", "1", "2", "3"]


# The runtime's own program, reached through /proc (CVE-2019-5736).


def test_the_interpreter_cannot_be_written_to(engine: EngineServer) -> None:
    pid = start(engine, "reaped", "--init", "--cap-add", "SYS_PTRACE")
    script = "exec 3>>/proc/1/exe || chmod 777 /proc/1/exe"
    done = engine.docker("exec", "reaped", "sh", "-c", script, check=False)
    assert done.returncode != 0
    # On the host there is no other bound than the mount that the program was started from.
    for one in (pid, shim_of(pid)):
        with pytest.raises(OSError) as refused:
            os.utime(f"/proc/{one}/exe")
        assert refused.value.errno == errno.EROFS


JOIN = """
import sys
from sampan.engine.runtime.core.plan import CLONE_FLAGS
from sampan.engine.runtime.core.spec import Process
from sampan.engine.runtime.shell import launch, syscalls
kinds = ("pid", "mount", "network", "ipc", "uts")
launched = launch.join(
    syscalls.pidfd_open(int(sys.argv[1])),
    Process(args=("true",)),
    launch.Stdio(0, 1, 2),
    namespaces=sum(CLONE_FLAGS[kind] for kind in kinds),
)
status = open(f"/proc/{launched.pid}/status").read()
print(status.partition("NSpid:")[2].split()[1], flush=True)
sys.stdin.readline()
launched.abandon()
"""


@X86
def test_a_process_that_enters_cannot_be_looked_at(engine: EngineServer, tmp_path: Path) -> None:
    pid = start(engine, "lurking", "--security-opt", "seccomp=unconfined", "-v", f"{tmp_path}:/t")
    with subprocess.Popen(
        [sys.executable, "-c", JOIN, str(pid)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as entering:
        assert entering.stdin is not None and entering.stdout is not None
        inside = int(entering.stdout.readline())
        seize, read_memory = (101, 0x4206, inside, 0, 0), (310, inside, 0, 0, 0, 0, 0)
        (tmp_path / "probe").write_bytes(
            probe_program([seize, (101, 16, inside, 0, 0), read_memory])
        )
        (tmp_path / "probe").chmod(0o755)
        tried = answers(engine.docker("exec", "lurking", "/t/probe").stdout)
        assert tried[:2] == [-errno.EPERM, -errno.EPERM]
        script = f"readlink /proc/{inside}/exe /proc/{inside}/cwd; ls -l /proc/{inside}/fd"
        seen = engine.docker(
            "exec", "lurking", "sh", "-c", f"ls /proc/{inside} && {script}", check=False
        )
        assert b"status" in seen.stdout
        assert b"python" not in seen.stdout
        assert b"Permission denied" in seen.stderr
        entering.stdin.close()


def test_the_shim_cannot_be_looked_at(engine: EngineServer) -> None:
    pid = shim_of(start(engine, "watched"))
    script = f"readlink /proc/{pid}/exe; readlink /proc/{pid}/fd/*; readlink /proc/{pid}/cwd"
    done = engine.docker(
        *("run", "--rm", "--network", "none", "--pid", "host"),
        *("--cap-drop", "SYS_PTRACE", "busybox", "sh", "-c", script),
        check=False,
    )
    assert done.stdout == b""


# Links where the runtime mounts and masks (CVE-2021-30465, 2025-31133, 2025-52565, 2025-52881).


@pytest.fixture
def hostile(engine: EngineServer) -> object:
    """Make an image with a script's changes; it goes with the test."""
    made: list[str] = []

    def make(script: str) -> str:
        name = f"hostile:{len(made)}"
        engine.docker("run", "--network", "none", "--name", "made", "busybox", "sh", "-c", script)
        engine.docker("commit", "made", name)
        engine.docker("rm", "made")
        made.append(name)
        return name

    yield make
    engine.clear()
    for name in made:
        engine.docker("rmi", "-f", name)


def test_links_at_the_places_of_mounts(
    engine: EngineServer, hostile: object, tmp_path: Path
) -> None:
    assert callable(hostile)
    image = hostile(
        f"rm -rf /data; ln -s {tmp_path} /data; ln -s ../../../../../../{tmp_path} /up; "
        f"ln -s /proc/self/root /magic"
    )
    (tmp_path / "secret").write_text("of the host")
    script = f"ls /data; ls {tmp_path}"
    for place in ("/data/x", "/up/x", "/magic/x"):
        words = ("--tmpfs", place, "-v", f"vol:{place}/v", image, "sh", "-c", script)
        done = engine.docker("run", "--rm", "--network", "none", *words, check=False)
        assert b"secret" not in done.stdout
        assert (done.returncode == 0) == (place != "/magic/x")
        assert os.listdir(tmp_path) == ["secret"]


def test_a_link_to_nowhere_is_followed_inside(engine: EngineServer, hostile: object) -> None:
    assert callable(hostile)
    image = hostile("mkdir /var; ln -s ../../run /var/run; ln -s gone/file /etc/file")
    words = ("-v", "/etc/passwd:/var/run/deep/er", "-v", "/etc/passwd:/etc/file", image)
    shown = engine.run(*words, "sh", "-c", "wc -l < /run/deep/er; wc -l < /etc/gone/file")
    assert len(set(shown.split())) == 1


def test_masks_hold_with_a_device_directory_of_the_user(
    engine: EngineServer, tmp_path: Path
) -> None:
    """A volume at /dev may hold anything as `null` and `console`; masks do not trust it."""
    (tmp_path / "null").symlink_to("/proc/self/status")
    (tmp_path / "console").symlink_to("/data/seed")
    before = ids_of("/dev/null")
    script = "wc -c </proc/keys; chmod 777 /proc/keys; chown 7 /proc/timer_list; cat /data/seed"
    done = engine.docker(
        *("run", "--rm", "--network", "none", "-v", f"{tmp_path}:/dev"),
        *("busybox", "sh", "-c", f"{script}; true"),
    )
    assert done.stdout == b"0\nfrom the image\n"
    assert ids_of("/dev/null") == before


def test_masks_cannot_be_changed_into_the_host_s_device(engine: EngineServer) -> None:
    before = ids_of("/dev/null")
    engine.run("busybox", "sh", "-c", "chmod 600 /proc/keys; chown 7:7 /proc/keys; true")
    assert ids_of("/dev/null") == before


def test_settings_are_written_to_procfs_only(
    engine: EngineServer, hostile: object, tmp_path: Path
) -> None:
    assert callable(hostile)
    image = hostile("mkdir -p /fake/sys/kernel; echo 0 > /fake/sys/kernel/msgmax")
    done = engine.docker(
        *("run", "--rm", "--network", "none", "--sysctl", "kernel.msgmax=4096"),
        *("-v", f"{tmp_path}:/proc/sys/kernel", image, "cat", "/proc/sys/kernel/msgmax"),
        check=False,
    )
    assert b"cannot be mounted because it is inside /proc" in done.stderr
    shown = engine.run("--sysctl", "kernel.msgmax=4096", image, "cat", "/proc/sys/kernel/msgmax")
    assert shown == "4096\n"


@pytest.mark.parametrize("path", ["/proc/sysrq-trigger", "/proc/sys/kernel/core_pattern"])
def test_kernel_settings_cannot_be_written(engine: EngineServer, path: str) -> None:
    before = Path("/proc/sys/kernel/core_pattern").read_text()
    script = f"echo '|/bin/true' > {path} || echo refused"
    for flags in ((), ("--cap-add", "SYS_ADMIN"), ("--security-opt", "seccomp=unconfined")):
        assert "refused" in engine.run(*flags, "busybox", "sh", "-c", script)
    assert Path("/proc/sys/kernel/core_pattern").read_text() == before


def test_a_release_agent_cannot_be_set(engine: EngineServer) -> None:
    script = "for f in /sys/fs/cgroup/*/release_agent; do echo /x > $f && echo written; done; true"
    assert "written" not in engine.run("busybox", "sh", "-c", script)


# Files copied while the container exchanges a directory for a link.


def test_a_copy_that_races_a_link_stays_inside(engine: EngineServer, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text("of the host")
    (tmp_path / "sent").write_text("sent")
    swap = (
        f"mkdir -p {outside} /real; touch /real/secret; while :; do "
        f"ln -sfn {outside} /x; rm -f /x; ln -sfn /real /x; done"
    )
    engine.docker("run", "-d", "--network", "none", "--name", "racing", "busybox", "sh", "-c", swap)
    for _ in range(6):
        engine.docker("cp", str(tmp_path / "sent"), "racing:/x/sent", check=False)
        got = engine.docker("cp", "racing:/x/secret", "-", check=False)
        assert b"of the host" not in got.stdout
    assert sorted(os.listdir(outside)) == ["secret"]


# Keys, groups and capabilities.


@X86
def test_every_container_has_a_keyring_of_its_own(engine: EngineServer, tmp_path: Path) -> None:
    get_session = (250, 0, (1 << 32) - 3, 0)
    (tmp_path / "probe").write_bytes(probe_program([get_session]))
    (tmp_path / "probe").chmod(0o755)
    option = ("--security-opt", "seccomp=unconfined", "-v", f"{tmp_path}:/t:ro")
    found = []
    for _ in range(2):
        command = ("run", "--rm", "--network", "none", *option, "busybox", "/t/probe")
        found += answers(engine.docker(*command).stdout)
    assert min(found) > 0
    assert found[0] != found[1]


def test_exec_starts_with_as_little_as_the_container(engine: EngineServer) -> None:
    start(engine, "small", "--user", "bob", "--cap-add", "NET_ADMIN")
    status = engine.out("exec", "small", "cat", "/proc/self/status")
    found = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert (found["CapInh"], found["CapEff"], found["CapAmb"]) == ("0" * 16,) * 3
    assert (found["Seccomp"], found["Groups"].split()) == ("2", ["50", "1001"])


def test_a_terminal_is_the_container_s_own(engine: EngineServer, tmp_path: Path) -> None:
    """What is typed into a terminal from inside (TIOCSTI) reaches the container alone."""
    shown = engine.run("-t", "busybox", "stat", "-c", "%t:%T %d", "/dev/console", "/dev/pts/0")
    console, terminal = shown.splitlines()
    assert console == terminal
    # With a directory of the user's in place of /dev nothing but the real multiplexer will do.
    (tmp_path / "ptmx").symlink_to("/etc/passwd")
    words = ("run", "--rm", "-t", "--network", "none", "-v", f"{tmp_path}:/dev", "busybox", "tty")
    done = engine.docker(*words, check=False)
    assert done.returncode != 0
    assert b"not the multiplexer of terminals" in done.stdout + done.stderr
