"""`sampan record` against real servers: what they say while they are killed can be explained."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from tests.real import require
from tests.servers import SAMPAN, Flavour, Server, debian_etcd

from sampan.verify.core.jsonl import read


@pytest.fixture(params=["sampan", "etcd"])
def flavour(request: pytest.FixtureRequest) -> Flavour:
    return SAMPAN if request.param == "sampan" else debian_etcd(require("etcd"))


def recorder(address: str, out: Path, *more: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "sampan.cli.main", "record", f"--out={out}"]
    # Debian's etcd 3.4.23 answers progress requests ahead of events that are still to come.
    words = [*command, f"--endpoints={address}", "--no-bookmarks", "--rate=400", *more]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def verify(out: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "sampan.cli.main", "verify", str(out)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def verified(out: Path) -> str:
    done = verify(out)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.real
def test_a_recording_of_a_server_can_be_explained(flavour: Flavour, tmp_path: Path) -> None:
    out = tmp_path / "history.jsonl"
    with Server(flavour, tmp_path / "data") as server:
        with recorder(server.address, out, "--seconds=2") as recording:
            text, _ = recording.communicate(timeout=60)
    assert recording.returncode == 0, text
    assert "5 watchers" in text
    assert "operations are linearizable" in verified(out)
    with out.open() as file:
        told = {json.loads(line).get("op") for line in file}
    assert {"put", "range", "delete", "txn", "grant"} <= told


def free_address() -> str:
    """An address where a server can listen again after it was killed."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


@pytest.mark.real
def test_so_can_one_of_a_server_that_is_killed(flavour: Flavour, tmp_path: Path) -> None:
    out = tmp_path / "history.jsonl"
    address = free_address()
    with Server(flavour, tmp_path / "data", [f"--listen-client-urls=http://{address}"]) as server:
        with recorder(address, out, "--seconds=4", "--timeout=1") as recording:
            for _ in range(2):
                threading.Event().wait(1.0)
                server.kill()
                server.start()
            text, _ = recording.communicate(timeout=90)
    assert recording.returncode == 0, text
    verified(out)
    with out.open() as file:
        history = read(file)
    assert sum(one.result is None for one in history.operations) > 0


def test_two_stores_under_one_name_are_noticed(tmp_path: Path) -> None:
    """Split brain: clients take for one cluster what are two that know nothing of each other."""
    out = tmp_path / "history.jsonl"
    with (
        Server(SAMPAN, tmp_path / "left", ["--memory"]) as left,
        Server(SAMPAN, tmp_path / "right", ["--memory"]) as right,
        recorder(f"{left.address},{right.address}", out, "--seconds=1") as recording,
    ):
        text, _ = recording.communicate(timeout=60)
    assert recording.returncode == 0, text
    done = verify(out)
    assert done.returncode == 1
    assert "not linearizable: " in done.stdout


def test_a_store_that_loses_what_it_acknowledged_is_noticed(tmp_path: Path) -> None:
    """A store in memory forgets everything when it is killed, and begins again."""
    out, address = tmp_path / "history.jsonl", free_address()
    flags = ["--memory", f"--listen-client-urls=http://{address}"]
    with Server(SAMPAN, tmp_path / "data", flags) as server:
        with recorder(address, out, "--seconds=2", "--timeout=1") as recording:
            until_written(out)
            server.kill()
            server.start()
            text, _ = recording.communicate(timeout=60)
    assert recording.returncode == 0, text
    done = verify(out)
    assert done.returncode == 1
    assert "not linearizable: " in done.stdout


def until_written(out: Path) -> None:
    """Wait until something of the history is in its file."""
    for _ in range(300):
        if out.exists() and out.stat().st_size > 0:
            return
        threading.Event().wait(0.05)


def test_a_store_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SHORT, str(tmp_path / "h")],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "SampanError: the store did not answer within 0.5 s" in done.stderr


SHORT = """
import sys
from pathlib import Path
from sampan.loop import runner
from sampan.verify.shell.session import Options, record
runner.run(record(Options(("127.0.0.1:1",), settle_s=0.5), Path(sys.argv[1])))
"""
