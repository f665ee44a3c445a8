"""The `sampan` command and its programs, run as their users run them."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

SAMPAN = str(Path(sys.executable).parent / "sampan")
LISTEN = ("--listen-client-urls=http://127.0.0.1:0",)
TIMEOUT_S = 60


def run(
    *words: str, env: Mapping[str, str] | None = None, program: str = SAMPAN
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [program, *words],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        env={**os.environ, **(env or {})},
        check=False,
    )


@pytest.fixture
def etcd_link(tmp_path: Path) -> str:
    link = tmp_path / "etcd"
    link.symlink_to(SAMPAN)
    return str(link)


def test_help_lists_the_programs() -> None:
    done = run("--help")
    assert done.returncode == 0
    for name in ("etcd", "etcdutl", "demo"):
        assert re.search(rf"^  {name}  ", done.stdout, re.MULTILINE)


def test_help_imports_no_server() -> None:
    script = (
        "import sys, sampan.cli.main as m\n"
        "sys.argv = ['sampan', '--help']\n"
        "try:\n    m.main()\nexcept SystemExit:\n    pass\n"
        "print([n for n in ('asyncio', 'ssl', 'yaml', 'google.protobuf', 'uvloop', 'lmdb')"
        " if n in sys.modules])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "[]"


def test_an_unknown_program_is_named_with_the_nearest() -> None:
    done = run("etdc")
    assert done.returncode == 2
    assert "No such command 'etdc'. Did you mean etcd?" in done.stderr


def test_the_version_of_etcd_comes_first(etcd_link: str) -> None:
    for done in (run("etcd", "--version"), run("--version", program=etcd_link)):
        assert done.returncode == 0
        assert re.fullmatch(r"etcd Version: 3\.\d+\.\d+", done.stdout.splitlines()[0])


def test_etcd_help_lists_every_flag(etcd_link: str) -> None:
    done = run("-h", program=etcd_link)
    assert done.returncode == 0
    assert "  --listen-client-urls 'http://localhost:2379'\n" in done.stdout
    assert "  --discovery-srv ''\n" in done.stdout
    assert "(not supported yet)" in done.stdout


def test_a_wrong_flag_is_exit_code_2_and_a_wrong_setting_1() -> None:
    wrong_flag = run("etcd", "--listen-client-url=x")
    assert wrong_flag.returncode == 2
    assert "(did you mean --listen-client-urls?)" in wrong_flag.stderr
    wrong_setting = run("etcd", "--election-timeout=1")
    assert wrong_setting.returncode == 1
    line = json.loads(wrong_setting.stderr)
    assert (line["level"], line["msg"]) == ("error", "failed to verify flags")
    assert run("etcd", "gateway", "start").returncode == 2


def test_a_server_serves_and_ends_in_order_when_told(etcd_link: str) -> None:
    process = subprocess.Popen(
        [etcd_link, "--memory", "--name=m1", *LISTEN],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "ETCD_NMAE": "x"},
    )
    assert process.stderr is not None
    lines = []
    with process, process.stderr:
        for text in process.stderr:
            line = json.loads(text)
            lines.append(line)
            if str(line["msg"]).startswith("serving client traffic"):
                process.send_signal(signal.SIGTERM)
        assert process.wait(TIMEOUT_S) == 0
    messages = [line["msg"] for line in lines]
    assert messages[0] == "unrecognized environment variable"
    assert "ready to serve client requests" in messages
    assert messages[-1] == "closed etcd server"
    assert {line["level"] for line in lines} == {"info", "warn"}


def test_a_server_that_cannot_start_says_why(tmp_path: Path) -> None:
    taken = f"--listen-client-urls=unix://{tmp_path}/nowhere/etcd.sock"
    done = run("etcd", "--memory", taken, "--advertise-client-urls=http://127.0.0.1:1")
    assert done.returncode == 1
    last = json.loads(done.stderr.splitlines()[-1])
    assert (last["level"], last["msg"]) == ("fatal", "failed to start etcd")
    assert last["error"]


def test_log_lines_go_where_they_are_sent(tmp_path: Path) -> None:
    log = tmp_path / "etcd.log"
    socket = f"--listen-client-urls=unix://{tmp_path}/nowhere/etcd.sock"
    done = run(
        "etcd",
        "--memory",
        f"--log-outputs=stdout,{log}",
        "--log-format=console",
        socket,
        "--advertise-client-urls=http://127.0.0.1:1",
    )
    assert done.stderr == ""
    assert done.stdout == log.read_text()
    assert "\tINFO\tstarting an etcd server\t{" in done.stdout
    unwritable = run("etcd", f"--log-outputs={tmp_path}/no/etcd.log", "--memory")
    assert unwritable.returncode == 1
    assert "No such file or directory" in unwritable.stderr


def test_wrong_usage_of_a_program() -> None:
    done = run("demo", "--second=1")
    assert done.returncode == 2
    assert "Usage: sampan demo" in done.stderr
    assert run("demo", env={"DEMO_SECONDS": "soon"}).returncode == 2
