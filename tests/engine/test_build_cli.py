"""`sampan build`: how it shows a build, its checks, and what it hands to the builder."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from tests.engine_server import EngineServer

pytestmark = [pytest.mark.real, pytest.mark.root]

COMMAND = "RUN --network=none "


@pytest.fixture(scope="module")
def engine(module_engine: EngineServer) -> EngineServer:
    return module_engine


def context(place: Path, dockerfile: str, files: Mapping[str, str] | None = None) -> str:
    for name, text in {"Dockerfile": dockerfile, **(files or {})}.items():
        (place / name).write_text(text)
    return str(place)


def build(
    server: EngineServer, *words: str, env: Mapping[str, str] | None = None, stdin: str = ""
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "sampan.cli.main", "-H", server.url, "build", *words],
        capture_output=True,
        text=True,
        check=False,
        input=stdin,
        env={**os.environ, **(env or {})},
    )


def on_terminal(server: EngineServer, *words: str) -> str:
    """Run it on a terminal of 80 columns and return all that it wrote."""
    pid, fd = pty.fork()
    if pid == 0:
        command = [sys.executable, "-m", "sampan.cli.main", "-H", server.url, "build", *words]
        os.execv(sys.executable, command)
    written = b""
    try:
        while data := os.read(fd, 65536):
            written += data
    except OSError:
        pass  # the other end is closed
    finally:
        os.close(fd)
        os.waitpid(pid, 0)
    return written.decode(errors="replace")


def test_a_terminal_shows_the_steps_with_their_times(engine: EngineServer, tmp_path: Path) -> None:
    text = f"FROM busybox\n{COMMAND}sleep 0.4; echo spoken; sleep 0.2\nCOPY Dockerfile /\n"
    shown = on_terminal(engine, "--no-cache", context(tmp_path, text))
    assert "\x1b[" in shown
    assert "=> => # spoken" in shown  # while it ran
    last = shown[shown.rindex("[+] Building") :]
    assert re.match(r"\[\+\] Building \d+\.\ds \(3/3\) FINISHED", last)
    assert re.search(r"=> RUN sleep 0\.4; .* 0\.[6-9]s|=> RUN sleep 0\.4; .* [1-9]\.\ds", last)
    assert "=> => #" not in last
    again = on_terminal(engine, str(tmp_path))
    assert "=> CACHED COPY Dockerfile /" in again


def test_a_failure_on_a_terminal_shows_what_was_said(engine: EngineServer, tmp_path: Path) -> None:
    text = f"FROM busybox\n{COMMAND}echo before; exit 7\n"
    shown = on_terminal(engine, context(tmp_path, text))
    assert "=> ERROR RUN echo before; exit 7" in shown
    assert "> RUN echo before; exit 7:\r\nbefore\r\n------" in shown
    assert "returned a non-zero code: 7" in shown


def test_line_by_line(engine: EngineServer, tmp_path: Path) -> None:
    text = f"FROM busybox\n{COMMAND}echo one; echo two\n"
    done = build(engine, "--no-cache", "--progress=plain", context(tmp_path, text))
    lines = done.stdout.splitlines()
    at = lines.index("#2 RUN echo one; echo two")
    assert lines[at + 1 : at + 3] == ["#2 one", "#2 two"]
    assert any(re.fullmatch(r"#2 DONE \d+\.\ds", line) for line in lines)
    again = build(engine, "--progress=plain", str(tmp_path)).stdout
    assert "#2 CACHED" in again


def test_as_events(engine: EngineServer, tmp_path: Path) -> None:
    done = build(engine, "--progress=rawjson", context(tmp_path, "FROM busybox AS B\nUSER 1\n"))
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert {one["event"] for one in events} == {"begin", "step", "warning"}


def test_quietly(engine: EngineServer, tmp_path: Path) -> None:
    text = f"FROM busybox\n{COMMAND}echo loud\n"
    done = build(engine, "--progress=quiet", context(tmp_path, text))
    assert re.fullmatch(r"sha256:[0-9a-f]{64}\n", done.stdout)
    wrong = build(engine, "--progress=fancy", str(tmp_path))
    assert "invalid progress mode fancy" in wrong.stderr


def test_without_a_terminal_in_the_classic_words_with_warnings_aside(
    engine: EngineServer, tmp_path: Path
) -> None:
    place = context(tmp_path, "FROM busybox AS Upper\nENV a b\nUSER 1\n")
    done = build(engine, place)
    assert done.stdout.startswith("Step 1/")
    assert "Upper" not in done.stdout.replace("AS Upper", "")
    assert done.stderr.splitlines()[0] == "2 warnings found:"
    assert " - StageNameCasing (Dockerfile:1): " in done.stderr
    assert " - LegacyKeyValueFormat (Dockerfile:2): " in done.stderr
    classic = engine.docker("build", place, env={"DOCKER_BUILDKIT": "0"})
    assert b"StageNameCasing" not in classic.stdout + classic.stderr


def test_a_check_builds_nothing(engine: EngineServer, tmp_path: Path) -> None:
    images = engine.out("images", "-qa")
    text = "FROM not.reachable.example/x AS S\nMAINTAINER me\nCOPY a /\n"
    done = build(engine, "--check", context(tmp_path, text, {".dockerignore": "a\n"}))
    assert done.returncode == 0
    for rule in ("StageNameCasing", "MaintainerDeprecated", "CopyIgnoredFile"):
        assert f"WARNING: {rule}: " in done.stdout
    assert "   2 | >>> MAINTAINER me" in done.stdout
    clean = build(engine, "--check", context(tmp_path, "FROM busybox\n"))
    assert clean.stdout == "Check complete, no warnings found.\n"
    wrong = build(engine, "--check", context(tmp_path, "# check=error=true\nFROM b AS S\n"))
    assert (wrong.returncode, wrong.stdout.startswith("ERROR: StageNameCasing")) == (1, True)
    broken = build(engine, "--check", context(tmp_path, "FROM b\nCOPPY a b\n"))
    assert broken.returncode == 1
    assert "did you mean COPY?" in broken.stdout
    assert engine.out("images", "-qa") == images


def test_findings_stop_a_build_that_wants_it(engine: EngineServer, tmp_path: Path) -> None:
    place = context(tmp_path, "FROM busybox AS S\n")
    flag = "--build-arg=BUILDKIT_DOCKERFILE_CHECK=error=true"
    done = build(engine, flag, place)
    assert done.returncode == 1
    assert "Dockerfile:1:1: error: " in done.stderr
    assert build(engine, flag + ";skip=StageNameCasing", place).returncode == 0
