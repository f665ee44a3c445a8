"""`--userns-remap`: containers whose root is nobody on the host, their files unchanged on disk."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.engine_server import EngineServer, busybox_root
from tests.netns import NetworkNamespace
from tests.real import require_root

from sampan.base.errors import InvalidError
from sampan.engine.daemon.core.subordinate import ranges_of
from sampan.engine.daemon.shell.remap import remapped_ids

FIRST, COUNT = 200_000, 65_536
SUBORDINATE = f"# a comment\nother:1:2\ndockremap:{FIRST}:{COUNT}\nbroken:x:y\n"
# The files of subordinate ids belong to the machine: the daemon sees others in their place.
PREFIX = """
set -e
mount -t tmpfs etc "$1"; mkdir "$1/up" "$1/work"
mount -t overlay -o "lowerdir=/etc,upperdir=$1/up,workdir=$1/work" etc /etc
printf '%s' "$2" > /etc/subuid; printf '%s' "$2" > /etc/subgid
shift 2; exec "$@"
"""


def test_ranges_of_a_user() -> None:
    assert ranges_of(SUBORDINATE, ["dockremap"]) == ((FIRST, COUNT),)
    assert ranges_of("a:5:1\n1000:9:2\na:1:3\n", ["a", "1000"]) == ((1, 3), (5, 1), (9, 2))
    assert ranges_of("a:-1:5\na:1:0\n:::\n", ["a", ""]) == ()


def test_what_cannot_be_remapped(tmp_path: Path) -> None:
    empty, given = tmp_path / "empty", tmp_path / "given"
    empty.touch()
    given.write_text(SUBORDINATE)
    assert remapped_ids("", empty, empty) is None
    with pytest.raises(InvalidError, match='no subgid ranges found for user "dockremap"'):
        remapped_ids("default", given, empty)
    with pytest.raises(InvalidError, match="error during uid lookup"):
        remapped_ids("no-such-user", given, given)
    with pytest.raises(InvalidError, match="the root user"):
        remapped_ids("root", given, given)
    found = remapped_ids("default", given, given)
    assert found is not None
    assert found.root == (FIRST, FIRST)
    assert found.sections()["uidMappings"] == [{"containerID": 0, "hostID": FIRST, "size": COUNT}]


@pytest.fixture(scope="module")
def mapped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EngineServer]:
    require_root()
    place = tmp_path_factory.mktemp("mapped")
    (place / "etc").mkdir()
    shell = ("unshare", "--mount", "--propagation", "private", "sh", "-c", PREFIX, "sh")
    prefix = (*shell, str(place / "etc"), SUBORDINATE)
    netns = NetworkNamespace.make()
    server = EngineServer(place, ("--userns-remap=default",), prefix, netns=netns.path)
    try:
        server.start().load()
        yield server
        server.clear()
    finally:
        server.stop()
        netns.close()


@pytest.fixture
def engine(mapped: EngineServer) -> Iterator[EngineServer]:
    yield mapped
    mapped.clear()


def data(engine: EngineServer) -> Path:
    return engine.place / "data" / f"{FIRST}.{FIRST}"


def owner(path: Path) -> tuple[int, int]:
    found = path.lstat()
    return found.st_uid, found.st_gid


@pytest.mark.root
@pytest.mark.real
def test_root_inside_is_nobody_outside(engine: EngineServer) -> None:
    engine.docker("run", "-d", "--network", "none", "--name", "low", "busybox", "sleep", "600")
    assert engine.out("exec", "low", "id", "-u") == "0\n"
    maps = engine.out("exec", "low", "cat", "/proc/self/uid_map")
    assert maps.split() == ["0", str(FIRST), str(COUNT)]
    pid = engine.out("inspect", "-f", "{{.State.Pid}}", "low").strip()
    status = Path(f"/proc/{pid}/status").read_text()
    assert f"Uid:\t{FIRST}\t{FIRST}" in status
    assert engine.out("exec", "-u", "bob", "low", "id", "-u") == "1000\n"
    assert engine.out("exec", "-t", "low", "tty").strip() == "/dev/pts/0"
    assert "userns" in engine.out("info", "-f", "{{.SecurityOptions}}")


@pytest.mark.root
@pytest.mark.real
def test_layers_are_shown_with_mapped_owners_and_not_changed(engine: EngineServer) -> None:
    script = "touch /new; chown bob:staff /new; rm /data/seed; stat -c %u:%g /bin/busybox /new"
    engine.docker("create", "--network", "none", "--name", "made", "busybox", "sh", "-c", script)
    assert engine.out("start", "-a", "made").split() == ["0:0", "1000:50"]
    id_ = engine.out("inspect", "-f", "{{.Id}}", "made").strip()
    upper = next((data(engine) / "images").rglob(f"{id_}/upper"))
    assert owner(upper / "new") == (1000, 50)
    assert engine.out("diff", "made").splitlines() == ["C /data", "D /data/seed", "A /new"]
    engine.docker("commit", "made", "again")
    shown = engine.run("again", "stat", "-c", "%u:%g", "/new")
    assert shown == "1000:50\n"
    engine.docker("rm", "made")
    engine.docker("rmi", "again")


@pytest.mark.root
@pytest.mark.real
def test_volumes_are_mapped_and_directories_of_the_host_are_not(
    engine: EngineServer, tmp_path: Path
) -> None:
    script = "stat -c %u /data /data/seed; touch /data/x; stat -c %u /host; touch /host/x"
    words = ("-v", "vol:/data", "-v", f"{tmp_path}:/host", "busybox", "sh", "-c", script)
    done = engine.docker("run", "--rm", "--network", "none", *words, check=False)
    assert done.stdout.split() == [b"0", b"0", b"65534"]
    assert b"Permission denied" in done.stderr
    assert owner(data(engine) / "volumes" / "vol" / "_data" / "x") == (0, 0)
    engine.docker("volume", "rm", "vol")


@pytest.mark.root
@pytest.mark.real
def test_files_are_copied_with_the_container_s_owners(engine: EngineServer, tmp_path: Path) -> None:
    (tmp_path / "in").write_text("sent")
    os.chown(tmp_path / "in", 1000, 50)
    engine.docker("run", "-d", "--network", "none", "--name", "copied", "busybox", "sleep", "600")
    for _ in range(2):  # running, then stopped
        engine.docker("cp", "-a", str(tmp_path / "in"), "copied:/tmp/in")
        with tarfile.open(
            fileobj=io.BytesIO(engine.docker("cp", "copied:/tmp", "-").stdout)
        ) as tar:
            found = {member.name: (member.uid, member.gid) for member in tar}
        assert found["tmp/in"] == (1000, 50)
        assert found["tmp"] == (0, 0)
        engine.docker("stop", "-t", "0", "copied")
    engine.docker("start", "copied")
    assert engine.out("exec", "copied", "stat", "-c", "%u:%g", "/tmp/in") == "1000:50\n"
    os.chown(tmp_path / "in", COUNT, 0)
    refused = engine.docker("cp", "-a", str(tmp_path / "in"), "copied:/tmp/in", check=False)
    assert b"is not mapped" in refused.stderr


@pytest.mark.root
@pytest.mark.real
def test_a_bridge_network_and_its_ports(engine: EngineServer) -> None:
    serve = "mkdir /www; echo hello > /www/index.html; exec httpd -f -h /www"
    engine.docker("network", "create", "own")
    engine.docker("run", "-d", "--network", "own", "--name", "web", "busybox", "sh", "-c", serve)
    script = "until wget -qO- http://web; do :; done; ls /sys/class/net"
    shown = engine.out("run", "--rm", "--network", "own", "busybox", "sh", "-c", script)
    assert shown.split() == ["hello", "eth0", "lo"]
    joined = engine.out("run", "--rm", "--network", "container:web", "busybox", "ip", "address")
    assert "eth0" in joined
    engine.docker("rm", "-f", "web")
    engine.docker("network", "rm", "own")


@pytest.mark.root
@pytest.mark.real
def test_namespaces_of_another_container(engine: EngineServer) -> None:
    words = ("--ipc", "shareable", "--name", "donor", "busybox", "sleep", "600")
    engine.docker("run", "-d", "--network", "none", *words)
    engine.docker("exec", "donor", "touch", "/dev/shm/theirs")
    owner = engine.out("exec", "donor", "readlink", "/proc/self/ns/user").strip()
    script = "readlink /proc/self/ns/user; ls /dev/shm; echo x > /dev/shm/mine; touch /new"
    for kind in ("ipc", "pid", "network"):
        other = () if kind == "network" else ("--network", "none")
        start = ("run", "--rm", *other, f"--{kind}", "container:donor", "busybox", "sh", "-c")
        shown = engine.out(*start, script).split()
        assert shown == [owner, *(["theirs"] if kind == "ipc" else [])]
    assert engine.out("exec", "donor", "ls", "/dev/shm").split() == ["mine", "theirs"]


@pytest.mark.root
@pytest.mark.real
def test_devices_and_limits(engine: EngineServer) -> None:
    words = "--device /dev/zero:/dev/other --ulimit nofile=64:128 --oom-score-adj 300".split()
    script = "head -c 3 /dev/other | wc -c; ulimit -n; cat /proc/self/oom_score_adj"
    assert engine.run(*words, "busybox", "sh", "-c", script).split() == ["3", "64", "300"]
    assert engine.run("-t", "busybox", "tty").strip() == "/dev/pts/0"


@pytest.mark.root
@pytest.mark.real
@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--privileged", "privileged mode is incompatible with user namespaces"),
        ("--network=host", "cannot share the host's network namespace"),
        ("--pid=host", "cannot share the host PID namespace"),
    ],
)
def test_the_host_s_own_is_refused(engine: EngineServer, flag: str, message: str) -> None:
    words = ("run", "--rm", flag, *(() if "network" in flag else ("--network", "none")))
    done = engine.docker(*words, "busybox", "true", check=False)
    assert message in done.stderr.decode()
    shown = engine.docker(*words, "--userns", "host", "busybox", "cat", "/proc/self/uid_map")
    assert shown.stdout.split() == [b"0", b"0", b"4294967295"]


@pytest.mark.root
@pytest.mark.real
def test_nothing_stays(engine: EngineServer) -> None:
    engine.docker("run", "-d", "--network", "none", "--name", "brief", *("busybox", "sleep", "600"))
    engine.docker("restart", "-t", "0", "brief")
    engine.docker("rm", "-f", "brief")
    assert not list((engine.place / "exec" / "containers").iterdir())
    assert str(engine.place / "exec") not in Path("/proc/self/mountinfo").read_text()


IDMAP = """
import sys
from sampan.engine.runtime.core.plan import plan
from sampan.engine.runtime.core.spec import parse_spec
from sampan.engine.runtime.shell import launch
mapping = [{"containerID": 0, "hostID": 5000, "size": 10}]
mount = {"destination": "/shown", "type": "bind", "source": sys.argv[2],
         "options": ["bind", "idmap"], "uidMappings": mapping, "gidMappings": mapping}
spec = parse_spec({
    "ociVersion": "1.2.0", "root": {"path": sys.argv[1]}, "mounts": [mount],
    "process": {"args": ["/bin/stat", "-c", "%u:%g", "/shown/file"]},
    "linux": {"namespaces": [{"type": "mount"}, {"type": "pid"}]}})
launched = launch.create(plan(spec), launch.Stdio(0, 1, 2))
launched.start()
import os
os.waitpid(launched.pid, 0)
"""


@pytest.mark.root
def test_a_mount_with_id_maps_of_its_own(tmp_path: Path) -> None:
    require_root()
    (tmp_path / "root").mkdir()
    subprocess.run(["tar", "-x", "-C", tmp_path / "root"], input=busybox_root(), check=True)
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "file").touch()
    os.chown(tmp_path / "files" / "file", 3, 4)
    command = [sys.executable, "-c", IDMAP, str(tmp_path / "root"), str(tmp_path / "files")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout == "5003:5004\n", done.stderr
