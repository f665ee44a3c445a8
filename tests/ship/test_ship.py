"""`sampan ship`, `releases` and `rollback` with a real stack, seen through docker and etcdctl."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.engine_server import busybox_archive
from tests.netns import NetworkNamespace
from tests.real import require, require_root
from tests.ship.test_core import elf
from tests.stack import Stack

pytestmark = [pytest.mark.real, pytest.mark.root]

SERVING = """FROM busybox
RUN mkdir /www && echo %s > /www/index.html
EXPOSE 80
HEALTHCHECK CMD wget -qO- http://127.0.0.1/ | grep -q .
CMD ["httpd", "-f", "-p", "80", "-h", "/www"]
"""
TOML = 'name = "web"\n[run]\nports = ["8080:80"]\nmemory = "32MiB"\nstop_timeout = "1s"\n'


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    require_root()
    require("docker")
    netns = NetworkNamespace.make()
    place = tmp_path_factory.mktemp("ship")
    found = Stack(place / "state", netns)
    try:
        found.run("up", "-d")
        archive = place / "busybox.tar"
        archive.write_bytes(busybox_archive())
        found.shell(f"docker load -q -i {archive}")
        yield found
    finally:
        found.close()
        netns.close()


@pytest.fixture
def source(stack: Stack, tmp_path: Path) -> Iterator[Path]:
    """A directory whose service says `one`; no container is left of it."""
    write(tmp_path, SERVING % "one", TOML)
    yield tmp_path
    stack.shell("docker rm -f $(docker ps -aq) >/dev/null 2>&1 || true")
    stack.shell("docker rmi -f $(docker images -q web | sort -u) >/dev/null 2>&1 || true")
    stack.shell("etcdctl del --prefix /sampan/releases/ >/dev/null")


def write(place: Path, dockerfile: str, toml: str | None = None) -> None:
    (place / "Dockerfile").write_text(dockerfile)
    if toml is not None:
        (place / "sampan.toml").write_text(toml)


def page(stack: Stack, port: int = 8080) -> str:
    return stack.netns.get(f"http://127.0.0.1:{port}/")


def names(stack: Stack) -> str:
    return stack.shell("docker ps -a --format '{{.Names}} {{.State}}'")


def test_from_the_first_release_over_a_new_one_and_back(stack: Stack, source: Path) -> None:
    first = stack.run("ship", str(source)).stdout
    assert "web: release 1 is live" in first and "http://127.0.0.1:8080" in first
    for step in ("build", "verify", "start", "health", "switch"):
        assert f"  {step} " in first
    assert page(stack) == "one\n"
    assert stack.shell("docker inspect -f '{{.HostConfig.Memory}}' web") == f"{32 << 20}\n"

    assert "nothing has changed: release 1 runs" in stack.run("ship", str(source)).stdout

    write(source, SERVING % "two")
    assert "web: release 2 is live" in stack.run("ship", str(source)).stdout
    assert page(stack) == "two\n"
    assert names(stack) == "web running\n"

    back = stack.run("rollback", "web").stdout
    assert "back to release 1" in back and "release 3 is live" in back
    assert page(stack) == "one\n"
    listed = stack.run("releases", "web").stdout.splitlines()
    assert [line.split()[:3] for line in listed[1:]] == [
        ["web", "1", listed[1].split()[2]],
        ["web", "2", listed[2].split()[2]],
        ["*", "web", "3"],
    ]
    record = json.loads(stack.shell("etcdctl get --print-value-only /sampan/releases/web/3"))
    assert (record["outcome"], record["rollback_of"]) == ("live", 1)
    assert record["image"].startswith("sha256:") and record["steps"]["health"] > 0
    assert "no release 9" in stack.run("rollback", "web", "9", code=1).stderr
    assert "nothing named nil" in stack.run("rollback", "nil", code=1).stderr


def test_what_fails_leaves_the_version_before_running(stack: Stack, source: Path) -> None:
    stack.run("ship", str(source))
    runs = stack.shell("docker inspect -f '{{.Id}} {{.State.StartedAt}}' web")
    cases = {
        "FROM busybox\nRUN echo so; exit 3\n": ("build    FAILED", "| so", "to do"),
        "FROM busybox\nCMD echo it is; exit 4\n": ("health   FAILED", "exit code 4", "| it is"),
        "FROM busybox\nHEALTHCHECK --interval=20ms --retries=2 CMD echo ill; exit 1\n"
        "STOPSIGNAL KILL\nCMD sleep 100\n": ("its check fails: ill",),
        'FROM busybox\nCOPY --chmod=755 foreign /foreign\nCMD ["/foreign"]\n': (
            "verify   FAILED: /foreign is for arm64, the image for amd64",
            "TARGETARCH",
        ),
        'FROM busybox\nCMD ["/nothing"]\n': ("/nothing, which it does not have",),
        "FROM busybox\nFORM x\n": ("build    FAILED",),
    }
    (source / "foreign").write_bytes(elf(183))
    for dockerfile, words in cases.items():
        write(source, dockerfile)
        said = stack.run("ship", str(source), code=1).stdout
        for word in (*words, "web: release 1 still runs"):
            assert word in said, f"{word}\n{said}"
    assert stack.shell("docker inspect -f '{{.Id}} {{.State.StartedAt}}' web") == runs
    assert names(stack) == "web running\n"
    assert page(stack) == "one\n"
    listed = stack.run("releases").stdout
    assert listed.count("failed") == len(cases)
    assert stack.shell("docker images -q web | sort -u | wc -l") == "1\n"


def test_a_release_is_built_and_run_for_the_platform_that_is_asked_for(
    stack: Stack, source: Path
) -> None:
    """The service says for what it was built; a platform without an interpreter is refused."""
    asked = SERVING.replace("RUN mkdir", "ARG TARGETPLATFORM\nRUN mkdir") % "$TARGETPLATFORM"
    write(source, asked)
    native = stack.shell("docker version -f '{{.Server.Os}}/{{.Server.Arch}}'").strip()
    assert "release 1 is live" in stack.run("ship", str(source), "--platform", native).stdout
    assert page(stack) == native + "\n"
    record = json.loads(stack.shell("etcdctl get --print-value-only /sampan/releases/web/1"))
    assert record["platform"] == native

    (source / "foreign").write_bytes(elf(22))
    write(source, 'FROM scratch\nCOPY --chmod=755 foreign /foreign\nRUN ["/foreign"]\n')
    said = stack.run("ship", str(source), "--platform", "linux/s390x", code=1).stdout
    assert "build    FAILED: " in said and "a command for s390x" in said
    assert "install qemu-user-static" in said
    (source / "foreign").write_bytes(elf(183))
    write(source, 'FROM scratch\nCOPY --chmod=755 foreign /foreign\nCMD ["/foreign"]\n')
    said = stack.run("ship", str(source), "--platform", "linux/arm64", code=1).stdout
    assert "FAILED" in said and "this machine runs no programs of that platform" in said
    said = stack.run("ship", str(source), "--platform", "nonsense", code=1).stdout
    assert "build    FAILED: " in said and "nonsense" in said
    assert page(stack) == native + "\n"


def test_a_port_that_another_one_has_is_said_and_the_old_one_comes_back(
    stack: Stack, source: Path
) -> None:
    stack.run("ship", str(source))
    stack.shell(
        "docker run -d --name other --stop-signal KILL -p 127.0.0.1:8081:1 busybox sleep 1000"
    )
    write(source, SERVING % "two", TOML.replace("8080", "8081"))
    said = stack.run("ship", str(source), code=1).stdout
    assert "switch   FAILED" in said and "change ports in sampan.toml" in said
    assert "release 1 still runs" in said
    assert page(stack) == "one\n"


def test_ports_and_health_from_outside_without_a_check_in_the_image(
    stack: Stack, source: Path
) -> None:
    dockerfile = (SERVING % "one").replace("HEALTHCHECK", "LABEL x=y\n# HEALTHCHECK")
    write(
        source,
        dockerfile,
        'name = "web"\n[run]\nstop_timeout = "1s"\n[health]\nhttp = "/index.html"\n',
    )
    first = stack.run("ship", str(source)).stdout
    assert "/index.html answers" in first
    address = first.split()[-1]
    port = int(address.rsplit(":", 1)[1])
    assert page(stack, port) == "one\n"
    write(source, dockerfile.replace("echo one", "echo two"))
    assert stack.run("ship", str(source)).stdout.split()[-1] == address
    assert page(stack, port) == "two\n"


def test_an_interrupted_ship_is_taken_back(stack: Stack, source: Path) -> None:
    stack.run("ship", str(source))
    write(
        source,
        (SERVING % "two").replace("CMD wget", "CMD false; wget").replace("| grep", "| false; #"),
    )
    command = stack.words("ship", str(source))
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env=stack.environment
    ) as process:
        assert process.stdout is not None
        assert any(line.startswith("  start ") for line in process.stdout)
        assert "web-candidate running" in names(stack)
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
    assert names(stack) == "web running\n"
    assert page(stack) == "one\n"


def test_a_build_is_interrupted_too(stack: Stack, source: Path) -> None:
    write(source, "FROM busybox\nRUN echo under way; sleep 1000\n")
    command = stack.words("ship", "--verbose", str(source))
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env=stack.environment
    ) as process:
        assert process.stdout is not None
        assert any("| under way" in line for line in process.stdout)
        process.send_signal(signal.SIGINT)
        assert "build    FAILED: interrupted" in process.stdout.read()
        assert process.wait(30) == 130
    assert names(stack) == ""


def test_a_stranger_with_the_same_name_is_left_alone(stack: Stack, source: Path) -> None:
    stack.shell("docker run -d --name web --stop-signal KILL busybox sleep 1000")
    assert "was not shipped" in stack.run("ship", str(source), code=1).stderr
    assert names(stack) == "web running\n"


def test_what_a_killed_ship_has_left_the_next_one_clears(stack: Stack, source: Path) -> None:
    stack.run("ship", str(source))
    stack.shell(
        "docker run -d --name web-candidate --stop-signal KILL busybox sleep 1000\n"
        "docker create --name web-next busybox\n"
        "docker stop web; docker rename web web-previous"
    )
    assert "nothing has changed: release 1 runs" in stack.run("ship", str(source)).stdout
    assert names(stack) == "web running\n"
    assert page(stack) == "one\n"


def test_a_change_is_shipped_while_watching(stack: Stack, source: Path) -> None:
    command = stack.words("ship", "--watch", str(source))
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env=stack.environment
    ) as process:
        assert process.stdout is not None
        assert any("watching for changes" in line for line in process.stdout)
        assert page(stack) == "one\n"
        write(source, SERVING % "two")
        assert any("Dockerfile has changed" in line for line in process.stdout)
        assert any("release 2 is live" in line for line in process.stdout)
        assert page(stack) == "two\n"
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130


def test_settings_of_a_go_build_that_cannot_work_are_told_before_the_build(
    stack: Stack, tmp_path: Path
) -> None:
    (tmp_path / "go.mod").write_text("module example.com/x\n\ngo 1.22\n")
    (tmp_path / "main.go").write_text("package main\n\nfunc main() {}\n")
    write(tmp_path, "FROM golang AS b\nCOPY . .\nRUN GOOS=macos go build -o /x\nFROM busybox\n")
    said = stack.run("ship", str(tmp_path), code=1).stdout
    assert "check    FAILED: Dockerfile:3:" in said and "macos" in said
    assert "sampan go check --fix" in said and "  build " not in said
    assert "  build " in stack.run("ship", "--no-check", str(tmp_path), code=1).stdout


def test_a_go_module_without_a_dockerfile_gets_one_that_is_shown(
    stack: Stack, tmp_path: Path
) -> None:
    (tmp_path / "go.mod").write_text("module example.com/x\n\ngo 1.22\n")
    (tmp_path / "main.go").write_text("package main\n\nfunc main() {}\n")
    said = stack.run("ship", str(tmp_path), code=1).stdout
    assert "    FROM --platform=$BUILDPLATFORM golang:1.22-alpine AS builder" in said
    assert "build    FAILED" in said and "nothing runs" in said
    assert "neither a Dockerfile nor a go.mod" in stack.run("ship", str(stack.place), code=1).stderr
