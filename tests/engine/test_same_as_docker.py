"""The defaults compared with a real dockerd's, item by item, as a process inside sees them.

What differs on purpose stands in the tables of this file, with the reason, and in docs/compat.
"""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.engine_server import EngineServer
from tests.isolation_probe import SCRIPT, Seen, answers, probe_program, read
from tests.real import absent
from tests.real_dockerd import RealDockerd

from sampan.engine.runtime.core.syscall_table import NUMBERS

pytestmark = [pytest.mark.real, pytest.mark.root]

ON_PURPOSE = (
    # Docker mounts the root in the host's namespace, ours is seen by nobody else.
    ("mounts", r"^/ from / (r.,relatime) \w* overlay overlay (r.).*", r"/ \1 \2"),
    # The tmpfs above the hierarchies is read-only with Docker's own option; runc 1.1 forgets that.
    ("mounts", r"^/sys/fs/cgroup from / r.,", "/sys/fs/cgroup from / "),
    ("mounts", r"cgroup systemd rw,name=systemd", "cgroup cgroup rw,name=systemd"),
    # Masks: an empty file system of one block; Docker's has no such bound in 20.10.
    ("mounts", r"tmpfs tmpfs ro,size=4k,nr_inodes=1", "tmpfs tmpfs ro"),
    # Masked since Docker 25.
    ("mounts", r"^/proc/interrupts from /null .*", ""),
    ("mounts", r"^/sys/devices/virtual/powercap from .*", ""),
    # `--init`: ours is the process that set the container up, not a file in the container.
    ("mounts", r"^/sbin/docker-init from .*", ""),
    # /dev/net/tun is no longer allowed by default (runc 1.2).
    ("devices/devices.list", r"^c 10:200 rwm", ""),
    # A network shared with the host means its sysfs too; the real one has a network of its own.
    ("mounts", r"sysfs sysfs r.$", "sysfs sysfs"),
    ("network", r"^(?!lo$).*", ""),
    # The C library's own two signals are as whoever started the engines had left them.
    ("status", r"^SigIgn:\s\w*(\w{8})$", r"SigIgn \1"),
    ("status", r"^SigIgn 8", "SigIgn 0"),
    # The last zero of these addresses went with Docker 26.
    ("files", r"^(fe00|ff00)::0\t", r"\1::\t"),
    # The kernel counts differently in each container.
    ("memory/memory.oom_control", r"^(under_oom|oom_kill) .*", ""),
)

# Docker's policy of today against that of 20.10: what is refused, and what is no longer.
REFUSED_NOW = {"io_uring_setup", "io_uring_enter", "io_uring_register"}
ALLOWED_NOW = {
    *("name_to_handle_at", "process_vm_readv", "process_vm_writev"),
    *("pkey_alloc", "pkey_free", "pkey_mprotect"),
}
NEWER_THAN_20_10 = range(450, 1000)

# Ends the process, waits, or makes another one: not to be called with wild arguments.
NOT_CALLED = {15, 34, 57, 58, 60, 112, 153, 162, 219, 231, 335, 336}

ALG, VSOCK, INET, EVERY_NAMESPACE = 38, 40, 2, 0x7E020000
WITH_ARGUMENTS = [
    (41, ALG, 5, 0),
    (41, VSOCK, 1, 0),
    (41, INET, 1, 0),
    (41, 16, 3, 0),
    (135, 0x0008),
    (135, 0x0400000),
    (56, 0x10000000 | 17),
    (272, EVERY_NAMESPACE),
    (16, 0, 0x5412, 0),
    (1 << 30 | 39,),
]


@dataclass(frozen=True, slots=True)
class Pair:
    real: RealDockerd
    ours: EngineServer
    pool: ThreadPoolExecutor

    def outputs(self, *words: str) -> tuple[bytes, bytes]:
        """What the same `docker run` prints in both engines."""
        flags = () if "--network" in words else ("--network", "none")
        command = ("run", "--rm", *flags, *words)
        real = self.pool.submit(self.real.docker, *command)
        ours = self.ours.docker(*command)
        return real.result().stdout, ours.stdout


@pytest.fixture(scope="module")
def pair(shared_engine: EngineServer, real_dockerd: RealDockerd) -> Iterator[Pair]:
    try:
        with ThreadPoolExecutor(1) as pool:
            yield Pair(real_dockerd, shared_engine, pool)
    finally:
        shared_engine.clear()


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("probe") / "probe.sh"
    path.write_text(SCRIPT)
    return path


def agreed(seen: Seen) -> dict[str, list[str]]:
    """What is seen, without what differs on purpose."""
    found = {}
    for section, lines in seen.items():
        kept = list(lines)
        for place, pattern, instead in ON_PURPOSE:
            if place == section:
                kept = [re.sub(pattern, instead, line) for line in kept]
        found[section] = [line for line in kept if line]
    return found


DISKS = [f"/dev/{name}" for name in sorted(os.listdir("/sys/block")) if Path("/dev", name).exists()]
THROTTLES = f"--device-read-bps {DISKS[0]}:1mb --device-write-iops {DISKS[0]}:99" if DISKS else ""

CASES = {
    "default": "",
    "user": "--user bob --cap-drop MKNOD --cap-drop CHOWN --cap-add SYS_TIME",
    "user and groups": "--user 1000:50 --group-add 77 --group-add staff",
    "unknown user": "--user 4711 --ipc none --oom-score-adj 500",
    "root by number": "--user 0:50 --workdir /data --ipc host",
    "capabilities": "--cap-drop ALL --cap-add SYS_ADMIN --cap-add net_admin",
    "security options": "--security-opt no-new-privileges --security-opt seccomp=unconfined "
    "--cap-drop CHOWN --cap-add SYS_TIME",
    "system paths": "--security-opt systempaths=unconfined --security-opt apparmor=unconfined",
    "read-only root": "--read-only --tmpfs /scratch:size=1m --tmpfs /x:rw,exec,mode=700",
    "terminal": "-t --env A=b --env TERM=dumb",
    "init": "--init --cgroupns private",
    "host's processes": "--pid host",
    "host's names": "--uts host --network host",
    "devices": "--device /dev/fuse --device /dev/zero:/dev/xx:r --device-cgroup-rule c_42:*_rw",
    "resources": "-m 64m --memory-swap 128m --memory-reservation 32m --memory-swappiness 10 "
    "--oom-kill-disable --shm-size 1m --pids-limit 55 --cpus 0.5 --cpu-shares 300 "
    f"--cpuset-cpus 0 --cpuset-mems 0 {THROTTLES}",
    "limits and names": "--ulimit nofile=100:200 --ulimit core=0 --sysctl net.ipv4.ip_forward=0 "
    "--sysctl kernel.msgmax=4096 --hostname a.b.c --domainname dom --dns 192.0.2.1 "
    "--dns-search a.b --dns-opt ndots:3 --add-host other:192.0.2.9",
}


@pytest.mark.parametrize("flags", CASES.values(), ids=CASES.keys())
def test_a_container_is_as_docker_s(pair: Pair, script: Path, flags: str) -> None:
    words = [word.replace("_", " ") if ":*" in word else word for word in flags.split()]
    probe = ("-v", f"{script}:/probe.sh:ro", "busybox", "sh", "/probe.sh")
    named = () if "--uts" in words or "--hostname" in words else ("--hostname", "box")
    real, ours = pair.outputs(*words, *named, *probe)
    wanted = agreed(read(real.decode(), [str(pair.real.place)]))
    found = agreed(read(ours.decode(), [str(pair.ours.place)]))
    assert shared(found.pop("namespaces")) == shared(wanted.pop("namespaces"))
    differing = {
        name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name)
    }
    assert {name: found.get(name) for name in differing} == {n: wanted.get(n) for n in differing}


def shared(namespaces: list[str]) -> set[str]:
    """Which namespaces are the host's; of the network, the real engine has one of its own."""
    host = {f"{kind}:[{Path(f'/proc/self/ns/{kind}').stat().st_ino}]" for kind in KINDS}
    return {one.partition(":")[0] for one in namespaces if one in host}


KINDS = ("cgroup", "ipc", "pid", "time", "user", "uts")


def test_privileged_is_as_docker_s(pair: Pair, script: Path) -> None:
    lacking = Path("/proc/self/status").read_text()
    if "CapBnd:\t000001ffffffffff" not in lacking:
        pytest.skip("dockerd 20.10 refuses --privileged where a capability is missing")
    real, ours = pair.outputs("--privileged", "-v", f"{script}:/p:ro", "busybox", "sh", "/p")
    wanted, found = agreed(read(real.decode())), agreed(read(ours.decode()))
    for section in ("status", "devices", "writable", "mounts", "devices/devices.list"):
        assert found[section] == wanted[section]


def test_system_calls_are_refused_as_docker_does(pair: Pair, tmp_path: Path) -> None:
    if platform.machine() != "x86_64":
        absent("the program of calls is x86-64 machine code")
    numbers = [(number,) for number in range(470) if number not in NOT_CALLED]
    probe = tmp_path / "probe"
    probe.write_bytes(probe_program([*numbers, *WITH_ARGUMENTS]))
    probe.chmod(0o755)
    real, ours = pair.outputs("-v", f"{probe}:/probe:ro", "busybox", "/probe")
    theirs, mine = answers(real), answers(ours)
    assert len(theirs) == len(mine) == len(numbers) + len(WITH_ARGUMENTS)
    names = {number: name for name, number in NUMBERS["x86_64"].items()}
    refused: set[str] = set()
    allowed: set[str] = set()
    for (number,), their, my in zip(numbers, theirs, mine, strict=False):
        if their != my and min(their, my) < 0 and number not in NEWER_THAN_20_10:
            (refused if my == -1 else allowed).add(names[number])
    assert refused == REFUSED_NOW
    assert allowed == ALLOWED_NOW
    results = list(zip(WITH_ARGUMENTS, theirs[len(numbers) :], mine[len(numbers) :], strict=True))
    differing = {call[:2] for call, their, my in results if their != my and min(their, my) < 0}
    assert differing == {(41, ALG), (41, VSOCK)}, "refused today, allowed in 20.10"
    assert all(my == -1 for call, _, my in results if call[:2] in differing)


CHANGES = """
echo 1 > /data/new; rm /data/seed; mkdir -p /deep/er; echo 2 > /deep/er/file; ln /data/new /data/two
rm -r /root; mkdir /root; chmod 700 /tmp; ln -s x /bin/link; rm /bin/awk; mkdir /bin/awk
touch -d '2001-01-01 00:00:00' /etc/passwd; mkdir /var; rmdir /var; mkfifo /deep/pipe
cp -p /bin/busybox /bin/again; mv /bin/again /bin/busybox; echo $(cat /data/new) > /data/new
"""


def test_changes_are_told_the_same_and_images_go_to_and_fro(pair: Pair) -> None:
    seen = []
    for engine in (pair.real, pair.ours):
        run = ("run", "--network", "none", "--name", "changed", "busybox", "sh", "-c", CHANGES)
        engine.docker(*run)
        seen.append(sorted(engine.docker("diff", "changed").stdout.decode().splitlines()))
        engine.docker("commit", "changed", "made")
        engine.docker("rm", "changed")
    assert seen[0] == seen[1]
    looks = []
    script = "cat new /deep/er/file; stat -c '%n %a %U %h %F %Y' * /deep/* /root /etc/passwd /bin/*"
    for engine, other in ((pair.real, pair.ours), (pair.ours, pair.real)):
        data = engine.docker("save", "made").stdout
        other.docker("rmi", "-f", "made")
        other.docker("load", stdin=data)
        command = ("run", "--rm", "--network", "none", "-w", "/data", "made", "sh", "-c", script)
        looks.append(other.docker(*command).stdout)
        assert engine.docker(*command).stdout == looks[-1]
    pair.ours.docker("rmi", "-f", "made")
    assert b"regular file" in looks[0]
