"""Contexts and Dockerfiles that were made to do harm are told of and leave nothing behind."""

from __future__ import annotations

import gzip
import io
import json
import os
import subprocess
import tarfile
from pathlib import Path

import docker
import pytest
from tests.engine_server import EngineServer
from tests.real import require

pytestmark = [pytest.mark.real, pytest.mark.root]

FROM = b"FROM busybox\n"


@pytest.fixture(scope="module")
def engine(module_engine: EngineServer) -> EngineServer:
    return module_engine


def member(name: str, data: bytes = b"", **more: object) -> tuple[tarfile.TarInfo, bytes]:
    found = tarfile.TarInfo(name)
    found.size = len(data)
    for key, value in more.items():
        setattr(found, key, value)
    return found, data


def archive(*members: tuple[tarfile.TarInfo, bytes], dockerfile: bytes = FROM) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for info, data in (member("Dockerfile", dockerfile), *members):
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> tuple[tarfile.TarInfo, bytes]:
    return member(name, type=kind, linkname=target)


def build(engine: EngineServer, context: bytes, **more: object) -> str:
    """Build a tar as it is; returns everything that was answered."""
    client = docker.APIClient(engine.url)
    try:
        lines = client.build(fileobj=io.BytesIO(context), custom_context=True, **more)
        return b"".join(lines).decode()
    except docker.errors.APIError as error:
        return str(error.explanation)
    finally:
        client.close()


def left(engine: EngineServer) -> list[str]:
    """What builds may not leave: images, containers, files on the way."""
    images = engine.place / "data" / "images"
    places = [images / "spool", images / "writable", engine.place / "exec" / "containers"]
    files = [str(one) for place in places if place.exists() for one in place.iterdir()]
    return [*files, *engine.out("images", "-qa").split()[1:], *engine.out("ps", "-qa").split()]


HARMFUL = {
    "a path upwards": (archive(member("../out", b"x")), "outside|must not|\\.\\."),
    "a path through a link": (
        archive(link("way", "/tmp"), member("way/out-of-context", b"x")),
        "",
    ),
    "a hard link outside": (archive(link("a", "/etc/shadow", tarfile.LNKTYPE)), ""),
    "no tar": (b"this is no tar" * 100, ""),
    "half a tar": (archive(member("a", b"x" * 5000))[:3000], ""),
    "damaged gzip": (gzip.compress(archive())[:-20], ""),
    "no Dockerfile": (archive()[:0] + archive(dockerfile=b"")[512:], ""),
}


@pytest.mark.parametrize("name", HARMFUL)
def test_a_context_that_would_do_harm(engine: EngineServer, name: str) -> None:
    said = build(engine, HARMFUL[name][0])
    assert '"aux"' not in said or name == "a path through a link"
    assert "Traceback" not in said + engine.text()
    assert not Path("/tmp/out-of-context").exists()
    assert not (engine.place / "data" / "images" / "out").exists()
    engine.out("image", "prune", "-f")
    assert left(engine) == []


def test_links_of_a_context_lead_nowhere_else(engine: EngineServer, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("of the machine")
    up = "../" * 40 + str(tmp_path / "secret").lstrip("/")
    links = [link("up", up), link("absolute", str(tmp_path / "secret")), link("folder", "/etc")]
    for name in ("up", "absolute", "folder/hostname"):
        text = FROM + f"COPY {name} /x\n".encode()
        assert "not found" in build(engine, archive(*links, dockerfile=text))
    whole = build(
        engine, archive(*links, dockerfile=FROM + b"COPY . /x\nRUN --network=none cat /x/up")
    )
    assert "returned a non-zero code: 1" in whole
    by_link = archive(link("D", str(tmp_path / "secret")))
    assert "of the machine" not in build(engine, by_link, dockerfile="D")
    assert left(engine) == []


def test_a_bomb_is_stopped(engine: EngineServer) -> None:
    # 40 GiB of zeros that never are on a disk here: the header alone says it.
    huge = tarfile.TarInfo("huge")
    huge.size = 40 << 30
    context = archive()[:1024] + huge.tobuf() + bytes(1 << 20)
    said = build(engine, context)
    assert '"aux"' not in said
    assert left(engine) == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("FROM busybox\nRUN <<A <<B\nx\nA\n", "Dockerfile:2:1: error: unterminated heredoc B"),
        ("FROM busybox\nCOPY <<E /x", "Dockerfile:2:1: error: unterminated heredoc E"),
        ("FROM busybox AS a\nCOPY --from=a x y", "Dockerfile:2:1: error: circular dependency"),
        ("FROM busybox AS a\nCOPY --from=0 x y", "Dockerfile:2:1: error: invalid from flag"),
        ("FROM b AS a\nFROM a AS b\nFROM nowhere.invalid/x", "nowhere.invalid"),
        ("FROM busybox\nADD --checksum=zzz http://127.0.0.1:1/x /", "Dockerfile:2:1: error: "),
        ("FROM busybox\nRUN --mount=type=bnd true", "Dockerfile:2:1: error: unsupported mount"),
        ('FROM busybox\nENV A="${B:?no value}"', "Dockerfile:2:1: error: B: no value"),
        ("FROM busybox\nENV A='x", "Dockerfile:2:1: error: unexpected end of statement"),
        ("FROM busybox\n\tENV", "Dockerfile:2:2: error: ENV requires at least one argument"),
        (
            "FROM busybox\n" + "RUN true \\\n" * 3 + "\x00",
            "Dockerfile:5:1: error: a null character",
        ),
        ("# escape=x\nFROM busybox", "Dockerfile:1:10: error: invalid escape token"),
        ("", "Dockerfile:1:1: error: the file has no instructions"),
        ("ARG A=" + "${A}" * 1000 + "\nFROM ${A}", "Dockerfile:2:1: error: base name"),
    ],
)
def test_a_dockerfile_that_cannot_be_is_told_with_its_place(
    engine: EngineServer, text: str, said: str
) -> None:
    answer = build(engine, archive(dockerfile=text.encode()))
    found = " ".join(
        json.loads(line).get("error", "") for line in answer.splitlines() if line[:1] == "{"
    )
    assert any(one in (found or answer) for one in said.split("|")), answer
    assert left(engine) == []


def test_a_malformed_ignore_file_is_told_with_its_line(engine: EngineServer) -> None:
    said = build(engine, archive(member(".dockerignore", b"ok\n[a\n")))
    assert ".dockerignore:2: bad pattern" in said
    assert left(engine) == []


def test_a_client_that_goes_away_ends_its_build(engine: EngineServer, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM busybox\nRUN --network=none echo begun; sleep 60\n")
    process = subprocess.Popen(
        [str(require("docker")), "build", str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={"DOCKER_HOST": engine.url, "DOCKER_BUILDKIT": "0", "PATH": os.environ["PATH"]},
    )
    assert process.stdout is not None
    assert any(b"begun" in line for line in process.stdout)
    process.kill()
    process.wait()
    process.stdout.close()
    # What it had is gone with its end, which the engine comes to by itself.
    patience = 200
    while left(engine) and patience:
        patience -= 1
        engine.docker("version")
    assert left(engine) == []


def test_a_killed_engine_has_a_whole_store_whatever_it_was_doing(
    engine: EngineServer, tmp_path: Path
) -> None:
    """kill -9 at several moments of a build that copies, runs and writes layers."""
    (tmp_path / "data").write_bytes(os.urandom(3_000_000))
    steps = "".join(f"COPY data /d{n}\nRUN --network=none cp /d{n} /e{n}\n" for n in range(3))
    (tmp_path / "Dockerfile").write_text(f"FROM busybox\nARG N\n{steps}")
    words = [str(require("docker")), "build", "-t", "made"]
    env = {"DOCKER_HOST": engine.url, "DOCKER_BUILDKIT": "0", "PATH": os.environ["PATH"]}
    for number in range(6):
        process = subprocess.Popen(
            [*words, "--build-arg", f"N={number}", str(tmp_path)],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=env,
        )
        assert process.stdout is not None
        for line, _ in zip(process.stdout, range(number + 1), strict=False):
            assert line
        engine.kill()
        process.wait()
        process.stdout.close()
        engine.start()
        assert left(engine) == []
        check_blobs(engine)
    done = subprocess.run([*words, str(tmp_path)], env=env, capture_output=True, check=True)
    assert b"Successfully tagged" in done.stdout
    same = "cmp /d0 /e0 && cmp /d2 /e2 && echo same"
    assert engine.out("run", "--rm", "--net=none", "made", "sh", "-c", same) == "same\n"
    engine.docker("rmi", "-f", "made")


def check_blobs(engine: EngineServer) -> None:
    """Every blob is what its name says."""
    for blob in (engine.place / "data" / "images" / "blobs" / "sha256").iterdir():
        assert subprocess.run(
            ["sha256sum", blob], capture_output=True, text=True, check=True
        ).stdout.startswith(blob.name)
