"""The real docker command line against our engine: what a user of Docker does every day."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
from tests.engine_server import EngineServer
from tests.real import require

pytestmark = [pytest.mark.real, pytest.mark.root]


def test_run_prints_and_returns_the_exit_code(engine: EngineServer) -> None:
    done = engine.docker(
        "run",
        "--rm",
        "--network",
        "none",
        "busybox",
        "sh",
        "-c",
        "echo out; echo err >&2; exit 3",
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (3, b"out\n", b"err\n")


@pytest.mark.parametrize(
    ("words", "code"),
    [(("nosuch",), 127), (("/etc",), 126), (("/etc/passwd",), 126)],
    ids=["missing", "directory", "not executable"],
)
def test_a_command_that_cannot_run(engine: EngineServer, words: tuple[str, ...], code: int) -> None:
    done = engine.docker("run", "--rm", "--network", "none", "busybox", *words, check=False)
    assert done.returncode == code
    assert b"OCI runtime create failed" in done.stderr
    assert engine.out("ps", "-aq") == ""


def test_input_is_half_closed(engine: EngineServer) -> None:
    sent = b"line\n" * 20_000
    out = engine.out("run", "-i", "--rm", "--network", "none", "busybox", "wc", "-c", stdin=sent)
    assert int(out) == len(sent)


@pytest.mark.parametrize("attempt", range(3))
def test_no_byte_is_lost_when_output_races_the_end(engine: EngineServer, attempt: int) -> None:
    script = "yes 0123456789abcde | head -c 1048576"
    name = f"burst{attempt}"
    attached = engine.docker(
        "run", "--network", "none", "--name", name, "busybox", "sh", "-c", script
    )
    assert len(attached.stdout) == 1 << 20
    assert engine.docker("logs", name).stdout == attached.stdout


def test_a_terminal(engine: EngineServer) -> None:
    out = engine.out("run", "-t", "--rm", "--network", "none", "busybox", "sh", "-c", "tty; id -u")
    assert out.split() == ["/dev/pts/0", "0"]


def test_exec_runs_in_the_container(engine: EngineServer) -> None:
    engine.docker("run", "-d", "--network", "none", "--name", "web", "busybox", "sleep", "600")
    shown = engine.out(
        "exec", "-e", "A=b", "-w", "/tmp", "web", "sh", "-c", "echo $A; pwd; echo $$"
    )
    assert shown.split()[:2] == ["b", "/tmp"]
    assert engine.out("exec", "-i", "web", "cat", stdin=b"typed") == "typed"
    assert engine.docker("exec", "web", "sh", "-c", "exit 7", check=False).returncode == 7
    assert engine.docker("exec", "web", "nosuch", check=False).returncode == 127
    assert engine.out("exec", "-u", "bob", "web", "id").startswith("uid=1000(bob) gid=1001(bob)")
    assert "sleep 600" in engine.out("top", "web")
    assert "sleep 600" in engine.out("top", "web", "aux")


def test_logs(engine: EngineServer) -> None:
    script = "for n in 1 2 3; do echo line $n; done; echo bad >&2"
    engine.docker("run", "--network", "none", "--name", "talk", "busybox", "sh", "-c", script)
    assert engine.out("logs", "talk") == "line 1\nline 2\nline 3\n"
    assert engine.docker("logs", "talk").stderr == b"bad\n"
    assert engine.out("logs", "--tail", "2", "talk") == "line 3\n"
    stamped = engine.out("logs", "-t", "talk").splitlines()
    assert stamped[0].endswith("Z line 1")
    assert "line 1" in engine.out("logs", "--since", stamped[0].split()[0], "talk")
    assert engine.out("logs", "--since", "2099-01-01T00:00:00Z", "talk") == ""


def test_following_a_log_ends_with_the_container(engine: EngineServer) -> None:
    script = "echo first; sleep 0.3; echo last"
    engine.docker("run", "-d", "--network", "none", "--name", "slow", "busybox", "sh", "-c", script)
    assert engine.out("logs", "-f", "slow") == "first\nlast\n"


def test_rotated_logs_are_read_as_one(engine: EngineServer) -> None:
    options = ("--log-opt", "max-size=20k", "--log-opt", "max-file=9")
    script = "n=0; while [ $n -lt 500 ]; do echo line $n; n=$((n+1)); done"
    engine.docker(
        "run", "--network", "none", "--name", "rot", *options, "busybox", "sh", "-c", script
    )
    assert engine.out("logs", "rot").splitlines() == [f"line {n}" for n in range(500)]


def test_stop_wait_and_kill(engine: EngineServer) -> None:
    trap = "trap 'exit 9' TERM; while true; do sleep 0.05; done"
    engine.docker("run", "-d", "--network", "none", "--name", "polite", "busybox", "sh", "-c", trap)
    waiting = subprocess.Popen(
        [str(require("docker")), "-H", engine.url, "wait", "polite"], stdout=subprocess.PIPE
    )
    engine.docker("stop", "polite")
    assert waiting.communicate(timeout=10)[0] == b"9\n"
    engine.docker("run", "-d", "--network", "none", "--name", "deaf", "busybox", "sleep", "600")
    engine.docker("kill", "deaf")
    assert engine.out("inspect", "-f", "{{.State.ExitCode}}", "deaf") == "137\n"
    assert "cannot kill container" in engine.docker("kill", "deaf", check=False).stderr.decode()


def test_restart_pause_rename_update(engine: EngineServer) -> None:
    engine.docker("run", "-d", "--network", "none", "--name", "one", "busybox", "sleep", "600")
    engine.docker("restart", "-t", "0", "one")
    engine.docker("pause", "one")
    assert "(Paused)" in engine.out("ps")
    assert engine.docker("exec", "one", "true", check=False).returncode != 0
    engine.docker("unpause", "one")
    engine.docker("rename", "one", "two")
    engine.docker("update", "-m", "64m", "--memory-swap", "64m", "two")
    assert engine.out("inspect", "-f", "{{.HostConfig.Memory}}", "two") == f"{64 << 20}\n"
    show = "cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null"
    assert str(64 << 20) in engine.out("exec", "two", "sh", "-c", show + " || true")


def test_a_restart_policy_starts_again(engine: EngineServer) -> None:
    words = ("--restart", "on-failure:2", "busybox", "sh", "-c", "echo try; exit 1")
    engine.docker("run", "-d", "--network", "none", "--name", "again", *words)
    filters = ("--filter", "container=again", "--filter", "event=die")
    with subprocess.Popen(
        [str(require("docker")), "-H", engine.url, "events", "--since", "1", *filters],
        stdout=subprocess.PIPE,
    ) as events:
        assert events.stdout is not None
        for _ in range(3):
            events.stdout.readline()
        events.kill()
    assert engine.out("logs", "again") == "try\ntry\ntry\n"
    assert engine.out("inspect", "-f", "{{.RestartCount}}", "again") == "2\n"


def test_what_is_not_said_of_a_check_is_the_images(engine: EngineServer) -> None:
    engine.docker("create", "--name", "made", "busybox")
    change = 'HEALTHCHECK --interval=7s --retries=2 CMD ["true"]'
    engine.docker("commit", "--change", change, "made", "checked")
    engine.docker("create", "--name", "own", "--health-interval", "9s", "checked")
    shown = engine.out("inspect", "-f", "{{json .Config.Healthcheck}}", "own")
    assert json.loads(shown) == {"Test": ["CMD", "true"], "Interval": 9 * 10**9, "Retries": 2}
    engine.docker("rm", "own")
    engine.docker("rmi", "checked")


def test_health_becomes_known(engine: EngineServer) -> None:
    check = (
        "--health-cmd",
        "test -e /tmp/ok",
        "--health-interval",
        "100ms",
        "--health-retries",
        "1",
    )
    engine.docker(
        "run", "-d", "--network", "none", "--name", "hc", *check, "busybox", "sleep", "600"
    )
    with subprocess.Popen(
        [
            str(require("docker")),
            "-H",
            engine.url,
            "events",
            "--since",
            "1",
            "--filter",
            "container=hc",
            "--filter",
            "event=health_status",
            "--format",
            "{{.Action}}",
        ],
        stdout=subprocess.PIPE,
    ) as events:
        assert events.stdout is not None
        assert events.stdout.readline() == b"health_status: unhealthy\n"
        engine.docker("exec", "hc", "touch", "/tmp/ok")
        assert events.stdout.readline() == b"health_status: healthy\n"
        events.kill()
    assert "(healthy)" in engine.out("ps")


def test_volumes_are_filled_from_the_image_and_kept(engine: EngineServer) -> None:
    assert engine.run("-v", "kept:/data", "busybox", "cat", "/data/seed") == "from the image\n"
    engine.run("-v", "kept:/data", "busybox", "sh", "-c", "echo more > /data/more")
    assert engine.run("-v", "kept:/x:ro", "busybox", "cat", "/x/more") == "more\n"
    refused = engine.docker(
        "run",
        "--rm",
        "--network",
        "none",
        "-v",
        "kept:/x:ro",
        "busybox",
        "touch",
        "/x/no",
        check=False,
    )
    assert b"Read-only file system" in refused.stderr
    assert "kept" in engine.out("volume", "ls", "-q")
    engine.docker("volume", "rm", "kept")
    assert engine.docker("volume", "inspect", "kept", check=False).returncode == 1


def test_binds_and_tmpfs(engine: EngineServer, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("of the host\n")
    assert engine.run("-v", f"{tmp_path}:/host", "busybox", "cat", "/host/file") == "of the host\n"
    shown = engine.run("--tmpfs", "/scratch:size=1m", "busybox", "mount")
    assert "tmpfs on /scratch type tmpfs (rw,nosuid,nodev,noexec" in shown
    missing = engine.docker(
        "run",
        "--network",
        "none",
        "--mount",
        "type=bind,src=/no/such,dst=/x",
        "busybox",
        check=False,
    )
    assert b"bind source path does not exist: /no/such" in missing.stderr
    assert engine.out("ps", "-aq") == ""


def test_diff_commit_and_history(engine: EngineServer) -> None:
    script = "echo new > /tmp/new; rm /data/seed"
    engine.docker("run", "--network", "none", "--name", "cc", "busybox", "sh", "-c", script)
    assert engine.out("diff", "cc").splitlines() == [
        "C /data",
        "D /data/seed",
        "C /tmp",
        "A /tmp/new",
    ]
    engine.docker("commit", "-c", "ENV ADDED=yes", "cc", "changed:v1")
    try:
        shown = engine.run("changed:v1", "sh", "-c", "cat /tmp/new; ls /data; echo $ADDED")
        assert shown == "new\nyes\n"
        assert len(engine.out("history", "-q", "changed:v1").split()) == 2
    finally:
        engine.docker("rm", "cc")
        engine.docker("rmi", "changed:v1")


def test_images_travel_as_archives(engine: EngineServer, tmp_path: Path) -> None:
    archive = tmp_path / "saved.tar"
    engine.docker("tag", "busybox", "example.com/team/box:v2")
    engine.docker("save", "-o", str(archive), "example.com/team/box:v2")
    gone = engine.out("rmi", "example.com/team/box:v2")
    assert gone == "Untagged: example.com/team/box:v2\n"
    assert engine.out("load", "-i", str(archive)) == "Loaded image: example.com/team/box:v2\n"
    ids = engine.out("images", "-q", "--no-trunc").split()
    assert len(set(ids)) == 1
    engine.docker("rmi", "example.com/team/box:v2")


def test_import_makes_an_image_of_a_root(engine: EngineServer, tmp_path: Path) -> None:
    from tests.engine_server import busybox_root

    (tmp_path / "root.tar").write_bytes(busybox_root())
    change = 'CMD ["echo", "imported"]'
    engine.docker("import", "-c", change, "-c", "ENV PATH=/bin", str(tmp_path / "root.tar"), "made")
    try:
        assert engine.run("made") == "imported\n"
    finally:
        engine.docker("rmi", "made")


def test_names_prefixes_and_conflicts(engine: EngineServer) -> None:
    id_ = engine.out("create", "--network", "none", "--name", "taken", "busybox").strip()
    again = engine.docker("create", "--network", "none", "--name", "taken", "busybox", check=False)
    assert f'The container name "/taken" is already in use by container "{id_}"' in (
        again.stderr.decode()
    )
    assert engine.out("inspect", "-f", "{{.Id}}", id_[:10]).strip() == id_
    assert "No such container: gone" in engine.docker("start", "gone", check=False).stderr.decode()
    assert engine.docker("rmi", "busybox", check=False).returncode == 1


def test_ps_filters(engine: EngineServer) -> None:
    engine.docker(
        "run", "--network", "none", "--name", "a1", "-l", "k=v", "busybox", "false", check=False
    )
    engine.docker("run", "-d", "--network", "none", "--name", "b1", "busybox", "sleep", "600")

    def names(*words: str) -> list[str]:
        return sorted(engine.out("ps", "-a", "--format", "{{.Names}}", *words).split())

    assert names() == ["a1", "b1"]
    assert names("-f", "status=exited") == ["a1"]
    assert names("-f", "exited=1") == ["a1"]
    assert names("-f", "label=k=v") == ["a1"]
    assert names("-f", "name=b") == ["b1"]
    assert names("-f", "ancestor=busybox") == ["a1", "b1"]
    assert names("-f", "since=a1") == ["b1"]
    wrong = engine.docker("ps", "-f", "color=red", check=False)
    assert b"invalid filter 'color'" in wrong.stderr


def test_stats_and_usage(engine: EngineServer) -> None:
    engine.docker(
        "run", "-d", "--network", "none", "--name", "st", "-m", "32m", "busybox", "sleep", "9"
    )
    shown = json.loads(engine.out("stats", "--no-stream", "--format", "json", "st"))
    assert shown["MemUsage"].endswith("/ 32MiB")
    assert shown["PIDs"] == "1"
    assert "Images" in engine.out("system", "df")


def test_what_swarm_and_a_missing_bridge_answer(engine: EngineServer) -> None:
    assert b"not a swarm manager" in engine.docker("service", "ls", check=False).stderr
    bridge = engine.docker("run", "--rm", "busybox", "true", check=False)
    assert b"network bridge not found" in bridge.stderr
    assert engine.out("network", "ls", "--format", "{{.Name}}").split() == ["host", "none"]


def test_prune_removes_what_does_not_run(engine: EngineServer) -> None:
    engine.docker("run", "--network", "none", "busybox", "true")
    engine.docker("run", "-d", "--network", "none", "--name", "kept", "busybox", "sleep", "600")
    engine.docker("container", "prune", "-f")
    assert engine.out("ps", "-a", "--format", "{{.Names}}").split() == ["kept"]


def test_the_socket_is_for_its_group_only(engine: EngineServer) -> None:
    assert os.stat(engine.socket).st_mode & 0o777 == 0o660
