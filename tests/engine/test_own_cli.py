"""Our own command line against our own daemon; where it can be told, beside Docker's."""

from __future__ import annotations

import io
import json
import os
import pty
import re
import signal
import subprocess
import sys
import tarfile
import termios
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.engine_server import EngineServer, busybox_root
from tests.real import require_docker

pytestmark = [pytest.mark.root]

SAMPAN = str(Path(sys.executable).parent / "sampan")
NONE = ("--network", "none")
TIMEOUT_S = 60


class Own:
    """Our command line, led to one daemon."""

    def __init__(self, engine: EngineServer, home: Path) -> None:
        self.environment = {
            **os.environ,
            "DOCKER_HOST": engine.url,
            "DOCKER_CONFIG": str(home),
            "TZ": "UTC",
        }

    def start(self, *words: str, stdin: int | None = None) -> subprocess.Popen[bytes]:
        """Start a command, with pipes at what it prints."""
        return subprocess.Popen(
            [SAMPAN, *words],
            env=self.environment,
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def call(self, *words: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        """Run a command, however it ends."""
        return subprocess.run(
            [SAMPAN, *words],
            input=stdin,
            capture_output=True,
            env=self.environment,
            timeout=TIMEOUT_S,
            check=False,
        )

    def out(self, *words: str, stdin: bytes = b"") -> str:
        """Run a command that must succeed, and return what it printed."""
        done = self.call(*words, stdin=stdin)
        assert done.returncode == 0, (words, done.stdout, done.stderr)
        return done.stdout.decode()


@pytest.fixture
def own(engine: EngineServer, tmp_path: Path) -> Iterator[Own]:
    yield Own(engine, tmp_path / "home")


def test_run_prints_and_returns_the_exit_code(own: Own) -> None:
    script = "echo out; echo err >&2; exit 3"
    done = own.call("run", "--rm", *NONE, "busybox", "sh", "-c", script)
    assert (done.returncode, done.stdout, done.stderr) == (3, b"out\n", b"err\n")
    assert own.out("ps", "-aq") == ""


@pytest.mark.parametrize(
    ("words", "code"),
    [(("nosuch",), 127), (("/etc",), 126), (("/etc/passwd",), 126)],
    ids=["missing", "directory", "not executable"],
)
def test_a_command_that_cannot_run(
    own: Own, engine: EngineServer, words: tuple[str, ...], code: int
) -> None:
    done = own.call("run", "--rm", *NONE, "busybox", *words)
    theirs = engine.docker("run", "--rm", *NONE, "busybox", *words, check=False)
    assert (done.returncode, theirs.returncode) == (code, code)
    assert done.stderr == _said(theirs.stderr)


def test_input_and_output_of_any_size(own: Own) -> None:
    sent = os.urandom(1 << 20)
    done = own.call("run", "-i", "--rm", *NONE, "busybox", "cat", stdin=sent)
    assert done.stdout == sent
    done = own.call("run", "-i", "--rm", *NONE, "busybox", "true", stdin=sent)
    assert (done.returncode, done.stdout) == (0, b"")


def test_a_missing_image_is_pulled_or_not(own: Own) -> None:
    done = own.call("run", "--pull", "never", *NONE, "127.0.0.1:1/nosuch")
    assert done.returncode == 125
    assert b"No such image: 127.0.0.1:1/nosuch:latest" in done.stderr
    done = own.call("run", *NONE, "127.0.0.1:1/nosuch")
    assert done.returncode == 125
    assert done.stderr.startswith(b"Unable to find image '127.0.0.1:1/nosuch:latest' locally\n")
    assert b"connection refused" in done.stderr


def test_detached_with_an_id_file(own: Own, tmp_path: Path) -> None:
    file = tmp_path / "cid"
    words = ("run", "-d", "--cidfile", str(file), "--name", "web", *NONE, "busybox", "sleep", "60")
    identity = own.out(*words).strip()
    assert file.read_text() == identity
    assert own.call(*words).returncode == 125
    assert own.out("ps", "-q", "--no-trunc") == identity + "\n"
    assert own.out("exec", "-e", "A=b", "-w", "/tmp", "web", "sh", "-c", "echo $A; pwd") == (
        "b\n/tmp\n"
    )
    assert own.out("exec", "-i", "web", "cat", stdin=b"typed") == "typed"
    assert own.call("exec", "web", "sh", "-c", "exit 7").returncode == 7
    assert own.call("exec", "web", "nosuch").returncode == 127
    assert own.out("stop", "-t", "0", "web") == "web\n"
    assert own.out("wait", "web") == "137\n"
    assert own.out("start", "web") == "web\n"
    assert own.out("kill", "web") == "web\n"
    done = own.call("rm", "web", "nosuch")
    assert (done.returncode, done.stdout) == (1, b"web\n")
    assert done.stderr == b"Error response from daemon: No such container: nosuch\n"


def test_an_id_file_does_not_stay_without_a_container(own: Own, tmp_path: Path) -> None:
    file = tmp_path / "cid"
    done = own.call("run", "--cidfile", str(file), "--pull", "never", "nosuch")
    assert done.returncode == 125
    assert not file.exists()


def test_logs_are_followed_to_the_end(own: Own) -> None:
    script = "echo first; read line; echo $line >&2"
    words = ("run", "-i", "--name", "talk", *NONE, "busybox", "sh", "-c", script)
    with own.start(*words, stdin=subprocess.PIPE) as talk:  # fmt: skip
        assert talk.stdin is not None and talk.stdout is not None
        assert talk.stdout.readline() == b"first\n"
        with own.start("logs", "-f", "talk") as log:
            assert log.stdout is not None
            assert log.stdout.readline() == b"first\n"
            talk.stdin.write(b"last\n")
            talk.stdin.close()
            assert log.communicate(timeout=TIMEOUT_S) == (b"", b"last\n")
        assert talk.wait(TIMEOUT_S) == 0
    stamped = own.out("logs", "-t", "--tail", "1", "talk")
    assert own.out("logs", "--since", "2099-01-01T00:00:00Z", "talk") == stamped == ""


def test_signals_are_handed_on(own: Own) -> None:
    script = "trap 'echo told; exit 9' TERM; echo ready; while true; do sleep 0.02; done"
    with own.start("run", "--rm", *NONE, "busybox", "sh", "-c", script) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(signal.SIGTERM)
        assert process.stdout.readline() == b"told\n"
        assert process.wait(TIMEOUT_S) == 9


class Terminal:
    """A command with a terminal of its own."""

    def __init__(self, own: Own, *words: str, rows: int = 33, columns: int = 77) -> None:
        self.master, slave = pty.openpty()
        termios.tcsetwinsize(slave, (rows, columns))
        self.process = subprocess.Popen(
            [SAMPAN, *words],
            stdin=slave, stdout=slave, stderr=slave, env=own.environment, start_new_session=True,
        )  # fmt: skip
        os.close(slave)
        self.seen = b""

    def type(self, text: str) -> None:
        """Type."""
        os.write(self.master, text.encode())

    def until(self, words: str) -> bytes:
        """Read until the words come; returns what came before them."""
        while words.encode() not in self.seen:
            try:
                self.seen += os.read(self.master, 4096)
            except OSError:
                # The other side has ended.
                raise AssertionError(f"{words!r} did not come: {self.seen!r}") from None
        before, _, self.seen = self.seen.partition(words.encode())
        return before

    def end(self) -> int:
        """Wait for the end; returns the exit code."""
        try:
            while os.read(self.master, 4096):
                pass
        except OSError:
            pass
        os.close(self.master)
        return self.process.wait(TIMEOUT_S)


def test_a_terminal_has_size_keys_and_an_exit_code(own: Own) -> None:
    terminal = Terminal(own, "run", "-it", "--rm", *NONE, "busybox", "sh")
    terminal.until("# ")
    terminal.type("stty size; tty\r")
    terminal.until("33 77")
    terminal.until("/dev/pts/0")
    termios.tcsetwinsize(terminal.master, (20, 50))
    terminal.process.send_signal(signal.SIGWINCH)
    terminal.type("until [ \"$(stty size)\" = '20 50' ]; do sleep 0.02; done; echo big''ger\r")
    terminal.until("bigger")
    terminal.type("sh -c 'echo be\"\"gun; exec sleep 100'\r")
    terminal.until("begun")
    terminal.type("\x03")
    terminal.until("# ")
    terminal.type("exit 5\r")
    assert terminal.end() == 5


def test_the_detach_keys_leave_it_running(own: Own) -> None:
    terminal = Terminal(own, "run", "-it", "--name", "kept", *NONE, "busybox", "sh")
    terminal.until("# ")
    terminal.type("\x10\x11")
    assert terminal.end() == 0
    assert own.out("inspect", "-f", "{{.State.Running}}", "kept") == "true\n"
    terminal = Terminal(own, "attach", "--detach-keys", "ctrl-a,b", "kept")
    terminal.type("echo he''re\r")
    terminal.until("here")
    terminal.type("\x01b")
    assert terminal.end() == 0
    terminal = Terminal(own, "exec", "-it", "kept", "sh")
    terminal.until("# ")
    terminal.type("exit 6\r")
    assert terminal.end() == 6
    done = own.call("exec", "-it", "kept", "sh")
    assert (done.returncode, done.stderr) == (1, b"the input device is not a TTY\n")


def test_the_terminal_is_as_before(own: Own) -> None:
    master, slave = pty.openpty()
    before = termios.tcgetattr(slave)
    process = subprocess.Popen(
        [SAMPAN, "run", "-it", "--rm", *NONE, "busybox", "true"],
        stdin=slave, stdout=slave, stderr=slave, env=own.environment, start_new_session=True,
    )  # fmt: skip
    assert process.wait(TIMEOUT_S) == 0
    assert termios.tcgetattr(slave) == before
    os.close(slave)
    os.close(master)


def test_start_with_its_streams(own: Own) -> None:
    own.out("create", "-i", "--name", "again", *NONE, "busybox", "sh", "-c", "cat; exit 4")
    done = own.call("start", "-ai", "again", stdin=b"heard")
    assert (done.returncode, done.stdout) == (4, b"heard")
    assert own.out("logs", "again") == "heard"


LISTS = (
    "inspect -f {{.State.Health}}:{{.HostConfig.Binds}}:{{.Config.ExposedPorts}} one two",
    "inspect -f {{.HostConfig.PidsLimit}}:{{.Config.Entrypoint}}:{{.HostConfig.Tmpfs}} one two",
    "inspect -f {{if\\ .State.Health}}a{{else}}b{{end}}:{{.Config.Labels}}:{{.Config.Volumes}} two",
    "inspect -f {{.HostConfig.PortBindings}}:{{.NetworkSettings.Ports}}:{{.Config.OnBuild}} two",
    "inspect -f {{range\\ .Mounts}}{{.Type}}={{.Destination}},{{end}}:{{.Config.StopSignal}} two",
    r"inspect -f {{index\ .Config.Labels\ \"x\"}}:{{.Config.Healthcheck}}:{{.Args}} two",
    "network inspect -f {{.Labels}}:{{.Options}}:{{.IPAM.Config}} none",
    "volume inspect -f {{.Labels}}:{{.Options}}:{{.Scope}} vol",
    "image inspect -f {{.Config.Entrypoint}}:{{.Config.Volumes}}:{{.Os}}:{{.RepoDigests}} busybox",
    "ps", "ps -a", "ps -as", "ps -aq", "ps -a --no-trunc", "ps -a --format json",
    "ps -a --format {{.ID}}:{{.Names}}:{{.Status}}:{{.Mounts}}:{{.Labels}}",
    r"ps -a --format table\ {{.Names}}\t{{.Image}}\t{{.Label\ \"x\"}}",
    "ps -a --filter name=two", "ps -a --filter label=x=y -q", "container ls -a -n 1",
    "images", "images -q", "images --digests", "images --no-trunc", "images --format json",
    "images busybox", "images nosuch", "image ls -f dangling=true", "history busybox",
    "history --no-trunc busybox", "history -q busybox", "history -H=false busybox",
    "network ls", "network ls -q", "network ls --format json", "network ls -f name=host",
    "volume ls", "volume ls -q", "volume ls --format json", "system df",
    "system df --format {{.Type}}:{{.TotalCount}}", "top two", "diff one", "port two",
    "inspect one two", "inspect -f json one", "inspect one nosuch", "inspect busybox",
    "inspect -f {{.Name}}:{{.State.ExitCode}}:{{.Config.Env}}:{{.HostConfig.Memory}} one two",
    "inspect -f {{json\\ .Config.Cmd}} one", "inspect --type image busybox",
    "container inspect nosuch", "image inspect nosuch", "network inspect none nosuch",
    "volume inspect vol nosuch", "logs one", "logs nosuch", "logs -n 1 one", "wait one",
    "stats --no-stream nosuch", "top nosuch", "exec nosuch true", "exec one true", "attach one",
    "rename one two", "pause one", "unpause one", "kill one", "stop nosuch one", "rm two",
    "rmi busybox", "tag nosuch x", "save nosuch", "history nosuch", "volume rm nosuch vol",
    "network rm none", "commit nosuch", "cp one:/nosuch -", "cp one:/etc/passwd /nosuch/dir/",
    "cp /etc/passwd one:/nodir/", "cp /etc one:/etc/passwd", "info -f {{.Driver}}:{{.Images}}",
    "version -f {{.Server.Version}}:{{.Server.Os}}", "create --name one busybox",
    "run -d --name one busybox", "update -m 1 two", "search x y", "port two 80", "start nosuch",
)  # fmt: skip


@pytest.fixture(scope="module")
def furnished(shared_engine: EngineServer) -> Iterator[EngineServer]:
    """The daemon with two containers and a volume."""
    shared_engine.docker("volume", "create", "vol")
    words = ("run", "--name", "one", *NONE, "-m", "64m", "busybox", "sh", "-c")
    shared_engine.docker(
        *words, "echo a; echo b >&2; touch /new; rm /etc/group; exit 3", check=False
    )
    mounts = ("-v", "vol:/data", "-v", "/tmp:/m:ro")
    name = ("run", "-d", "--name", "two", *NONE, "-l", "x=y", *mounts)
    shared_engine.docker(*name, "busybox", "sleep", "600")
    yield shared_engine
    shared_engine.clear()


@pytest.mark.real
def test_an_id_is_shown_for_each_name(furnished: EngineServer, tmp_path: Path) -> None:
    require_docker(28)
    furnished.docker("tag", "busybox", "again:1")
    try:
        shown = Own(furnished, tmp_path).out("images", "-q")
        (busybox,) = furnished.out("images", "-q", "again:1").split()
        assert shown.split().count(busybox) >= 2
        assert sorted(shown.split()) == sorted(furnished.out("images", "-q").split())
    finally:
        furnished.docker("rmi", "again:1")


@pytest.mark.real
@pytest.mark.parametrize("line", LISTS)
def test_the_same_as_docker_says(furnished: EngineServer, tmp_path: Path, line: str) -> None:
    require_docker(28)
    words = [word.replace("\0", " ") for word in line.replace("\\ ", "\0").split()]
    words = [word.replace('\\"', '"') for word in words]
    own = Own(furnished, tmp_path)
    theirs = furnished.docker(*words, check=False)
    ours = own.call(*words)
    assert (ours.returncode, ours.stderr) == (theirs.returncode, _said(theirs.stderr))
    # Images as old as each other come in any order, also from Docker's command line.
    ordered = sorted if words[0] in ("images", "image") else list
    said, wanted = (_timeless(one.stdout).splitlines() for one in (ours, theirs))
    assert ordered(said) == ordered(wanted)


def _said(text: bytes) -> bytes:
    """What Docker's command line says, with our name, and without what it logs about itself."""
    return re.sub(rb"\bdocker\b", b"sampan", re.sub(rb"^time=.*\n", b"", text, flags=re.M))


def _timeless(text: bytes) -> bytes:
    """The text without ages, which tick between two looks, and the width that they take."""
    ages = rb"(\d+|About an?|Less than a) (second|minute)s?( ago)?|\b\d+:\d\d(:\d\d)?\b"
    return re.sub(rb" +", b" ", re.sub(ages, b"", text))


def test_archives_go_out_and_in(own: Own, tmp_path: Path) -> None:
    saved = tmp_path / "saved.tar"
    assert own.out("save", "-o", str(saved), "busybox") == ""
    assert own.out("load", stdin=saved.read_bytes()) == "Loaded image: busybox:latest\n"
    assert own.out("load", "-i", str(saved)) == "Loaded image: busybox:latest\n"
    own.out("create", "--name", "box", *NONE, "busybox", "sh")
    exported = own.call("export", "box").stdout
    with tarfile.open(fileobj=io.BytesIO(exported)) as archive:
        assert "bin/busybox" in archive.getnames()
    imported = own.out("import", "-c", 'CMD ["x"]', "-", "made:1", stdin=busybox_root())
    assert re.fullmatch(r"sha256:[0-9a-f]{64}\n", imported)
    assert own.out("inspect", "-f", "{{json .Config.Cmd}}", "made:1") == '["x"]\n'
    committed = own.out("commit", "-m", "kept", "-c", "ENV A=b", "box", "made:2")
    assert own.out("images", "-q", "--no-trunc", "made:2") == committed
    own.out("tag", "made:2", "made:3")
    assert own.out("rmi", "made:3") == "Untagged: made:3\n"
    removed = own.out("rmi", "made:1", "made:2")
    assert removed.count("Untagged: ") == 2 and "Deleted: sha256:" in removed


def test_copying_in_and_out(own: Own, engine: EngineServer, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "deep").mkdir(parents=True)
    (tree / "deep/file").write_text("content")
    (tree / "deep/file").chmod(0o640)
    (tree / "link").symlink_to("deep/file")
    own.out("create", "--name", "box", *NONE, "busybox", "sh")
    for source, target in (
        ("tree", "/new"), ("tree", "/tmp"), ("tree/.", "/tmp"), ("tree/deep/file", "/tmp/named"),
    ):  # fmt: skip
        own.out("cp", f"{tmp_path}/{source}", f"box:{target}")
        engine.docker("cp", f"{tmp_path}/{source}", f"box:{target.replace('/tmp', '/etc')}")
    for number, (source, target) in enumerate(
        (
            ("/tmp", "new"), ("/tmp/.", "there"), ("/tmp/link", "."), ("/tmp/named", "there/other"),
            ("/new/", "new2"),
        )
    ):  # fmt: skip
        looks = []
        for program in (own.call, engine.docker):
            here = tmp_path / f"{program.__name__}{number}"
            (here / "there").mkdir(parents=True)
            program("cp", f"box:{source}", f"{here}/{target}")
            looks.append(look(here))
        assert looks[0] == looks[1]
    packed = own.call("cp", "box:/new/deep", "-").stdout
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        assert archive.getnames() == ["deep", "deep/file"]
    own.out("cp", "-", "box:/etc", stdin=packed)
    own.out("cp", "box:/etc/deep/file", str(tmp_path / "back"))
    assert (tmp_path / "back").read_text() == "content"


def look(place: Path) -> list[tuple[str, int, str]]:
    """Every path below with its mode, and its text or where it links to."""
    return sorted(
        (
            str(path.relative_to(place)),
            path.lstat().st_mode,
            os.readlink(path) if path.is_symlink() else path.read_text() if path.is_file() else "",
        )
        for path in place.rglob("*")
    )


def test_volumes_networks_and_events(own: Own) -> None:
    assert own.out("volume", "create", "--label", "a=b", "data") == "data\n"
    assert own.out("volume", "ls", "-q", "-f", "label=a=b") == "data\n"
    found = json.loads(own.out("volume", "inspect", "data"))
    assert found[0]["Labels"] == {"a": "b"}
    own.out("run", "--rm", *NONE, "-v", "data:/d", "busybox", "touch", "/d/file")
    seen = own.out(
        "run", "--rm", *NONE, "--mount", "type=volume,src=data,dst=/m,readonly", "busybox",
        "sh", "-c", "ls /m; touch /m/x 2>/dev/null || echo refused",
    )  # fmt: skip
    assert seen == "file\nrefused\n"
    assert own.out("volume", "rm", "data") == "data\n"
    assert own.out("network", "inspect", "-f", "{{.Driver}}", "host", "none") == "host\nnull\n"
    events = own.out(
        "events", "--since", "1h", "--until", "0s", "-f", "type=volume", "--format",
        "{{.Action}} {{.Actor.ID}}",
    )  # fmt: skip
    assert events.splitlines()[-1] == "destroy data"


def test_changing_containers(own: Own) -> None:
    own.out("run", "-d", "--name", "first", *NONE, "busybox", "sleep", "600")
    own.out("pause", "first")
    assert "(Paused)" in own.out("ps")
    own.out("unpause", "first")
    own.out("rename", "first", "second")
    own.out("update", "-m", "64m", "--memory-swap", "64m", "--restart", "always", "second")
    shown = own.out(
        "inspect", "-f", "{{.HostConfig.Memory}} {{.HostConfig.RestartPolicy.Name}}", "second"
    )
    assert shown == f"{64 << 20} always\n"
    own.out("restart", "-t", "0", "second")
    stats = own.out("stats", "--no-stream", "--format", "{{.Name}} {{.PIDs}}", "second")
    assert stats == "second 1\n"
    assert own.out("rm", "-f", "second", "nosuch") == "second\n"
    own.out("create", "--name", "third", *NONE, "busybox")
    assert own.call("container", "prune", stdin=b"n\n").returncode == 0
    pruned = own.out("container", "prune", stdin=b"y\n")
    assert "Deleted Containers:\n" in pruned and "Total reclaimed space: " in pruned
    assert own.out("ps", "-aq") == ""


def test_without_a_daemon_it_says_how_to_start_one(tmp_path: Path) -> None:
    host = f"unix://{tmp_path}/none.sock"
    for words, code in ((("ps",), 1), (("run", "busybox"), 125)):
        done = subprocess.run(
            [SAMPAN, "-H", host, *words], capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == code
        assert f"Cannot connect to the Docker daemon at {host}." in done.stderr
        assert "sudo sampan dockerd" in done.stderr


def test_building_an_image(own: Own, tmp_path: Path) -> None:
    context = tmp_path / "context"
    (context / "kept").mkdir(parents=True)
    (context / "kept/file").write_text("in\n")
    (context / "left").write_text("out\n")
    (context / ".dockerignore").write_text("*\n!kept\n")
    (context / "Dockerfile").write_text(
        "FROM busybox\nARG WHAT\nCOPY . /copied\nRUN echo $WHAT > /said\nCMD cat /said\n"
    )
    file = tmp_path / "id"
    words = ("build", "-t", "built:1", "--build-arg", "WHAT", "--iidfile", str(file))
    own.environment["WHAT"] = "hello"
    shown = own.out(*words, "--network", "none", str(context))
    assert "Successfully tagged built:1" in shown
    assert own.out("images", "-q", "--no-trunc", "built:1") == file.read_text() + "\n"
    assert own.out("run", "--rm", *NONE, "built:1") == "hello\n"
    listed = own.out("run", "--rm", *NONE, "built:1", "find", "/copied", "-type", "f")
    assert listed == "/copied/kept/file\n"
    quiet = own.out("build", "-q", "-", stdin=b"FROM busybox\nLABEL a=b\n")
    assert own.out("inspect", "-f", "{{json .Config.Labels}}", quiet.strip()) == '{"a":"b"}\n'
    failed = own.call("build", "--network", "none", "-", stdin=b"FROM busybox\nRUN exit 4\n")
    assert failed.returncode != 0
    assert b"returned a non-zero code: 4" in failed.stderr
    own.out("rmi", "built:1", quiet.strip())


def test_what_is_not_supported_yet_says_so(own: Own) -> None:
    done = own.call("system", "df", "--verbose")
    assert done.returncode == 1
    assert done.stderr.startswith(b"system df --verbose is not supported yet")
