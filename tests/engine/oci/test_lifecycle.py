"""The life of a container from a bundle, seen through the command line."""

from __future__ import annotations

import json
import os
import stat
import subprocess
from pathlib import Path

import pytest
from tests.engine.oci.runtimes import TIMEOUT_S, Bundles, Runtime, await_end

pytestmark = [pytest.mark.root]


def test_from_create_to_delete(oci: Runtime, bundles: Bundles, tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    bundle = bundles.make("sh", "-c", "echo started > /dev/pts/../shm/x; exec sleep 600")
    oci.ok("create", "--bundle", bundle, "--pid-file", str(pid_file), "life")
    state = oci.state("life")
    assert (state["status"], state["bundle"], state["id"]) == ("created", bundle, "life")
    assert state["pid"] == int(pid_file.read_text())
    assert not Path(f"/proc/{state['pid']}/root/dev/shm/x").exists()
    assert stat.S_IMODE((oci.root / "life").stat().st_mode) == 0o700

    oci.ok("start", "life")
    assert oci.state("life")["status"] == "running"
    assert "already running" in oci.fails("start", "life")
    assert "not stopped: running" in oci.fails("delete", "life")
    assert json.loads(oci.ok("ps", "--format", "json", "life")) == [state["pid"]]
    assert "sleep 600" in oci.ok("ps", "life")

    oci.ok("kill", "life", "KILL")
    await_end(state["pid"])
    stopped = oci.state("life")
    assert (stopped["status"], stopped["pid"]) == ("stopped", 0)
    assert "container not running" in oci.fails("kill", "life")
    assert "has stopped" in oci.fails("start", "life")
    assert "stopped container" in oci.fails("exec", "life", "true")
    oci.ok("delete", "life")
    assert "container does not exist" in oci.fails("state", "life")


def test_run_passes_streams_and_the_exit_code(oci: Runtime, bundles: Bundles) -> None:
    bundle = bundles.make("sh", "-c", "cat; echo err >&2; exit 7")
    done = oci.run("run", "--bundle", bundle, "fore", stdin=b"through")
    assert (done.returncode, done.stdout, done.stderr) == (7, "through", "err\n")
    assert "does not exist" in oci.fails("state", "fore")


def test_a_kept_container_is_stopped(oci: Runtime, bundles: Bundles) -> None:
    oci.ok("run", "--keep", "--bundle", bundles.make("true"), "kept")
    assert oci.state("kept")["status"] == "stopped"


def test_exec(oci: Runtime, bundles: Bundles) -> None:
    oci.ok("run", "--detach", "--bundle", bundles.make("sleep", "600"), "exec")
    done = oci.run(
        "exec", "--env", "A=b", "--cwd", "/tmp", "exec", "sh", "-c", "echo $A; pwd; exit 3"
    )
    assert (done.returncode, done.stdout) == (3, "b\n/tmp\n")
    shown = oci.ok("exec", "-u", "1000:50", "-g", "7", "exec", "id")
    assert "uid=1000(bob) gid=50(staff)" in shown and "7" in shown
    done = oci.run("exec", "exec", "nosuch")
    assert done.returncode == 255
    assert 'exec: \\"nosuch\\": executable file not found in $PATH' in done.stderr
    assert "cannot be empty" in oci.fails("exec", "exec")
    held = oci.ok("exec", "--cap", "CAP_NET_ADMIN", "exec", "grep", "CapEff", "/proc/self/status")
    assert int(held.split()[1], 16) >> 12 & 1


def test_a_process_of_a_file(oci: Runtime, bundles: Bundles, tmp_path: Path) -> None:
    oci.ok("run", "-d", "--bundle", bundles.make("sleep", "600"), "file")
    process = {"args": ["sh", "-c", "echo $X"], "env": ["X=1", "PATH=/bin"], "cwd": "/"}
    (tmp_path / "process.json").write_text(json.dumps(process))
    assert oci.ok("exec", "--process", str(tmp_path / "process.json"), "file") == "1\n"


def test_pause_and_resume(oci: Runtime, bundles: Bundles) -> None:
    oci.ok("run", "-d", "--bundle", bundles.make("sleep", "600"), "pause")
    oci.ok("pause", "pause")
    assert oci.state("pause")["status"] == "paused"
    assert "not running" in oci.fails("pause", "pause")
    assert "paused container" in oci.fails("exec", "pause", "true")
    oci.ok("resume", "pause")
    assert oci.state("pause")["status"] == "running"
    assert "not paused" in oci.fails("resume", "pause")
    oci.ok("pause", "pause")
    oci.ok("delete", "--force", "pause")


def test_update_and_statistics(oci: Runtime, bundles: Bundles) -> None:
    oci.ok("run", "-d", "--bundle", bundles.make("sleep", "600"), "update")
    oci.ok("update", "--pids-limit", "9", "update")
    change = {"memory": {"limit": 64 << 20}}
    oci.ok("update", "--resources", "-", "update", stdin=json.dumps(change).encode())
    event = json.loads(oci.ok("events", "--stats", "update"))
    assert (event["type"], event["id"]) == ("stats", "update")
    assert event["data"]["pids"] == {"current": 1, "limit": 9}
    assert event["data"]["memory"]["usage"]["limit"] == 64 << 20
    assert "not supported yet" in oci.fails("update", "--l3-cache-schema", "L3:0=f", "update")


def test_listing(oci: Runtime, bundles: Bundles) -> None:
    assert oci.ok("list", "--quiet") == ""
    oci.ok("create", "--bundle", bundles.make("true"), "one")
    oci.ok("create", "--bundle", bundles.make("true"), "two")
    assert oci.ok("list", "-q") == "one\ntwo\n"
    listed = json.loads(oci.ok("list", "-f", "json"))
    assert [(one["id"], one["status"], one["owner"]) for one in listed] == [
        ("one", "created", "root"),
        ("two", "created", "root"),
    ]
    head, first, _ = oci.ok("list").splitlines()
    assert head.split() == ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"]
    assert first.split()[0] == "one"


def test_descriptors(oci: Runtime, bundles: Bundles, tmp_path: Path) -> None:
    """Only those that are to be preserved reach the container, at create already."""
    path = tmp_path / "passed"
    path.write_text("passed")
    bundle = bundles.make("sh", "-c", "cat <&3; ls /proc/self/fd | wc -l")
    with path.open() as passed, path.open() as other:
        fd, beyond = os.dup2(passed.fileno(), 3) if passed.fileno() != 3 else 3, other.fileno()
        done = oci.run(
            "run", "--preserve-fds", "1", "--bundle", bundle, "fds", pass_fds=[fd, beyond]
        )
    assert (done.returncode, done.stdout) == (0, "passed5\n")


def test_a_creation_killed_at_any_moment_leaves_nothing(oci: Runtime, bundles: Bundles) -> None:
    bundle = bundles.make("sleep", "600")
    words = [*oci.words, "--root", str(oci.root), "create", "--bundle", bundle]
    gone = 0
    for turn in range(12):
        name = f"killed-{turn}"
        oci.made.append(name)
        with subprocess.Popen([*words, name], stdin=subprocess.DEVNULL) as creating:
            try:
                creating.wait(turn * 0.01 + 0.02)
            except subprocess.TimeoutExpired:
                creating.kill()
                gone += 1
        oci.run("delete", "--force", name)
        assert not (oci.root / name).exists()
        left = [str(path) for path in Path("/sys/fs/cgroup").glob(f"*/{name}")]
        assert left == []
    assert gone
    assert str(oci.root).encode() not in b"".join(
        path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists()
    )


def test_events_tell_when_memory_runs_out_and_end_with_the_container(
    oci: Runtime, bundles: Bundles
) -> None:
    script = "read x; dd if=/dev/zero of=/dev/null bs=64M count=1; read x"
    memory = {"limit": 16 << 20, "swap": 16 << 20}
    bundle = bundles.make("sh", "-c", script, linux={"resources": {"memory": memory}})
    oci.made.append("oom")
    words = [*oci.words, "--root", str(oci.root)]
    with subprocess.Popen(
        [*words, "run", "--bundle", bundle, "oom"],
        stdin=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as running:
        assert running.stdin is not None
        while '"running"' not in oci.run("state", "oom").stdout:
            assert running.poll() is None
        follow = [*words, "events", "--interval", "100ms", "oom"]
        with subprocess.Popen(follow, stdout=subprocess.PIPE) as events:
            assert events.stdout is not None
            assert json.loads(events.stdout.readline())["type"] == "stats"
            running.stdin.write(b"\n")
            running.stdin.flush()
            kinds = (json.loads(line)["type"] for line in events.stdout)
            assert "oom" in kinds
            running.stdin.close()
            assert events.wait(TIMEOUT_S) == 0
