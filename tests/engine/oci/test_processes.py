"""Whose processes a container's are, and what becomes of all of them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from tests.engine.oci.runtimes import SAMPAN, TIMEOUT_S, Bundles, Runtime, await_end

pytestmark = [pytest.mark.root]

SHARED = [{"type": "mount"}, {"type": "network"}]
"""Without a PID namespace the kernel does not end the others with the first process."""


def test_all_processes_are_signalled_and_removed(oci: Runtime, bundles: Bundles) -> None:
    script = "trap '' TERM; sleep 600 & sleep 600 & wait; exec sleep 600"
    linux = {"namespaces": SHARED}
    bundle = bundles.make("sh", "-c", script, linux=linux, hostname="")
    oci.ok("run", "--detach", "--bundle", bundle, "many")
    oci.ok("exec", "--detach", "many", "sleep", "601")
    pids = json.loads(oci.ok("ps", "--format", "json", "many"))
    while len(pids) < 4:
        pids = json.loads(oci.ok("ps", "--format", "json", "many"))
    oci.ok("kill", "many", "KILL")
    await_end(oci.state("many")["pid"] or pids[0])
    assert oci.state("many")["status"] == "stopped"
    left = json.loads(oci.ok("ps", "--format", "json", "many"))
    assert len(left) == 3
    oci.ok("kill", "--all", "many", "KILL")
    for pid in left:
        await_end(pid)
    oci.ok("delete", "many")


def test_removal_ends_what_is_left(oci: Runtime, bundles: Bundles) -> None:
    linux = {"namespaces": SHARED}
    script = "sleep 600 & exec true"
    bundle = bundles.make("sh", "-c", script, linux=linux, hostname="")
    oci.ok("run", "--detach", "--bundle", bundle, "left")
    pids = json.loads(oci.ok("ps", "--format", "json", "left"))
    oci.ok("delete", "--force", "left")
    for pid in pids:
        await_end(pid)


def test_a_detached_process_tells_its_pid(oci: Runtime, bundles: Bundles, tmp_path: Path) -> None:
    oci.ok("run", "-d", "--bundle", bundles.make("sleep", "600"), "exec")
    oci.ok("exec", "-d", "--pid-file", str(tmp_path / "pid"), "exec", "sleep", "601")
    pid = int((tmp_path / "pid").read_text())
    assert Path(f"/proc/{pid}/cmdline").read_bytes() == b"sleep\x00601\x00"
    assert (
        Path(f"/proc/{pid}/ns/pid").readlink()
        == Path(f"/proc/{oci.state('exec')['pid']}/ns/pid").readlink()
    )
    assert pid in json.loads(oci.ok("ps", "-f", "json", "exec"))


def test_a_cgroup_below_the_container(oci: Runtime, bundles: Bundles) -> None:
    oci.ok("run", "-d", "--bundle", bundles.make("sleep", "600"), "below")
    for place in Path("/sys/fs/cgroup").glob("*/below"):
        (place / "part").mkdir()
        for name in ("cpuset.cpus", "cpuset.mems"):
            if (place / name).exists():
                (place / "part" / name).write_text((place / name).read_text())
    shown = oci.ok("exec", "--cgroup", "part", "below", "cat", "/proc/self/cgroup")
    assert "/below/part" in shown
    assert "leads out" in oci.fails("exec", "--cgroup", "../x", "below", "true")


def test_of_two_starts_one_wins(oci: Runtime, bundles: Bundles) -> None:
    oci.ok("create", "--bundle", bundles.make("sleep", "600"), "race")
    words = [*SAMPAN, "--root", str(oci.root), "start", "race"]
    both = [subprocess.Popen(words, stderr=subprocess.DEVNULL) for _ in range(2)]
    assert sorted(one.wait(TIMEOUT_S) for one in both) == [0, 1]
    assert oci.state("race")["status"] == "running"


def test_through_a_link_named_runc(tmp_path: Path) -> None:
    link = tmp_path / "runc"
    link.symlink_to(Path(sys.executable).with_name("sampan"))
    done = subprocess.run([link, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("runc version ")
    done = subprocess.run([link, "create", "--help"], capture_output=True, text=True, check=True)
    assert "--console-socket value" in done.stdout
