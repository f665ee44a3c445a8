"""`sampan dockerd` started by an ordinary user: a throw-away one, without an account."""

from __future__ import annotations

import io
import os
import select
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.engine_server import EngineServer
from tests.real import ROOT, absent, require, require_root

pytestmark = [pytest.mark.real, pytest.mark.root]

USER = 43_210
FIRST, COUNT = 300_000, 65_536
# As in the tests of user namespaces: the daemon sees other files of subordinate ids.
RANGES = """
set -e
mount -t tmpfs etc "$1"; mkdir "$1/up" "$1/work"
mount -t overlay -o "lowerdir=/etc,upperdir=$1/up,workdir=$1/work" etc /etc
printf '%s' "$2" > /etc/subuid; printf '%s' "$2" > /etc/subgid
printf 'thrower:x:43210:43210::/:/bin/sh\\n' >> /etc/passwd
shift 2; exec "$@"
"""


def as_user(environment: dict[str, str]) -> list[str]:
    become = ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups"]
    words = [f"{key}={value}" for key, value in environment.items()]
    # By a shell, so that the daemon is executed by the user and not with a right of root's.
    return [*become, "env", "-i", *words, "sh", "-c", 'exec "$@"', "sh"]


def environment(place: Path) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(place),
        "XDG_RUNTIME_DIR": str(place / "run"),
        "XDG_DATA_HOME": str(place / "share"),
        "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), *filter(os.path.isdir, sys.path)]),
    }


def interpreter(words: list[str]) -> str:
    """A Python that the user may execute and that finds the same packages."""
    for python in (sys.executable, shutil.which("python3", path="/usr/bin:/usr/local/bin")):
        command = [*words, str(python), "-c", "import sampan.cli.main, uvloop, lmdb"]
        if python and subprocess.run(command, capture_output=True, check=False).returncode == 0:
            return python
    absent("needs an interpreter that an ordinary user may execute")


@pytest.fixture(scope="module", params=["one id", "many ids"])
def rootless(request: pytest.FixtureRequest) -> Iterator[EngineServer]:
    require_root()
    many = request.param == "many ids"
    if many:
        require("newuidmap")
    # Below a directory that the user may enter: those of the other tests are root's alone.
    place = Path(tempfile.mkdtemp(prefix="rootless-"))
    for folder in (place, place / "run", place / "share"):
        folder.mkdir(exist_ok=True)
        os.chown(folder, USER, USER)
    (place / "etc").mkdir()
    words = as_user(environment(place))
    python = interpreter(words)
    if many:
        ranges = f"thrower:{FIRST}:{COUNT}\n"
        shell = ["unshare", "--mount", "--propagation", "private", "sh", "-c", RANGES, "sh"]
        words = [*shell, str(place / "etc"), ranges, *words]
    server = EngineServer(place, prefix=words, python=python)
    try:
        server.start()
    except RuntimeError:
        shutil.rmtree(place)
        if "lets users make user namespaces" in server.text():
            absent("this kernel lets nobody but root make user namespaces")
        raise
    try:
        server.load()
        yield server
        server.clear()
    finally:
        server.stop()
        shutil.rmtree(place)


@pytest.fixture
def engine(rootless: EngineServer) -> Iterator[EngineServer]:
    yield rootless
    rootless.clear()


def many(engine: EngineServer) -> bool:
    return "only one user" not in engine.text()


def test_a_container_of_an_ordinary_user(engine: EngineServer) -> None:
    script = "id -u; touch /new; rm -r /data; mkdir /data; ls -A /data; cat /proc/self/uid_map"
    words = engine.run("busybox", "sh", "-c", script).split()
    assert words[:4] == ["0", "0", str(USER), "1"]
    assert len(words) == (7 if many(engine) else 4)


def test_its_processes_are_the_user_s(engine: EngineServer) -> None:
    engine.docker(
        "run", "-d", "--network", "none", "--init", "--name", "mine", "busybox", "sleep", "600"
    )
    pid = engine.out("inspect", "-f", "{{.State.Pid}}", "mine").strip()
    assert f"Uid:\t{USER}\t{USER}" in Path(f"/proc/{pid}/status").read_text()
    assert engine.out("exec", "-t", "mine", "tty").strip() == "/dev/pts/0"
    assert "sleep 600" in engine.out("top", "mine")
    assert (
        engine.out("exec", "-i", "mine", "sh", "-c", "cat > /f; wc -c < /f", stdin=b"abc") == "3\n"
    )
    assert engine.docker("cp", "mine:/f", "-").stdout
    engine.docker("restart", "-t", "0", "mine")
    assert os.stat(engine.socket).st_uid == USER


def test_volumes_networks_and_terminals(engine: EngineServer) -> None:
    assert engine.run("-v", "vol:/data", "busybox", "cat", "/data/seed") == "from the image\n"
    engine.docker("volume", "rm", "vol")
    shared = engine.docker("run", "--rm", "--network", "host", "busybox", "hostname").stdout
    assert shared.decode().strip() == os.uname().nodename
    assert engine.run("-t", "busybox", "tty").strip() == "/dev/pts/0"
    script = "mount -t tmpfs x /tmp && echo mounted"
    assert engine.run("--privileged", "busybox", "sh", "-c", script) == "mounted\n"


def test_other_users(engine: EngineServer) -> None:
    words = ("run", "--rm", "--network", "none", "--user", "bob", "busybox", "id", "-u")
    done = engine.docker(*words, check=False)
    if many(engine):
        assert done.stdout == b"1000\n"
    else:
        assert b"more ids come from /etc/subuid and /etc/subgid" in done.stderr


def test_files_of_other_users(engine: EngineServer) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        member = tarfile.TarInfo("of-bob")
        member.uid, member.gid = 1000, 50
        tar.addfile(member)
    done = engine.docker("import", "-", "foreign", stdin=buffer.getvalue(), check=False)
    if many(engine):
        engine.docker("rmi", "foreign")
    else:
        assert b"user 1000, group 50: a daemon without root has more ids" in done.stderr


def test_what_it_cannot_do_is_said(engine: EngineServer) -> None:
    bridge = engine.docker("run", "--rm", "-p", "80", "busybox", "true", check=False)
    assert b"bridge networks and published ports need a daemon with root" in bridge.stderr
    network = engine.docker("network", "create", "mine", check=False)
    assert b"need a daemon with root" in network.stderr
    limited = engine.docker(*"run --rm --network none -m 32m busybox true".split())
    assert b"does not support memory limit capabilities" in limited.stderr
    engine.docker("run", "-d", "--network", "none", "--name", "runs", "busybox", "sleep", "600")
    paused = engine.docker("pause", "runs", check=False)
    assert b"cannot freeze processes" in paused.stderr


def test_a_killed_shim_takes_its_container_along(engine: EngineServer) -> None:
    engine.docker("run", "-d", "--network", "none", "--name", "held", "busybox", "sleep", "600")
    pid = int(engine.out("inspect", "-f", "{{.State.Pid}}", "held"))
    container = os.pidfd_open(pid)
    shim = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1]
    os.kill(int(shim), signal.SIGKILL)
    assert engine.out("wait", "held") == "137\n"
    assert select.select([container], [], [], 10)[0]
    os.close(container)


def test_containers_outlive_the_daemon(engine: EngineServer) -> None:
    engine.docker("run", "-d", "--network", "none", "--name", "tough", "busybox", "sleep", "600")
    pid = engine.out("inspect", "-f", "{{.State.Pid}}", "tough")
    engine.kill()
    engine.start()
    assert engine.out("inspect", "-f", "{{.State.Pid}}", "tough") == pid
    assert engine.docker("exec", "tough", "true").returncode == 0


def test_an_image_is_built(engine: EngineServer, tmp_path: Path) -> None:
    text = (
        "FROM busybox AS tools\nWORKDIR /made\nCOPY a .\nRUN echo ran >> a\n"
        "FROM busybox\nCOPY --from=tools --chmod=600 /made/a /\nRUN --network=none cat /a > /b\n"
        "RUN --mount=type=cache,target=/c --mount=type=tmpfs,target=/t "
        "touch /c/x /t/y && id -u >> /b\n"
    )
    (tmp_path / "Dockerfile").write_text(text)
    (tmp_path / "a").write_text("sent\n")
    words = ("build", "-t", "made", str(tmp_path))
    engine.docker(*words, env={"DOCKER_BUILDKIT": "0"})
    assert engine.run("made", "cat", "/b") == "sent\nran\n0\n"
    again = engine.docker(*words, env={"DOCKER_BUILDKIT": "0"})
    assert again.stdout.count(b"Using cache") == 6
    owned = "FROM busybox\nCOPY --chown=1000:50 a /\nRUN --network=none stat -c %u:%g /a > /b\n"
    (tmp_path / "Dockerfile").write_text(owned)
    done = engine.docker(*words, check=False, env={"DOCKER_BUILDKIT": "0"})
    if many(engine):
        assert engine.run("made", "cat", "/b") == "1000:50\n"
    else:
        assert b"a daemon without root has more ids" in done.stdout + done.stderr
    engine.docker("rmi", "-f", "made")
