"""`docker cp` and `docker export`, of containers that run and of containers that do not."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import pytest
from tests.engine_server import EngineServer

pytestmark = [pytest.mark.root, pytest.mark.real]

STATES = ("running", "stopped")


def make(engine: EngineServer, state: str, *options: str) -> str:
    """A container named after its state."""
    verb = ("run", "-d") if state == "running" else ("create",)
    words = ("--network", "none", "--name", state, *options, "busybox", "sleep", "100")
    engine.docker(*verb, *words)
    return state


def tar_of(*members: tuple[str, bytes, str]) -> bytes:
    """An archive of (name, kind, link or content)."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, kind, text in members:
            member = tarfile.TarInfo(name)
            member.type = kind
            if kind == tarfile.REGTYPE:
                member.size = len(text)
                tar.addfile(member, io.BytesIO(text.encode()))
            else:
                member.linkname = text
                tar.addfile(member)
    return buffer.getvalue()


def names(data: bytes) -> list[str]:
    """The entries of an archive."""
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return [one.name for one in tar]


@pytest.mark.parametrize("state", STATES)
def test_a_tree_goes_in_and_comes_back(engine: EngineServer, tmp_path: Path, state: str) -> None:
    source = tmp_path / "tree"
    (source / "sub").mkdir(parents=True)
    (source / "sub" / "deep").write_text("x" * 300_000)
    (source / "link").symlink_to("sub/deep")
    os.link(source / "sub" / "deep", source / "twin")
    (source / "sub" / "deep").chmod(0o640)
    name = make(engine, state)
    engine.docker("cp", str(source), f"{name}:/data")
    engine.docker("cp", f"{name}:/data/tree/.", str(tmp_path / "back"))
    back = tmp_path / "back"
    assert (back / "sub" / "deep").read_text() == "x" * 300_000
    assert (back / "sub" / "deep").stat().st_mode & 0o777 == 0o640
    assert (back / "link").readlink() == Path("sub/deep")
    assert (back / "twin").stat().st_ino == (back / "sub" / "deep").stat().st_ino


@pytest.mark.parametrize("state", STATES)
def test_volumes_are_reached(engine: EngineServer, tmp_path: Path, state: str) -> None:
    (tmp_path / "file").write_text("kept")
    name = make(engine, state, "-v", "vol:/vol", "-v", f"{tmp_path}:/host:ro")
    engine.docker("cp", str(tmp_path / "file"), f"{name}:/vol/file")
    assert engine.run("-v", "vol:/vol", "busybox", "cat", "/vol/file") == "kept"
    assert names(engine.docker("cp", f"{name}:/host", "-").stdout) == ["host", "host/file"]
    refused = engine.docker("cp", str(tmp_path / "file"), f"{name}:/host/new", check=False)
    assert b"mounted volume is marked read-only" in refused.stderr
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("state", STATES)
def test_a_read_only_root_is_not_written_to(
    engine: EngineServer, tmp_path: Path, state: str
) -> None:
    (tmp_path / "file").write_text("no")
    name = make(engine, state, "--read-only")
    refused = engine.docker("cp", str(tmp_path / "file"), f"{name}:/data/x", check=False)
    assert b"container rootfs is marked read-only" in refused.stderr


@pytest.mark.parametrize("state", STATES)
def test_what_is_missing_has_dockers_words(
    engine: EngineServer, tmp_path: Path, state: str
) -> None:
    (tmp_path / "file").write_text("x")
    name = make(engine, state)
    for words in ((f"{name}:/none", "-"), (str(tmp_path / "file"), f"{name}:/none/x")):
        failed = engine.docker("cp", *words, check=False)
        assert b"Could not find the file /none in container" in failed.stderr
    failed = engine.docker("cp", "-", f"{name}:/etc/passwd", stdin=tar_of(), check=False)
    assert failed.returncode != 0


HOSTILE = {
    "dots": tar_of(("../../escape", tarfile.REGTYPE, "out")),
    "absolute": tar_of(("/../../escape", tarfile.REGTYPE, "out")),
    "through a link": tar_of(
        ("way", tarfile.SYMTYPE, "/../../../../"), ("way/escape", tarfile.REGTYPE, "out")
    ),
    "through a relative link": tar_of(
        ("way", tarfile.SYMTYPE, "../../../.."), ("way/escape", tarfile.REGTYPE, "out")
    ),
}


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("name", HOSTILE)
def test_no_archive_leads_out_of_the_root(engine: EngineServer, state: str, name: str) -> None:
    container = make(engine, state)
    engine.docker("cp", "-", f"{container}:/data", stdin=HOSTILE[name], check=False)
    assert not Path("/escape").exists()
    found = engine.docker("export", container).stdout
    assert any(one.endswith("escape") for one in names(found))


@pytest.mark.parametrize("state", STATES)
def test_links_of_the_container_end_at_its_root(
    engine: EngineServer, tmp_path: Path, state: str
) -> None:
    (tmp_path / "secret").write_text("of the host")
    name = make(engine, state)
    links = tar_of(
        ("out", tarfile.SYMTYPE, str(tmp_path)), ("up", tarfile.SYMTYPE, "../../../../../..")
    )
    engine.docker("cp", "-", f"{name}:/data", stdin=links)
    gone = engine.docker("cp", f"{name}:/data/out/secret", "-", check=False)
    assert b"Could not find the file" in gone.stderr
    found = engine.docker("cp", f"{name}:/data/up/data/seed", "-")
    assert names(found.stdout) == ["seed"]


def test_hard_links_stay_inside(engine: EngineServer) -> None:
    name = make(engine, "stopped")
    hard = tar_of(("stolen", tarfile.LNKTYPE, "../../../../etc/shadow"))
    failed = engine.docker("cp", "-", f"{name}:/data", stdin=hard, check=False)
    assert failed.returncode != 0


def test_a_hard_link_does_not_reach_beside_the_directory(engine: EngineServer) -> None:
    name = make(engine, "stopped")
    engine.docker("cp", "-", f"{name}:/etc", stdin=tar_of(("secret", tarfile.REGTYPE, "s")))
    hard = tar_of(("stolen", tarfile.LNKTYPE, "/etc/secret"))
    assert engine.docker("cp", "-", f"{name}:/data", stdin=hard, check=False).returncode != 0


def test_a_torn_archive_is_refused(engine: EngineServer) -> None:
    name = make(engine, "stopped")
    torn = tar_of(("file", tarfile.REGTYPE, "x" * 5000))[:2000]
    failed = engine.docker("cp", "-", f"{name}:/data", stdin=torn, check=False)
    assert b"Error processing tar file" in failed.stderr


@pytest.mark.parametrize("state", STATES)
def test_an_export_has_the_root_without_mounts(engine: EngineServer, state: str) -> None:
    name = make(engine, state, "-v", "vol:/vol")
    engine.docker("cp", "-", f"{name}:/vol", stdin=tar_of(("inside", tarfile.REGTYPE, "v")))
    engine.docker("cp", "-", f"{name}:/data", stdin=tar_of(("added", tarfile.REGTYPE, "a")))
    found = names(engine.docker("export", name).stdout)
    assert {"bin/busybox", "data/seed", "data/added"} <= set(found)
    assert not {"vol/inside", "proc/1"} & set(found)


def mounts_of(engine: EngineServer) -> list[str]:
    """What is mounted below the engine's directories."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return [line for line in lines if str(engine.place) in line]


def test_no_mount_stays_behind(engine: EngineServer) -> None:
    before = mounts_of(engine)
    name = make(engine, "stopped", "-v", "vol:/vol")
    engine.docker("cp", f"{name}:/data", "-")
    engine.docker("export", name)
    assert mounts_of(engine) == before
    engine.docker("start", name)
    assert engine.out("exec", name, "cat", "/data/seed") == "from the image\n"
