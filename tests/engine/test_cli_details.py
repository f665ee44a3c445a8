"""What the docker command line shows its users, in details that scripts depend on."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.engine_server import EngineServer
from tests.real import require

pytestmark = [pytest.mark.real, pytest.mark.root]

_RUN = ("run", "--rm", "--network", "none")


@pytest.fixture
def box(engine: EngineServer) -> Iterator[str]:
    name = "detail"
    engine.docker("run", "-d", "--network", "none", "--name", name, "busybox", "sleep", "600")
    yield name
    engine.docker("rm", "-f", name)


def test_changes_of_a_commit_are_instructions_over_the_containers_configuration(
    engine: EngineServer, box: str
) -> None:
    lines = (
        "ENV A=b C=d", "EXPOSE 80 90/udp", "LABEL a=b", "VOLUME /v", "WORKDIR /w", "USER bob",
        "ONBUILD RUN true", 'HEALTHCHECK --retries=2 CMD ["true"]', "ENTRYPOINT echo $A",
    )  # fmt: skip
    words = [word for line in lines for word in ("-c", line)]
    engine.docker("commit", *words, "-m", "why", "-a", "who", box, "changed:1")
    try:
        (found,) = json.loads(engine.out("image", "inspect", "changed:1"))
        config = found["Config"]
        assert config["Env"] == ["A=b", "C=d", "PATH=/bin"]
        assert set(config["ExposedPorts"]) == {"80/tcp", "90/udp"}
        assert (config["Labels"], config["Volumes"]) == ({"a": "b"}, {"/v": {}})
        assert (config["WorkingDir"], config["User"]) == ("/w", "bob")
        assert config["OnBuild"] == ["RUN true"]
        assert config["Healthcheck"] == {"Test": ["CMD", "true"], "Retries": 2}
        assert config["Entrypoint"] == ["/bin/sh", "-c", "echo $A"]
        # The container's command was one for its own entry point.
        assert not config.get("Cmd")
        assert (found["Comment"], found["Author"]) == ("why", "who")
    finally:
        engine.docker("rmi", "changed:1")
    for line in ("RUN true", "FOO", "COPY a b"):
        failed = engine.docker("commit", "-c", line, box, check=False)
        word = line.split()[0].lower()
        assert f"{word} is not a valid change command" in failed.stderr.decode()


def test_a_user_that_is_not_there_is_told_in_dockers_own_words(
    engine: EngineServer, box: str
) -> None:
    words = "unable to find user nosuch: no matching entries in passwd file"
    failed = engine.docker(*_RUN, "-u", "nosuch", "busybox", "id", check=False)
    assert (failed.returncode, failed.stderr.decode().splitlines()[0]) == (
        125,
        f"docker: Error response from daemon: {words}",
    )
    failed = engine.docker("exec", "-u", "nosuch", box, "id", check=False)
    assert (failed.returncode, (failed.stdout + failed.stderr).decode().strip()) == (126, words)


def test_the_mark_of_a_container_and_its_environments_order(engine: EngineServer) -> None:
    (line,) = engine.out(*_RUN, "busybox", "ls", "/.dockerenv").split()
    assert line == "/.dockerenv"
    first = engine.out(*_RUN, "-e", "A=1", "busybox", "env").split()[:3]
    assert (first[0], first[1].partition("=")[0], first[2]) == ("PATH=/bin", "HOSTNAME", "A=1")


def test_a_namespace_of_a_container_that_is_not_there_does_not_make_the_client_pull(
    engine: EngineServer,
) -> None:
    for option in ("--network", "--pid", "--ipc"):
        words = ("run", "--rm", option, "container:nosuch", "busybox", "true")
        failed = engine.docker(*words, check=False).stderr.decode()
        assert "No such container: nosuch" in failed
        assert "Unable to find image" not in failed


def test_options_of_tmpfs_that_there_are_not(engine: EngineServer) -> None:
    for option in ("bogus", "size", "ro=1", "nosuch=2"):
        failed = engine.docker(*_RUN, "--tmpfs", f"/t:{option}", "busybox", "true", check=False)
        shown = " ".join(f'"{part}"' for part in option.split("="))
        assert f"invalid tmpfs option [{shown}]" in failed.stderr.decode()
    assert engine.out("ps", "-aq") == ""


def test_an_answer_does_not_overtake_a_small_body(engine: EngineServer, tmp_path: Path) -> None:
    (tmp_path / "some").mkdir()
    for number in range(20):
        (tmp_path / "some" / str(number)).write_bytes(bytes(4096))
    failed = engine.docker("cp", str(tmp_path / "some"), "nosuch:/tmp", check=False)
    assert failed.stderr == b"Error response from daemon: No such container: nosuch\n"


def test_a_container_that_waits_for_its_next_start(engine: EngineServer) -> None:
    words = (
        "run",
        "-d",
        "--network",
        "none",
        "--restart",
        "always",
        "--name",
        "flapping",
        "busybox",
    )
    engine.docker(*words, "false")
    try:
        filters = ("--filter", "container=flapping", "--filter", "event=die")
        docker = [str(require("docker")), "-H", engine.url]
        with subprocess.Popen(
            [*docker, "events", "--since", "1", *filters], stdout=subprocess.PIPE
        ) as events:
            assert events.stdout is not None
            for _ in range(5):  # the next wait is long enough to look
                events.stdout.readline()
            events.kill()
        shown = "{{.State.Status}} {{.State.Running}} {{.State.Restarting}} {{.State.Pid}}"
        assert engine.out("inspect", "-f", shown, "flapping") == "restarting true true 0\n"
        assert "flapping" in engine.out("ps", "-s", "--format", "{{.Names}} {{.Size}}")
        for asked in (("exec", "flapping", "true"), ("pause", "flapping")):
            refused = engine.docker(*asked, check=False).stderr.decode()
            assert "is restarting, wait until the container is running" in refused
        engine.docker("kill", "flapping")
        assert engine.out("inspect", "-f", shown, "flapping") == "exited false false 0\n"
    finally:
        engine.docker("rm", "-f", "flapping")


def test_mounts_come_and_go_only_where_the_host_shares_them(
    engine: EngineServer, tmp_path: Path
) -> None:
    place = tmp_path / "of the host"
    place.mkdir()
    mount = str(require("mount"))
    subprocess.run([mount, "-t", "tmpfs", "tmpfs", str(place)], check=True)
    try:
        subprocess.run([mount, "--make-private", str(place)], check=True)
        for word, kinds in (("shared", "shared"), ("rslave", "shared or slave")):
            bind = f"type=bind,src={place},dst=/m,bind-propagation={word}"
            failed = engine.docker(*_RUN, "--mount", bind, "busybox", "true", check=False)
            told = f"path {place} is mounted on {place} but it is not a {kinds} mount"
            assert told in failed.stderr.decode()
        subprocess.run([mount, "--make-shared", str(place)], check=True)
        for word in ("shared", "rslave", "rprivate"):
            bind = f"type=bind,src={place},dst=/m,bind-propagation={word}"
            engine.docker(*_RUN, "--mount", bind, "busybox", "true")
    finally:
        subprocess.run([str(require("umount")), str(place)], check=True)


def test_what_a_container_goes_through_is_told(engine: EngineServer) -> None:
    engine.docker("run", "-d", "--network", "none", "--name", "told", "busybox", "sleep", "600")
    engine.docker("update", "-m", "64m", "--memory-swap", "-1", "told")
    # A limit of memory below no limit of swap contradicts nothing but a new limit of memory.
    engine.docker("update", "--cpu-shares", "512", "told")
    engine.docker("exec", "told", "true")
    engine.docker("commit", "-m", "why", "told", "told:1")
    engine.docker("rename", "told", "told2")
    engine.docker("rm", "-f", "told2")
    engine.docker("rmi", "told:1")
    shown = "{{.Type}} {{.Action}} {{.Actor.Attributes.name}}"
    words = ("events", "--since", "1", "--until=-1s", "--format", shown)
    lines = engine.out(*words, "--filter", "container=told").splitlines()
    assert [line.removeprefix("container ") for line in lines] == [
        *("create told", "start told", "update told", "update told"),
        *("exec_create: true  told", "exec_start: true  told", "exec_die told"),
        *("pause told", "commit told", "unpause told", "rename told2"),
        *("kill told2", "die told2", "destroy told2"),
    ]
    tagged = engine.out(*words, "--filter", "image=told:1", "--filter", "event=tag")
    assert tagged == "image tag told:1\n"


def test_a_slash_at_the_end_follows_a_link(engine: EngineServer, box: str, tmp_path: Path) -> None:
    engine.docker("exec", box, "ln", "-s", "/data", "/tmp/link")
    engine.docker("cp", f"{box}:/tmp/link/", str(tmp_path / "copy"))
    assert (tmp_path / "copy").is_dir() and not (tmp_path / "copy").is_symlink()
    assert (tmp_path / "copy" / "seed").read_text() == "from the image\n"


def test_a_file_is_not_mounted_on_a_directory(engine: EngineServer) -> None:
    failed = engine.docker(*_RUN, "-v", "/etc/hostname:/data", "busybox", "true", check=False)
    said = failed.stderr.decode()
    assert "not a directory" in said.lower()
    assert "Are you trying to mount a directory onto a file (or vice-versa)?" in said


def test_images_stay_for_what_runs_and_what_is_built_upon_them(
    engine: EngineServer, box: str
) -> None:
    engine.docker("commit", box, "base:1")
    id_ = engine.out("inspect", "-f", "{{.Id}}", "base:1").strip()
    engine.docker("run", "-d", "--network", "none", "--name", "user", "base:1", "sleep", "600")
    try:
        refused = engine.docker("rmi", "base:1", check=False).stderr.decode()
        assert "(must force)" in refused
        assert engine.out("rmi", "-f", "base:1") == "Untagged: base:1\n"
        assert engine.out("exec", "user", "cat", "/data/seed") == "from the image\n"
        engine.docker("tag", id_, "base:1")
        engine.docker("commit", "user", "above:1")
    finally:
        engine.docker("rm", "-f", "user")
    refused = engine.docker("rmi", "-f", id_, check=False).stderr.decode()
    assert "(cannot be forced) - image has dependent child images" in refused
    assert engine.out("rmi", "base:1") == "Untagged: base:1\n"
    assert id_ not in engine.out("images", "-q", "--no-trunc").split()
    assert id_ in engine.out("images", "-aq", "--no-trunc").split()
    assert engine.out("image", "inspect", "-f", "{{.Parent}}", "above:1").strip() == id_
    assert f"Deleted: {id_}" in engine.out("rmi", "above:1").splitlines()
