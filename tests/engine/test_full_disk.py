"""An engine whose disk is full: Docker's words, nothing half-made, and all well with room again."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.engine_server import EngineServer
from tests.real import require, require_root

pytestmark = [pytest.mark.real, pytest.mark.root]


class SmallDisk:
    """A file system in memory that can be filled up."""

    def __init__(self, place: Path) -> None:
        self.place = place
        place.mkdir(parents=True)
        size = "size=24m"
        subprocess.run(["mount", "-t", "tmpfs", "-o", size, "tmpfs", str(place)], check=True)

    def fill(self) -> None:
        with open(self.place / "fill", "wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(4096))
            except OSError:
                return

    def free(self) -> None:
        (self.place / "fill").unlink(missing_ok=True)

    def unmount(self) -> None:
        subprocess.run(["umount", "-l", str(self.place)], check=True)


@pytest.fixture
def small(tmp_path: Path) -> Iterator[tuple[EngineServer, SmallDisk]]:
    require_root()
    server = EngineServer(tmp_path / "engine", ())
    disk = SmallDisk(server.place / "data")
    try:
        server.start()
        server.load()
        yield server, disk
    finally:
        disk.free()
        if server.running:
            server.clear()
            server.stop()
        disk.unmount()


def listing(place: Path) -> set[str]:
    """What is there of containers, volumes and layers."""
    parts = ("containers", "volumes", "images/snapshots", "images/layers")
    return {
        str(path.relative_to(place))
        for part in parts
        for path in (place / part).glob("*")
        if path.parent.name != "spool"
    }


def test_nothing_half_made_stays(small: tuple[EngineServer, SmallDisk]) -> None:
    server, disk = small
    run = ("run", "-d", "--network", "none", "--name", "before", "busybox", "sleep", "600")
    server.docker(*run)
    was = listing(disk.place)
    disk.fill()
    for words in (
        ("create", "--network", "none", "--name", "one", "busybox", "true"),
        ("volume", "create", "full"),
        ("create", "--network", "none", "-v", "named:/v", "busybox", "true"),
        ("rename", "before", "after"),
        ("update", "-m", "64m", "--memory-swap", "64m", "before"),
        ("tag", "busybox", "other:1"),
        ("commit", "before", "image"),
        ("cp", "/bin/busybox", "before:/big"),
    ):
        refused = server.docker(*words, check=False)
        assert refused.returncode != 0, words
        assert b"no space left on device" in refused.stderr, words
    assert server.out("ps", "-a", "--format", "{{.Names}} {{.State}}") == "before running\n"
    assert server.out("inspect", "-f", "{{.HostConfig.Memory}}", "before") == "0\n"
    assert server.out("images", "--format", "{{.Repository}}") == "busybox\n"
    assert server.out("volume", "ls", "-q") == ""
    assert listing(disk.place) == was
    # What runs goes on, and can be stopped and removed.
    assert server.out("exec", "before", "echo", "here") == "here\n"
    server.docker("stop", "-t", "0", "before")
    server.docker("rm", "before")
    disk.free()
    server.docker(*run)
    assert server.out("exec", "before", "echo", "again") == "again\n"


def test_an_engine_starts_on_a_full_disk(small: tuple[EngineServer, SmallDisk]) -> None:
    server, disk = small
    run = ("run", "-d", "--network", "none", "--name", "lasting", "busybox", "sleep", "600")
    server.docker(*run)
    disk.fill()
    server.kill()
    server.start()
    assert server.out("exec", "lasting", "echo", "here") == "here\n"
    assert list((disk.place).rglob("*.new")) == []


def test_a_log_that_is_full_does_not_stop_a_container(
    small: tuple[EngineServer, SmallDisk],
) -> None:
    server, disk = small
    script = (
        "until [ -e /t/go ]; do sleep 0.02; done; n=0; "
        "while [ $n -lt 2000 ]; do echo line $n; n=$((n+1)); done; echo end >&2; exit 3"
    )
    run = ("run", "-d", "--network", "none", "--name", "chatty", "--tmpfs", "/t", "busybox")
    server.docker(*run, "sh", "-c", script)
    attach = [str(require("docker")), "-H", server.url, "attach", "--no-stdin", "chatty"]
    with subprocess.Popen(attach, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as client:
        server.wait_for_event("chatty", "attach")
        disk.fill()
        server.docker("exec", "chatty", "touch", "/t/go")
        output, errors = client.communicate(timeout=30)
    assert client.returncode == 3
    assert errors == b"end\n"
    assert len(output.splitlines()) == 2000
