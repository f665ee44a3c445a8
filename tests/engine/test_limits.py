"""Limits that bite: memory, and being told of it; groups of processes stopped and counted."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
from tests.engine_server import EngineServer
from tests.real import require, require_root

from sampan.engine.runtime.shell.cgroups import Cgroups, layout

pytestmark = [pytest.mark.real, pytest.mark.root]

EATER = "dd if=/dev/zero of=/dev/null bs=64M count=1"


def test_a_child_killed_for_memory_is_told_while_the_container_runs(engine: EngineServer) -> None:
    limit = ("-m", "16m", "--memory-swap", "16m", "--name", "hungry")
    filters = ("--filter", "container=hungry", "--filter", "event=oom", "--format", "{{.Action}}")
    engine.docker("run", "-d", "--network", "none", *limit, "busybox", "sleep", "600")
    with subprocess.Popen(
        [str(require("docker")), "-H", engine.url, "events", "--since", "1", *filters],
        stdout=subprocess.PIPE,
    ) as events:
        assert events.stdout is not None
        assert engine.docker("exec", "hungry", "sh", "-c", EATER, check=False).returncode == 137
        assert events.stdout.readline() == b"oom\n"
        events.kill()
    shown = "{{.State.OOMKilled}} {{.State.Running}}"
    assert engine.out("inspect", "-f", shown, "hungry") == "true true\n"


def test_memory_and_its_default_swap(engine: EngineServer) -> None:
    engine.docker("create", "--network", "none", "-m", "32m", "--name", "limited", "busybox")
    shown = "{{.HostConfig.Memory}} {{.HostConfig.MemorySwap}}"
    assert engine.out("inspect", "-f", shown, "limited") == f"{32 << 20} {64 << 20}\n"
    refused = engine.docker("update", "-m", "65m", "limited", check=False)
    assert b"update the memoryswap at the same time" in refused.stderr


def test_update_reaches_the_running_container(engine: EngineServer) -> None:
    engine.docker("run", "-d", "--network", "none", "--name", "grows", "busybox", "sleep", "600")
    words = "--cpus 0.5 --cpu-shares 300 --cpuset-cpus 0 --pids-limit 44 -m 64m --memory-swap 64m"
    engine.docker("update", *words.split(), "grows")
    found = Cgroups(f"/docker/{engine.out('inspect', '-f', '{{.Id}}', 'grows').strip()}")
    if layout().version == 1:
        assert found.file("cpu", "cpu.cfs_quota_us") == "50000\n"
        assert found.file("cpu", "cpu.shares") == "300\n"
        assert found.file("memory", "memory.limit_in_bytes") == f"{64 << 20}\n"
    assert found.file("cpuset", "cpuset.cpus") == "0\n"
    assert found.file("pids", "pids.max") == "44\n"
    stats = json.loads(engine.out("stats", "--no-stream", "--format", "json", "grows"))
    assert stats["MemUsage"].endswith("/ 64MiB")


def test_a_fork_bomb_ends_at_its_limit(engine: EngineServer) -> None:
    script = "for n in 1 2 3 4 5 6 7 8 9; do sleep 9 & done 2>&1; echo done"
    words = ("--pids-limit", "5", "busybox", "sh", "-c", script)
    done = engine.docker("run", "--rm", "--network", "none", *words, check=False)
    assert b"can't fork" in done.stdout
    assert b"done" not in done.stdout


def test_pausing_stops_every_process(engine: EngineServer) -> None:
    script = "while :; do :; done"
    engine.docker("run", "-d", "--network", "none", "--name", "busy", "busybox", "sh", "-c", script)
    pid = int(engine.out("inspect", "-f", "{{.State.Pid}}", "busy"))
    engine.docker("pause", "busy")
    before = Path(f"/proc/{pid}/stat").read_text()
    assert engine.out("inspect", "-f", "{{.State.Paused}}", "busy") == "true\n"
    assert Path(f"/proc/{pid}/stat").read_text() == before
    engine.docker("rm", "-f", "busy")
    assert not Path(f"/proc/{pid}").exists()


def test_huge_pages_where_only_the_unified_hierarchy_has_them() -> None:
    require_root()
    if "hugetlb" not in layout().unified_controllers | layout().v1.keys():
        pytest.skip("this kernel has no controller for huge pages")
    path = f"/limits-test-{os.getpid()}/one"
    cgroups = Cgroups.create(path, {"hugepageLimits": [{"pageSize": "2MB", "limit": 4 << 20}]})
    try:
        file = "hugetlb.2MB.max" if "hugetlb" in layout().unified_controllers else None
        assert cgroups.file("hugetlb", file or "hugetlb.2MB.limit_in_bytes") == f"{4 << 20}\n"
    finally:
        cgroups.remove()
        Cgroups(path.rpartition("/")[0]).remove()
