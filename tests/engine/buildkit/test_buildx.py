"""The real `docker buildx` against the engine."""

from __future__ import annotations

import io
import json
import re
import signal
import socket
import subprocess
import tarfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.real import require

if TYPE_CHECKING:
    from tests.engine.buildkit.conftest import Buildx

pytestmark = [pytest.mark.real, pytest.mark.root]

HELLO = {
    "Dockerfile": (
        "FROM busybox AS build\nARG WHO=nobody\nWORKDIR /src\nCOPY . .\n"
        'RUN echo building && sed "s/NAME/$WHO/" hello.in > hello\n'
        "FROM busybox\nCOPY --from=build --chmod=755 /src/hello /bin/\n"
        'ENTRYPOINT ["hello"]\n'
    ),
    "hello.in": "#!/bin/sh\necho hello NAME\n",
}


def test_the_default_builder_is_the_engine(buildx: Buildx) -> None:
    listed = buildx.run("ls").stdout.decode()
    assert re.search(r"default\s+running\s+v0\.\d+", listed)
    told = buildx.run("inspect", "default").stdout.decode()
    assert re.search(r"Platforms:\s+linux/", told)


def test_an_image_its_progress_and_what_is_told_of_it(buildx: Buildx, tmp_path: Path) -> None:
    files = (tmp_path / "id", tmp_path / "about.json")
    flags = ("-t", "greeter", "--iidfile", str(files[0]), "--metadata-file", str(files[1]))
    place = tmp_path / "context"
    said = buildx.build(place, HELLO, *flags, "--build-arg", "WHO=ada")
    for line in (
        r"#\d+ \[build 1/4\] FROM docker.io/library/busybox:latest",
        r"#\d+ \[build 3/4\] COPY \. \.",
        r"#\d+ [\d.]+ building",
        r"#\d+ \[stage-1 2/2\] COPY --from=build --chmod=755 /src/hello /bin/",
        r"#\d+ naming to docker.io/library/greeter:latest done",
    ):
        assert re.search(line, said), said
    assert buildx.engine.run("greeter") == "hello ada\n"
    id_ = buildx.engine.out("images", "-q", "--no-trunc", "greeter").strip()
    about = json.loads(files[1].read_text())
    assert files[0].read_text() == about["containerimage.config.digest"] == id_
    assert about["image.name"] == "docker.io/library/greeter:latest"
    again = buildx.build(place, {}, *flags, "--build-arg", "WHO=ada")
    assert again.count("CACHED") == 4
    assert files[0].read_text() == id_


def test_only_what_has_changed_travels(buildx: Buildx, tmp_path: Path) -> None:
    files = {"Dockerfile": "FROM busybox\nCOPY . /in\n", "big": "x" * 3_000_000, "small": "1"}
    files["nodes/ignored"] = "y" * 3_000_000
    files[".dockerignore"] = "# of no use\nnodes\n"

    def travelled(said: str) -> float:
        units = {"B": 1, "kB": 1e3, "MB": 1e6}
        (found,) = re.findall(r"transferring context: ([\d.]+)(k?M?B) [^\n]*done\n#\d+ DONE", said)[
            1:
        ]
        return float(found[0]) * units[found[1]]

    first = buildx.build(tmp_path, files, "-t", "travel")
    assert 3e6 <= travelled(first) < 4e6
    assert travelled(buildx.build(tmp_path, {"small": "2"}, "-t", "travel")) < 1000
    assert buildx.engine.run("travel", "cat", "/in/small") == "2"
    (tmp_path / "small").unlink()
    buildx.build(tmp_path, {}, "-t", "travel")
    assert sorted(buildx.engine.run("travel", "ls", "/in").split()) == ["Dockerfile", "big"]


def test_files_keep_their_kinds_and_modes(buildx: Buildx, tmp_path: Path) -> None:
    place = tmp_path
    (place / "d").mkdir(mode=0o750)
    (place / "d" / "script").write_text("x")
    (place / "d" / "script").chmod(0o4755)
    (place / "d" / "twin").hardlink_to(place / "d" / "script")
    (place / "d" / "link").symlink_to("../outside")
    (place / "d" / "wörd").write_text("y")
    buildx.build(place, {"Dockerfile": "FROM busybox\nCOPY . /in\n"}, "-t", "kinds")
    shown = buildx.engine.run(
        "kinds",
        "stat",
        "-c",
        "%a %N",
        *(f"/in/d{one}" for one in ("", "/script", "/link", "/wörd")),
    )
    assert shown.split("\n")[0].startswith("750 ")
    assert shown.split("\n")[1].startswith("4755 ")
    assert "-> '../outside'" in shown
    assert buildx.engine.run("kinds", "cat", "/in/d/twin", "/in/d/wörd") == "xy"
    (place / "d" / "link").unlink()
    (place / "d" / "link").mkdir()
    (place / "d" / "script").unlink()
    (place / "d" / "script").symlink_to("twin")
    buildx.build(place, {}, "-t", "kinds")
    shown = buildx.engine.run("kinds", "stat", "-c", "%F", "/in/d/link", "/in/d/script")
    assert shown == "directory\nsymbolic link\n"


def test_a_command_that_fails_is_shown_in_its_place(buildx: Buildx, tmp_path: Path) -> None:
    dockerfile = "FROM busybox\nRUN echo fine\nRUN echo words && \\\n  exit 3\nRUN echo never\n"
    said = buildx.refused(tmp_path, {"Dockerfile": dockerfile})
    assert "Dockerfile:3\n" in said
    assert "   3 | >>> RUN echo words && \\\n   4 | >>>   exit 3\n" in said
    assert " > [3/4] RUN echo words && exit 3:\n" in said
    assert 'failed to solve: process "/bin/sh -c echo words &&   exit 3" did not' in said
    assert "did not complete successfully: exit code: 3" in said
    assert "never" not in said.split("---")[0]


@pytest.mark.parametrize(
    ("dockerfile", "words"),
    [
        ("FROM busybox\nRUNN x\n", "dockerfile parse error on line 2: unknown instruction: RUNN"),
        ("FROM busybox\nCOPY gone /\n", '"/gone"'),
        ("FROM busybox\nRUN --mount=type=secret,id=x,required=true true\n", "secret x: not found"),
        ("FROM busybox AS a\n", 'target stage "b" could not be found'),
    ],
)
def test_what_cannot_be(buildx: Buildx, tmp_path: Path, dockerfile: str, words: str) -> None:
    flags = ("--target", "b") if "target" in words else ()
    assert words.strip('"/') in buildx.refused(tmp_path, {"Dockerfile": dockerfile}, *flags)


def test_what_is_not_supported_is_said(buildx: Buildx, tmp_path: Path) -> None:
    files = {"Dockerfile": "FROM busybox\n"}
    assert "ttestations are not supported" in buildx.refused(tmp_path, files, "--sbom=true")
    words = buildx.refused(tmp_path, files, "--output", "type=image,annotation.a=b")
    assert "option annotation.a is not supported yet" in words


def test_secrets_come_from_the_client_and_stay_nowhere(buildx: Buildx, tmp_path: Path) -> None:
    secret = tmp_path / "token"
    secret.write_text("s3cr3t-of-nobody")
    dockerfile = (
        "FROM busybox\nRUN --mount=type=secret,id=token tr a-z A-Z < /run/secrets/token > /shown\n"
        "RUN --mount=type=secret,id=token,env=TOKEN echo ${#TOKEN} >> /shown\n"
    )
    files = {"Dockerfile": dockerfile}
    buildx.build(tmp_path / "c", files, "-t", "secret", "--secret", f"id=token,src={secret}")
    assert buildx.engine.run("secret", "cat", "/shown") == "S3CR3T-OF-NOBODY16\n"
    kept = subprocess.run(
        ["grep", "-rl", "s3cr3t-of-nobody", buildx.engine.place],
        stdout=subprocess.PIPE,
        check=False,
    )
    assert kept.stdout == b""


def test_the_ssh_agent_is_lent_to_a_command(buildx: Buildx, tmp_path: Path) -> None:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "agent"))
    listener.listen()

    def answer() -> None:
        """The agent's protocol: asked for its keys (11), it says that it has none (12, 0)."""
        connection, _ = listener.accept()
        with connection:
            if connection.recv(100) == b"\0\0\0\1\x0b":
                connection.sendall(b"\0\0\0\5\x0c\0\0\0\0")

    thread = threading.Thread(target=answer, daemon=True)
    thread.start()
    script = (
        "import os, socket; s = socket.socket(socket.AF_UNIX); "
        "s.connect(os.environ['SSH_AUTH_SOCK']); s.sendall(bytes((0, 0, 0, 1, 11))); "
        "print(s.recv(9, socket.MSG_WAITALL).hex())"
    )
    dockerfile = (
        f'FROM host AS asks\nRUN --mount=type=ssh python3 -c "{script}" > /tmp/said\n'
        "FROM busybox\nCOPY --from=asks /tmp/said /said\n"
    )
    agent = ("--ssh", f"default={tmp_path / 'agent'}")
    with listener:
        buildx.build(tmp_path / "c", {"Dockerfile": dockerfile}, "-t", "ssh", *agent)
    assert buildx.engine.run("ssh", "cat", "/said") == "000000050c00000000\n"
    assert buildx.leftovers() == []


def test_files_archives_and_tars_go_to_the_client(buildx: Buildx, tmp_path: Path) -> None:
    place, images = tmp_path / "c", buildx.engine.out("images", "-qa")
    dockerfile = "FROM scratch\nCOPY a b /d/\nCOPY b /c\n"
    files = {"Dockerfile": dockerfile, "a": "first\n", "b": "second\n"}
    (tmp_path / "out").mkdir()
    buildx.build(place, files, "-o", str(tmp_path / "out"))
    found = {str(one.relative_to(tmp_path / "out")) for one in (tmp_path / "out").rglob("*")}
    assert found == {"c", "d", "d/a", "d/b"}
    assert (tmp_path / "out/d/a").read_text() == "first\n"
    buildx.build(place, {}, "-o", f"type=tar,dest={tmp_path / 'out.tar'}")
    with tarfile.open(tmp_path / "out.tar") as tar:
        assert {one.name.strip("/") for one in tar if one.isfile()} == {"c", "d/a", "d/b"}
    for kind in ("docker", "oci"):
        path = tmp_path / f"{kind}.tar"
        buildx.build(place, {}, "-o", f"type={kind},dest={path},name=example.com/x:1")
        with tarfile.open(path) as tar:
            index = json.load(tar.extractfile("index.json") or io.BytesIO())
        assert index["manifests"][0]["annotations"]["org.opencontainers.image.ref.name"] == "1"
    assert buildx.engine.out("images", "-qa") == images
    assert b"Loaded image: example.com/x:1" in buildx.engine.docker("load", "-i", str(path)).stdout
    buildx.engine.docker("rmi", "example.com/x:1")


def test_several_platforms_in_one_image_and_one_directory(buildx: Buildx, tmp_path: Path) -> None:
    dockerfile = "FROM --platform=$BUILDPLATFORM busybox AS b\nARG TARGETARCH\n"
    dockerfile += "RUN echo for $TARGETARCH > /arch\nFROM scratch\nCOPY --from=b /arch /arch\n"
    place, both = tmp_path / "c", ("--platform", "linux/amd64,linux/arm64")
    said = buildx.build(place, {"Dockerfile": dockerfile}, *both, "-t", "both")
    assert re.search(r"\[linux/arm64 stage-1 1/1\] COPY --from=b /arch /arch", said)
    raw = buildx.engine.docker("save", "both").stdout
    with tarfile.open(fileobj=io.BytesIO(raw)) as tar:
        index = json.load(tar.extractfile("index.json") or io.BytesIO())
    assert index["manifests"][0]["mediaType"].endswith("image.index.v1+json")
    buildx.build(place, {}, *both, "-o", str(tmp_path / "out"))
    assert (tmp_path / "out/linux_arm64/arch").read_text() == "for arm64\n"
    assert (tmp_path / "out/linux_amd64/arch").read_text() == "for amd64\n"


def test_dockerfiles_and_contexts_from_elsewhere(buildx: Buildx, tmp_path: Path) -> None:
    (tmp_path / "extra").mkdir()
    (tmp_path / "extra" / "x").write_text("extra\n")
    dockerfile = b"FROM base\nCOPY --from=more x /x\nCOPY a /a\nRUN cat /a /x\n"
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "a").write_text("main\n")
    named = ["--build-context", f"more={tmp_path / 'extra'}"]
    named += ["--build-context", "base=docker-image://busybox"]
    words = ("build", "--progress=plain", "-t", "else", *named, "-f", "-", str(tmp_path / "c"))
    buildx.run(*words, stdin=dockerfile)
    assert buildx.engine.run("else", "cat", "/a", "/x") == "main\nextra\n"
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name, text in {"Dockerfile": b"FROM busybox\nCOPY a /a\n", "a": b"packed\n"}.items():
            info = tarfile.TarInfo(name)
            info.size = len(text)
            tar.addfile(info, io.BytesIO(text))
    buildx.run("build", "-t", "else", "-", stdin=packed.getvalue())
    assert buildx.engine.run("else", "cat", "/a") == "packed\n"
    assert buildx.leftovers() == []


def test_stages_may_be_done_anew(buildx: Buildx, tmp_path: Path) -> None:
    uuid = "cat /proc/sys/kernel/random/uuid"
    dockerfile = f"FROM busybox AS a\nRUN {uuid} > /a\nFROM busybox AS b\nRUN {uuid} > /b\n"
    dockerfile += "FROM busybox\nCOPY --from=a /a /a\nCOPY --from=b /b /b\n"
    said = []
    for flags in ((), ("--no-cache-filter", "b"), ("--no-cache",)):
        buildx.build(tmp_path, {"Dockerfile": dockerfile}, "-t", "anew", *flags)
        said.append(buildx.engine.run("anew", "cat", "/a", "/b").split())
    assert said[0][0] == said[1][0] != said[2][0]
    assert len({one[1] for one in said}) == 3


def test_options_reach_the_commands(buildx: Buildx, tmp_path: Path) -> None:
    dockerfile = "FROM busybox\nRUN (cat /etc/hosts; ulimit -n; df -k /dev/shm) > /seen\n"
    flags = ("--add-host", "there:10.1.2.3", "--ulimit", "nofile=77:99", "--shm-size", "8m")
    buildx.build(tmp_path, {"Dockerfile": dockerfile}, "-t", "opts", "--label", "a=b", *flags)
    seen = buildx.engine.run("opts", "cat", "/seen")
    assert "10.1.2.3\tthere" in seen
    assert "\n77\n" in seen
    assert " 8192 " in seen
    assert buildx.engine.out("inspect", "-f", "{{.Config.Labels.a}}", "opts") == "b\n"


def test_questions_about_a_dockerfile(buildx: Buildx, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("ARG V=1\nFROM busybox AS one\nARG W=2\nFROM one AS two\n")
    asked = {
        kind: buildx.run("build", f"--call={kind}", str(tmp_path)).stdout.decode()
        for kind in ("check", "targets", "outline,format=json")
    }
    assert "no warnings found" in asked["check"]
    assert "two (default)" in asked["targets"]
    assert '"V"' in asked["outline,format=json"]


def test_warnings_are_told_with_their_places(buildx: Buildx, tmp_path: Path) -> None:
    files = {"Dockerfile": "FROM busybox\nWORKDIR here\nMAINTAINER me\n"}
    assert "MaintainerDeprecated: " in buildx.build(tmp_path, files)
    done = buildx.run("build", "--call=check", str(tmp_path), check=False)
    assert done.returncode == 1
    assert b"2 warnings have been found!" in done.stdout
    assert b"   3 | >>> MAINTAINER me" in done.stdout


def test_an_interrupted_build_leaves_nothing(buildx: Buildx, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM busybox\nCOPY . /\nRUN echo begun && sleep 4242\n")
    server = buildx.engine
    command = [str(require("docker-buildx")), "build", "--progress=plain", str(tmp_path)]
    environment = {"DOCKER_HOST": server.url, "DOCKER_CONFIG": str(server.place), "PATH": "/bin"}
    environment["HOME"] = str(tmp_path)
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as client:
        assert client.stderr is not None
        for line in client.stderr:
            if line.endswith(" begun\n"):
                client.send_signal(signal.SIGINT)
                break
        assert "ancel" in client.stderr.read()
        assert client.wait(20) != 0
    # The next build has to wait for nothing, and what the first had is gone when it ends.
    buildx.build(tmp_path, {"Dockerfile": "FROM busybox\nCOPY . /\n"})
    assert buildx.leftovers() == []
    processes = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True)
    assert "sleep 4242\n" not in processes.stdout


def test_what_is_kept_is_listed_and_pruned(buildx: Buildx, tmp_path: Path) -> None:
    files = {"Dockerfile": "FROM busybox\nCOPY a /\nRUN echo prune-me > /b\n", "a": "x" * 5000}
    buildx.build(tmp_path, files)
    listed = buildx.run("du", "--verbose").stdout.decode()
    assert "RUN echo prune-me" in listed
    assert "source.local" in listed
    usage = buildx.engine.out("system", "df", "--format", "{{.Type}}|{{.TotalCount}}|{{.Size}}")
    total = next(line for line in usage.splitlines() if line.startswith("Build Cache")).split("|")
    assert int(total[1]) == listed.count("ID:") and total[2] != "0B"
    buildx.run("prune", "-f", "--filter", "type=source.local")
    listed = buildx.run("du", "--verbose").stdout.decode()
    assert "RUN echo prune-me" in listed
    assert "source.local" not in listed
    buildx.run("prune", "-f", "--filter", "until=1h")
    assert "prune-me" in buildx.run("du", "--verbose").stdout.decode()
    buildx.run("prune", "-af")
    assert "prune-me" not in buildx.run("du", "--verbose").stdout.decode()
    assert "CACHED" not in buildx.build(tmp_path, {})
