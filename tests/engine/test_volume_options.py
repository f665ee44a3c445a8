"""Volumes with options of the local driver, parts of volumes, and who may remove them."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.engine_server import EngineServer

pytestmark = [pytest.mark.real, pytest.mark.root]


def mounted(engine: EngineServer) -> list[str]:
    """Places of volumes that are mounted in the engine's namespace."""
    lines = Path(f"/proc/{engine.pid}/mounts").read_text().splitlines()
    return [line.split()[1] for line in lines if str(engine.place) in line]


def test_a_volume_in_memory_is_shared_and_goes_with_its_last_user(engine: EngineServer) -> None:
    options = ("-o", "type=tmpfs", "-o", "device=tmpfs", "-o", "o=size=1m,uid=1000")
    engine.docker("volume", "create", *options, "ram")
    run = ("run", "-d", "--network", "none", "-v", "ram:/ram", "busybox", "sleep", "600")
    first, second = engine.out(*run).strip(), engine.out(*run).strip()
    engine.docker("exec", first, "sh", "-c", "echo shared > /ram/file")
    assert engine.out("exec", second, "cat", "/ram/file") == "shared\n"
    assert "1.0M" in engine.out("exec", second, "df", "-h", "/ram")
    engine.docker("rm", "-f", first)
    assert len(mounted(engine)) == 1
    refused = engine.docker("volume", "rm", "ram", check=False)
    assert f"volume is in use - [{second}]" in refused.stderr.decode()
    engine.docker("rm", "-f", second)
    assert mounted(engine) == []
    engine.docker("volume", "rm", "ram")


def test_a_volume_that_is_a_directory_of_the_host(engine: EngineServer, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("of the host\n")
    options = ("-o", "type=none", "-o", "o=bind", "-o", f"device={tmp_path}")
    engine.docker("volume", "create", *options, "dir")
    assert engine.run("-v", "dir:/d", "busybox", "cat", "/d/file") == "of the host\n"
    engine.docker("volume", "rm", "dir")
    assert (tmp_path / "file").exists()


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("type=none", "o=bind", "device=/no/such"), "no such file or directory"),
        (("type=nosuchfs", "device=x"), "no such device"),
    ],
)
def test_what_cannot_be_mounted(
    engine: EngineServer, options: tuple[str, ...], reason: str
) -> None:
    words = [word for option in options for word in ("-o", option)]
    engine.docker("volume", "create", *words, "bad")
    run = ("run", "--rm", "--network", "none", "-v", "bad:/b", "busybox", "true")
    said = engine.docker(*run, check=False)
    assert said.returncode in (125, 127)  # the client reads 127 out of "no such file"
    assert b"failed to mount local volume: mount " in said.stderr
    assert said.stderr.decode().splitlines()[0].endswith(reason)
    assert engine.out("ps", "-aq") == ""
    engine.docker("volume", "rm", "bad")


def test_a_part_of_a_volume(engine: EngineServer) -> None:
    engine.run("-v", "whole:/w", "busybox", "sh", "-c", "mkdir -p /w/a/b; echo x > /w/a/b/file")
    engine.run("-v", "whole:/w", "busybox", "sh", "-c", "ln -s /etc /w/out; ln -s a /w/in")

    def part(path: str) -> str:
        mount = f"type=volume,src=whole,dst=/p,volume-subpath={path}"
        words = ("run", "--rm", "--network", "none", "--mount", mount, "busybox", "ls", "/p")
        done = engine.docker(*words, check=False)
        return done.stdout.decode() or done.stderr.decode().splitlines()[0]

    assert part("a/b") == "file\n"
    assert part("in") == "b\n"
    assert part("a/b/file") == "/p\n"
    # A link that leads out leads to the same place inside the volume: there is none.
    assert "cannot access path" in part("out")
    assert "cannot access path" in part("nope")
    assert "subpath must be a relative path within the volume" in part("../x")
    assert mounted(engine) == []
    engine.docker("volume", "rm", "whole")


def test_volumes_are_not_filled_when_told_so(engine: EngineServer) -> None:
    listed = engine.run("-v", "empty:/data:nocopy", "busybox", "ls", "/data")
    assert listed == ""
    engine.docker("volume", "rm", "empty")


def test_anonymous_volumes_go_with_their_container(engine: EngineServer) -> None:
    engine.docker("run", "--network", "none", "--name", "anon", "-v", "/v", "busybox", "true")
    assert len(engine.out("volume", "ls", "-q").split()) == 1
    engine.docker("rm", "anon")
    assert len(engine.out("volume", "ls", "-q", "-f", "dangling=true").split()) == 1
    engine.docker("volume", "prune", "-f")
    engine.docker("run", "--network", "none", "--name", "anon", "-v", "/v", "busybox", "true")
    engine.docker("rm", "-v", "anon")
    assert engine.out("volume", "ls", "-q") == ""


def test_prune_asks_labels(engine: EngineServer) -> None:
    engine.docker("volume", "create", "--label", "keep", "kept")
    engine.docker("volume", "create", "plain")
    engine.docker("volume", "prune", "-f", "-a", "--filter", "label!=keep")
    assert engine.out("volume", "ls", "-q") == "kept\n"
    engine.docker("volume", "rm", "kept")


def test_a_killed_engine_leaves_no_mount_behind(tmp_path: Path) -> None:
    from tests.real import require_root

    require_root()
    server = EngineServer(tmp_path / "engine", ())
    server.place.mkdir()
    server.start()
    try:
        server.load()
        options = ("-o", "type=tmpfs", "-o", "device=tmpfs")
        server.docker("volume", "create", *options, "ram")
        server.docker("run", "-d", "--network", "none", "-v", "ram:/r", "busybox", "sleep", "1")
        assert len(mounted(server)) == 1
        server.docker("wait", server.out("ps", "-lq").strip())
        server.kill()
        server.start()
        assert mounted(server) == []
    finally:
        server.stop()
