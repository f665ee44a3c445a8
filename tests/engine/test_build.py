"""Building images: the real docker command line and SDK against the classic builder's endpoint."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import docker
import pytest
from tests.engine_server import EngineServer
from tests.netns import NetworkNamespace
from tests.real import require, require_root

pytestmark = [pytest.mark.real, pytest.mark.root]


@pytest.fixture(scope="module")
def builder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EngineServer]:
    require_root()
    netns = NetworkNamespace.make()
    server = EngineServer(tmp_path_factory.mktemp("builder"), netns=netns.path)
    try:
        server.start().load()
        yield server
    finally:
        server.stop()
        netns.close()


def context(place: Path, files: Mapping[str, str]) -> str:
    for name, text in files.items():
        path = place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return str(place)


def build(
    server: EngineServer, place: Path, files: Mapping[str, str], *flags: str, check: bool = True
) -> subprocess.CompletedProcess[bytes]:
    """`docker build` without BuildKit."""
    words = ("build", *flags, context(place, files))
    return server.docker(*words, check=check, env={"DOCKER_BUILDKIT": "0"})


def config(server: EngineServer, name: str) -> dict[str, object]:
    (found,) = json.loads(server.out("inspect", "--type=image", name))
    return dict(found["Config"])


def refused(server: EngineServer, place: Path, dockerfile: str, *flags: str) -> str:
    images = server.out("images", "-qa")
    done = build(server, place, {"Dockerfile": dockerfile}, *flags, check=False)
    assert done.returncode != 0
    assert server.out("images", "-qa") == images
    assert server.out("ps", "-aq") == ""
    return done.stderr.decode()


def test_two_stages_from_source_to_a_running_container(
    builder: EngineServer, tmp_path: Path
) -> None:
    files = {
        "Dockerfile": (
            "FROM busybox AS build\nARG WHO=nobody\nWORKDIR /src\nCOPY . .\n"
            'RUN sed "s/NAME/$WHO/" hello.in > hello && rm hello.in\n'
            "FROM busybox\nCOPY --from=build --chmod=755 /src/hello /bin/\n"
            'USER bob\nENTRYPOINT ["hello"]\nCMD ["x"]\n'
        ),
        "hello.in": "#!/bin/sh\necho hello NAME as $(id -un) $1\n",
    }
    done = build(builder, tmp_path, files, "-t", "greeter", "--build-arg", "WHO=ada")
    assert b"Successfully tagged greeter:latest" in done.stdout
    assert builder.run("greeter") == "hello ada as bob x\n"
    assert config(builder, "greeter")["Cmd"] == ["x"]


def test_what_has_not_changed_is_not_done_again_and_is_the_same_image(
    builder: EngineServer, tmp_path: Path
) -> None:
    files = {
        "Dockerfile": "FROM busybox\nCOPY a /a\nRUN cat /proc/sys/kernel/random/uuid > /uuid\n",
        "a": "1",
    }
    build(builder, tmp_path, files, "-t", "same:1")
    (tmp_path / "a").touch()  # another time is not another file
    again = build(builder, tmp_path, {}, "-t", "same:2")
    assert again.stdout.count(b"Using cache") == 2
    ids = set(builder.out("images", "-q", "same").split())
    assert len(ids) == 1
    build(builder, tmp_path, {"a": "2"}, "-t", "same:3")
    build(builder, tmp_path, {}, "-t", "same:4", "--no-cache")
    assert len({builder.run(f"same:{n}", "cat", "/uuid") for n in (2, 3, 4)}) == 3


def test_mounts_of_run(builder: EngineServer, tmp_path: Path) -> None:
    files = {
        "Dockerfile": (
            "FROM busybox AS tools\nRUN echo tool > /tool\nFROM busybox\n"
            "RUN --mount=type=cache,target=/cache --mount=type=tmpfs,target=/scratch "
            "--mount=target=/in --mount=from=tools,source=/tool,target=/t "
            "--mount=target=/rw,rw "
            "cat /in/a /t > /out && echo x >> /cache/runs && wc -l < /cache/runs >> /out "
            "&& touch /scratch/y /rw/z && ! touch /in/w\n"
        ),
        "a": "from the context\n",
    }
    build(builder, tmp_path, files, "-t", "mounts")
    assert builder.run("mounts", "cat", "/out") == "from the context\ntool\n1\n"
    listed = builder.run("mounts", "ls", "/").split()
    assert not {"cache", "scratch", "in", "t", "rw"} & set(listed)
    assert not (tmp_path / "z").exists()
    build(builder, tmp_path, {}, "-t", "mounts", "--no-cache")
    assert builder.run("mounts", "tail", "-1", "/out") == "2\n"


def test_heredocs_run_and_become_files(builder: EngineServer, tmp_path: Path) -> None:
    dockerfile = (
        "FROM busybox\nENV W=world\nRUN <<EOF\nset -e\necho one > /r\necho two >> /r\nEOF\n"
        "RUN <<EOF\n#!/bin/busybox sh\necho by $0 > /s\nEOF\n"
        "COPY <<a <<'b' /f/\nhello $W\na\nhello $W\nb\n"
    )
    build(builder, tmp_path, {"Dockerfile": dockerfile}, "-t", "heredocs")
    said = builder.run("heredocs", "cat", "/r", "/s", "/f/a", "/f/b")
    assert said == "one\ntwo\nby /dev/pipes/EOF\nhello world\nhello $W\n"


def test_copies_follow_links_inside_of_the_root_only(builder: EngineServer, tmp_path: Path) -> None:
    files = {
        "Dockerfile": (
            "FROM busybox\nRUN mkdir /real && ln -s /real /link && ln -s ../../../etc /up\n"
            "COPY one /link/\nCOPY one /up/\nCOPY dir /link\nCOPY --chown=bob:staff one /owned\n"
        ),
        "one": "1",
        "dir/two": "2",
    }
    (tmp_path / "dir").mkdir()
    (tmp_path / "dir" / "out").symlink_to("/etc/shadow")
    build(builder, tmp_path, files, "-t", "links")
    said = builder.run("links", "sh", "-c", "cat /real/one /real/two /etc/one; readlink /real/out")
    assert said == "121/etc/shadow\n"
    assert builder.run("links", "stat", "-c", "%U:%G", "/owned") == "bob:staff\n"


def test_what_is_ignored_is_not_there(builder: EngineServer, tmp_path: Path) -> None:
    files = {
        "Dockerfile": "FROM busybox\nCOPY . /c/\n",
        ".dockerignore": "*\n!keep\n!Dockerfile\nkeep/not\nkeep/.wh.*\n",
        "keep/this": "",
        "keep/not": "",
        "other": "",
        "keep/.wh.this": "a name as any, while it is not copied",
    }
    build(builder, tmp_path, files, "-t", "ignored")
    found = builder.run("ignored", "find", "/c", "-type", "f").split()
    assert "/c/keep/this" in found
    assert not {"/c/keep/not", "/c/other"} & set(found)


def test_an_archive_is_unpacked_by_add_and_not_by_copy(
    builder: EngineServer, tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "f").write_text("packed")
    subprocess.run(["tar", "czf", tmp_path / "a.tgz", "-C", tmp_path / "in", "f"], check=True)
    dockerfile = "FROM busybox\nADD a.tgz /added/\nCOPY a.tgz /copied/\n"
    build(builder, tmp_path, {"Dockerfile": dockerfile}, "-t", "added")
    assert builder.run("added", "ls", "/added", "/copied").split() == [
        "/added:",
        "f",
        "/copied:",
        "a.tgz",
    ]


def test_output_can_be_reproduced(builder: EngineServer, tmp_path: Path) -> None:
    files = {"Dockerfile": "FROM busybox\nWORKDIR /w\nCOPY a .\n", "a": "1"}
    flags = ("--no-cache", "--build-arg", "SOURCE_DATE_EPOCH=1000000000")
    build(builder, tmp_path / "x", files, "-t", "fixed:1", *flags)
    build(builder, tmp_path / "y", files, "-t", "fixed:2", *flags)
    ids = builder.out("images", "-q", "--no-trunc", "fixed").split()
    assert len(set(ids)) == 1
    assert builder.run("fixed:1", "stat", "-c", "%Y", "/w/a") == "1000000000\n"


def test_a_network_is_there_unless_it_is_not_wanted(builder: EngineServer, tmp_path: Path) -> None:
    dockerfile = (
        "FROM busybox\nRUN ls /sys/class/net > /n\nRUN --network=none ls /sys/class/net > /o\n"
    )
    build(builder, tmp_path, {"Dockerfile": dockerfile}, "-t", "net")
    assert builder.run("net", "cat", "/n").split() == ["eth0", "lo"]
    assert builder.run("net", "cat", "/o").split() == ["lo"]


@pytest.mark.parametrize(
    ("dockerfile", "said"),
    [
        ("FROM busybox\nRNU x", "Dockerfile:2:1: error: unknown instruction: RNU"),
        ("FROM busybox\nRUN exit 7", "returned a non-zero code: 7"),
        ("FROM busybox\nRUN --mount=type=secret,id=k,required cat /k", "secret k: not found"),
        ("FROM busybox\nCOPY missing /x", '"/missing": not found'),
        ("FROM busybox\nCOPY ../../etc/passwd /x", '"/etc/passwd": not found'),
        ("FROM busybox\nCOPY Dockerfile /etc/passwd/x", "cannot copy to non-directory"),
        ("FROM busybox\nCOPY --chown=eve Dockerfile /x", "unable to find user eve"),
        ("FROM busybox\nUSER eve\nRUN true", "unable to find user eve"),
        ("FROM host\nRUN true", "FROM host is not allowed"),
        (
            "FROM busybox AS b\nFROM --platform=linux/s390x scratch\nCOPY --from=b / /\nRUN true",
            "a command for s390x cannot run on this machine",
        ),
        ("FROM busybox\nRUN /nosuch", "/nosuch: not found"),
        ('FROM busybox\nRUN ["/nosuch"]', "no such file or directory"),
    ],
)
def test_what_cannot_be_built_says_why_and_leaves_nothing(
    builder: EngineServer, tmp_path: Path, dockerfile: str, said: str
) -> None:
    done = build(builder, tmp_path, {"Dockerfile": dockerfile}, check=False)
    assert said in done.stderr.decode() + done.stdout.decode()
    refused(builder, tmp_path, dockerfile)
    assert list((builder.place / "data" / "images" / "writable").iterdir()) == []


def test_several_platforms_are_one_name(builder: EngineServer, tmp_path: Path) -> None:
    dockerfile = (
        "FROM --platform=$BUILDPLATFORM busybox AS b\nRUN echo once >> /shared\n"
        "ARG TARGETARCH\nRUN echo for $TARGETARCH > /out\n"
        "FROM scratch\nCOPY --from=b /shared /out /\n"
    )
    platforms = ("--platform", "linux/amd64,linux/arm64,linux/arm/v6")
    done = build(builder, tmp_path, {"Dockerfile": dockerfile}, *platforms, "-t", "multi")
    assert done.stdout.decode().count("echo once") == 1
    assert "linux/arm/v6" in builder.out("image", "ls", "--tree", "multi")
    found = {}
    for name in ("amd64", "arm64", "arm/v6"):
        shown = builder.out("image", "inspect", "--platform", f"linux/{name}", "multi")
        found[name] = json.loads(shown)[0]
    assert found["arm/v6"]["Variant"] == "v6"
    assert len({one["Id"] for one in found.values()}) == 3


def test_the_machines_own_files_are_there_to_build_with_and_not_to_change(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    require_root()
    netns = NetworkNamespace.make()
    place = tmp_path_factory.mktemp("host")
    server = EngineServer(place, flags=["--build-from-host"], netns=netns.path)
    dockerfile = (
        "FROM host AS b\nWORKDIR /src\nCOPY <<F hello.sh\n#!/bin/busybox sh\necho built\nF\n"
        "RUN install -m 755 hello.sh /out && ! touch /usr/x /etc/x && test ! -e /var/lib\n"
        f"FROM scratch\nCOPY --from=b {require('busybox')} /bin/busybox\n"
        'COPY --from=b /out /out\nENTRYPOINT ["/out"]\n'
    )
    try:
        server.start()
        build(server, tmp_path, {"Dockerfile": dockerfile}, "-t", "own")
        assert server.run("own") == "built\n"
        done = build(server, tmp_path, {"Dockerfile": "FROM host\nRUN true\n"}, check=False)
        assert b"cannot be the result of a build" in done.stderr
    finally:
        server.stop()
        netns.close()


def test_a_context_with_a_circle_of_links_is_told(builder: EngineServer, tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    said = refused(builder, tmp_path, "FROM busybox\nCOPY a /x\n")
    assert "Too many levels of symbolic links" in said


def test_the_sdk_builds_and_reads_the_transcript(builder: EngineServer, tmp_path: Path) -> None:
    client = docker.DockerClient(builder.url)
    try:
        path = context(tmp_path, {"Dockerfile": "FROM busybox\nARG A\nLABEL a=$A\nRUN echo out\n"})
        image, lines = client.images.build(
            path=path, tag="sdk:x", buildargs={"A": "b"}, labels={"c": "d"}, rm=True
        )
        assert image.labels == {"a": "b", "c": "d"}
        assert any("out" in line.get("stream", "") for line in lines)
        with pytest.raises(docker.errors.BuildError, match="returned a non-zero code: 3"):
            client.images.build(path=context(tmp_path, {"Dockerfile": "FROM busybox\nRUN exit 3"}))
    finally:
        client.close()


def test_the_cache_is_pruned(builder: EngineServer, tmp_path: Path) -> None:
    build(
        builder, tmp_path, {"Dockerfile": "FROM busybox\nRUN echo prune me > /x\n"}, "-t", "pruned"
    )
    builder.docker("rmi", "pruned")
    assert "Deleted build cache objects" in builder.out("builder", "prune", "-af")
    again = build(builder, tmp_path, {}, "-t", "pruned")
    assert b"Using cache" not in again.stdout


def test_a_killed_engine_leaves_no_half_built_image(builder: EngineServer, tmp_path: Path) -> None:
    path = context(tmp_path, {"Dockerfile": "FROM busybox\nRUN echo begun && sleep 60\n"})
    process = subprocess.Popen(
        [str(require("docker")), "build", path],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={"DOCKER_HOST": builder.url, "DOCKER_BUILDKIT": "0", "PATH": "/usr/bin:/bin"},
    )
    assert process.stdout is not None
    assert any(b"begun" in line for line in process.stdout)
    builder.kill()
    process.wait(20)
    process.stdout.close()
    builder.start()
    assert list((builder.place / "data" / "images" / "writable").iterdir()) == []
    assert list((builder.place / "data" / "images" / "spool").iterdir()) == []
    assert list((builder.place / "exec" / "containers").iterdir()) == []
    assert [one.name for one in (builder.place / "exec" / "network").glob("build-*")] == []
    assert builder.out("run", "--rm", "busybox", "echo", "well") == "well\n"
