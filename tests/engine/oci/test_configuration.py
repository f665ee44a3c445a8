"""What a configuration asks for, seen from inside the container."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from tests.engine.oci.runtimes import Bundles, Runtime

from sampan.engine.oci.core.default_spec import default_spec

pytestmark = [pytest.mark.root]

NAMESPACES = default_spec(cgroup_namespace=False)["linux"]["namespaces"]
MOUNTS = default_spec(cgroup_namespace=False)["mounts"]


def inside(oci: Runtime, bundles: Bundles, script: str, **changes: Any) -> str:
    return oci.ok("run", "--bundle", bundles.make("sh", "-c", script, **changes), "conf")


def test_the_process(oci: Runtime, bundles: Bundles) -> None:
    script = (
        "ulimit -n; ulimit -c; umask; id; cat /proc/self/oom_score_adj; echo $HOME $X; pwd; "
        "grep -E 'CapEff|CapAmb|NoNewPrivs' /proc/self/status"
    )
    process = {
        "user": {"uid": 1000, "gid": 50, "additionalGids": [7, 8], "umask": 0o27},
        "env": ["PATH=/bin", "X=y"],
        "cwd": "/tmp",
        "oomScoreAdj": 321,
        "rlimits": [
            {"type": "RLIMIT_NOFILE", "soft": 99, "hard": 100},
            {"type": "RLIMIT_CORE", "soft": 0, "hard": 0},
        ],
        "capabilities": {
            name: ["CAP_NET_BIND_SERVICE"]
            for name in ("bounding", "effective", "permitted", "inheritable", "ambient")
        },
    }
    lines = inside(oci, bundles, script, process=process).splitlines()
    assert lines[:3] == ["99", "0", "0027"]
    assert "uid=1000(bob) gid=50(staff)" in lines[3]
    assert {"7", "8"} <= set(re.findall(r"\d+", lines[3].partition("groups=")[2]))
    assert lines[4:7] == ["321", "/home/bob y", "/tmp"]
    assert [line.split() for line in lines[7:]] == [
        ["CapEff:", "0000000000000400"],
        ["CapAmb:", "0000000000000400"],
        ["NoNewPrivs:", "1"],
    ]


def test_scheduling(oci: Runtime, bundles: Bundles) -> None:
    script = "cut -d' ' -f19,41 /proc/$$/stat; ionice -p $$"
    process = {
        "scheduler": {"policy": "SCHED_BATCH", "nice": 5},
        "ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 6},
    }
    assert inside(oci, bundles, script, process=process) == "5 3\nbest-effort: prio 6\n"


def test_affinity_of_further_processes(oci: Runtime, bundles: Bundles) -> None:
    process = {"execCPUAffinity": {"initial": "0", "final": "0"}}
    oci.ok("run", "-d", "--bundle", bundles.make("sleep", "600", process=process), "conf")
    shown = oci.ok("exec", "conf", "grep", "Cpus_allowed_list", "/proc/self/status")
    assert shown.split()[1] == "0"


def test_names_and_parameters(oci: Runtime, bundles: Bundles) -> None:
    script = "hostname; cat /proc/sys/kernel/domainname /proc/sys/net/ipv4/ip_forward; uname -m"
    linux = {
        "sysctl": {"net.ipv4.ip_forward": "1"},
        "personality": {"domain": "LINUX32"},
    }
    shown = inside(oci, bundles, script, hostname="box", domainname="dom", linux=linux)
    assert shown.split()[:3] == ["box", "dom", "1"]
    if os.uname().machine == "x86_64":
        assert shown.split()[3] == "i686"


def test_a_clock_of_its_own(oci: Runtime, bundles: Bundles) -> None:
    if not Path("/proc/self/ns/time").exists():
        pytest.skip("this kernel has no time namespaces")
    week_s = 7 * 86400
    linux = {
        "namespaces": [*NAMESPACES, {"type": "time"}],
        "timeOffsets": {"boottime": {"secs": week_s}, "monotonic": {"secs": 60, "nanosecs": 1}},
    }
    shown = inside(oci, bundles, "cat /proc/uptime /proc/self/timens_offsets", linux=linux)
    assert float(shown.split()[0]) > week_s
    assert shown.split()[2:] == ["monotonic", "60", "1", "boottime", str(week_s), "0"]


def test_mounts(oci: Runtime, bundles: Bundles, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("bound")
    (tmp_path / "below").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "below", str(tmp_path / "below")], check=True)
    try:
        mounts = [
            *MOUNTS,
            _mount("/data", "tmpfs", "tmpfs", "tmpcopyup", "nosuid"),
            _mount("/mnt", "bind", str(tmp_path), "rbind", "rro", "rnosuid"),
        ]
        script = "cat /data/seed /mnt/file; grep ' /mnt' /proc/self/mountinfo; touch /mnt/below/x"
        bundle = bundles.make("sh", "-c", script, mounts=mounts)
        done = oci.run("run", "--bundle", bundle, "conf")
    finally:
        subprocess.run(["umount", str(tmp_path / "below")], check=True)
    lines = done.stdout.splitlines()
    assert lines[0] == "from the image"
    assert lines[1].startswith("bound")
    assert sum("ro,nosuid" in line for line in lines) == 2
    assert "Read-only file system" in done.stderr


def _mount(destination: str, kind: str, source: str, *options: str) -> dict[str, Any]:
    return {"destination": destination, "type": kind, "source": source, "options": list(options)}


def test_a_source_below_the_bundle(oci: Runtime, bundles: Bundles) -> None:
    mounts = [*MOUNTS, _mount("/mnt", "bind", "shared", "bind", "ro")]
    bundle = bundles.make("cat", "/mnt/word", mounts=mounts)
    (Path(bundle) / "shared").mkdir()
    (Path(bundle) / "shared" / "word").write_text("relative")
    assert oci.ok("run", "--bundle", bundle, "conf") == "relative"


def test_owners_are_mapped(oci: Runtime, bundles: Bundles, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    tmp_path.chmod(0o755)
    maps = [{"containerID": 0, "hostID": 1234, "size": 10}]
    mapped = {**_mount("/mnt", "bind", str(tmp_path), "bind", "idmap")}
    mapped |= {"uidMappings": maps, "gidMappings": maps}
    shown = inside(oci, bundles, "stat -c %u:%g /mnt/file", mounts=[*MOUNTS, mapped])
    assert shown == "1234:1234\n"


def test_a_user_namespace(oci: Runtime, bundles: Bundles) -> None:
    linux = {
        "namespaces": [*NAMESPACES, {"type": "user"}],
        "uidMappings": [{"containerID": 0, "hostID": 100000, "size": 65536}],
        "gidMappings": [{"containerID": 0, "hostID": 100000, "size": 65536}],
    }
    script = "id -u; cat /proc/self/uid_map; echo x > /dev/shm/x && stat -c %u /dev/shm/x"
    assert inside(oci, bundles, script, linux=linux).split() == ["0", "0", "100000", "65536", "0"]
    oci.ok("run", "-d", "--bundle", bundles.make("sleep", "600", linux=linux), "mapped")
    pid = oci.state("mapped")["pid"]
    assert Path(f"/proc/{pid}").stat().st_uid == 100000
    assert oci.ok("exec", "mapped", "id", "-u") == "0\n"


def test_namespaces_of_another_container(oci: Runtime, bundles: Bundles) -> None:
    oci.ok("run", "-d", "--bundle", bundles.make("sleep", "600", hostname="first"), "first")
    pid = oci.state("first")["pid"]
    joined = {"network": "net", "uts": "uts", "ipc": "ipc", "pid": "pid"}
    namespaces = [{"type": kind, "path": f"/proc/{pid}/ns/{name}"} for kind, name in joined.items()]
    linux = {"namespaces": [{"type": "mount"}, *namespaces]}
    script = "hostname; readlink /proc/self/ns/net; ps | grep -c 'sleep 600'"
    shown = inside(oci, bundles, script, linux=linux, hostname="").split()
    assert shown[0] == "first"
    assert shown[1] == str(Path(f"/proc/{pid}/ns/net").readlink())
    assert int(shown[2]) >= 1
    assert oci.state("first")["status"] == "running"


def test_a_filter(oci: Runtime, bundles: Bundles) -> None:
    seccomp = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_AARCH64"],
        "flags": ["SECCOMP_FILTER_FLAG_LOG"],
        "syscalls": [
            {
                "names": ["mkdir", "mkdirat"],
                "action": "SCMP_ACT_ERRNO",
                "errnoRet": 28,
            }
        ],
    }
    bundle = bundles.make("mkdir", "/dev/shm/x", linux={"seccomp": seccomp})
    assert "No space left on device" in oci.fails("run", "--bundle", bundle, "conf")
    oci.ok("run", "-d", "--bundle", bundles.make("sleep", "600", linux={"seccomp": seccomp}), "two")
    assert "No space left" in oci.fails("exec", "two", "mkdir", "/dev/shm/x")


def test_devices_paths_and_limits(oci: Runtime, bundles: Bundles) -> None:
    linux = {
        "devices": [
            {"path": "/dev/own", "type": "c", "major": 1, "minor": 5, "fileMode": 0o640, "gid": 50},
            {"path": "/dev/queue", "type": "p", "fileMode": 0o600},
        ],
        "resources": {"pids": {"limit": 33}, "memory": {"limit": 32 << 20}},
        "maskedPaths": ["/etc/passwd", "/proc/kcore", "/nonexistent"],
        "readonlyPaths": ["/tmp"],
        "cgroupsPath": "/sampan-test/conf",
    }
    script = (
        "stat -c '%A %t:%T %g' /dev/own /dev/queue; wc -c < /etc/passwd; "
        "grep -c /sampan-test/conf /proc/self/cgroup; touch /tmp/x; head -c 1 /dev/own | wc -c"
    )
    bundle = bundles.make("sh", "-c", script, linux=linux, root={"readonly": False})
    done = oci.run("run", "--bundle", bundle, "conf")
    lines = done.stdout.splitlines()
    assert lines[0] == "crw-r----- 1:5 50"
    assert lines[1].startswith("prw-------")
    assert lines[2] == "0"
    assert int(lines[3]) >= 1
    assert "Read-only file system" in done.stderr
    for path in Path("/sys/fs/cgroup").glob("*/sampan-test"):
        path.rmdir()


def test_what_docker_writes_as_configuration_is_taken(oci: Runtime, bundles: Bundles) -> None:
    """Fields of other versions and of other tools do no harm."""
    spec = json.loads((Path(bundles.make("true")) / "config.json").read_text())
    spec["unknown"] = {"field": 1}
    spec["process"]["commandLine"] = "windows only"
    spec["annotations"] = {"a": "b"}
    oci.ok("run", "--bundle", bundles.write(spec), "conf")
