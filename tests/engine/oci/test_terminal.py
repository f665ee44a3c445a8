"""Terminals: handed to who asks over a socket, or joined to the caller's own."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import socket
import struct
import subprocess
import termios
from pathlib import Path

import pytest
from tests.engine.oci.runtimes import SAMPAN, TIMEOUT_S, Bundles, Runtime

pytestmark = [pytest.mark.root]


def read_until(fd: int, wanted: bytes) -> bytes:
    """Read from a terminal until it has said that."""
    seen = b""
    while wanted not in seen:
        assert select.select([fd], [], [], TIMEOUT_S)[0], seen
        seen += os.read(fd, 4096)
    return seen


def receive(listener: socket.socket) -> int:
    listener.settimeout(TIMEOUT_S)
    connection, _ = listener.accept()
    with connection:
        _, fds, _, _ = socket.recv_fds(connection, 4096, 1)
    return fds[0]


@pytest.fixture
def listener(tmp_path: Path) -> socket.socket:
    one = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    one.bind(str(tmp_path / "console.sock"))
    one.listen()
    return one


def test_over_a_socket(
    oci: Runtime, bundles: Bundles, tmp_path: Path, listener: socket.socket
) -> None:
    path = str(tmp_path / "console.sock")
    bundle = bundles.make(
        "sh", "-c", "tty; read x; echo got $x; read x", process={"terminal": True}
    )
    with listener:
        oci.ok("create", "--bundle", bundle, "--console-socket", path, "tty")
        master = receive(listener)
        oci.ok("start", "tty")
        read_until(master, b"/dev/pts/0")
        os.write(master, b"word\n")
        read_until(master, b"got word")
        console = oci.ok("exec", "tty", "ls", "-l", "/dev/console")
        assert console.startswith("c")
        words = (
            "exec",
            "--tty",
            "--detach",
            "--console-socket",
            path,
            "tty",
            "sh",
            "-c",
            "tty; cat",
        )
        oci.ok(*words)
        other = receive(listener)
        read_until(other, b"/dev/pts/1")
    os.close(master)
    os.close(other)


def test_a_socket_that_is_not_there(oci: Runtime, bundles: Bundles, tmp_path: Path) -> None:
    bundle = bundles.make("true", process={"terminal": True})
    words = ("create", "--bundle", bundle, "--console-socket", str(tmp_path / "none"), "tty")
    assert "dial unix" in oci.fails(*words)
    plain = bundles.make("true")
    words = ("create", "--bundle", plain, "--console-socket", str(tmp_path / "none"), "tty")
    assert "cannot use console socket" in oci.fails(*words)


def test_in_the_foreground(oci: Runtime, bundles: Bundles) -> None:
    script = "stty size; trap 'stty size; exit 6' WINCH; echo ready; while :; do sleep 0.1; done"
    bundle = bundles.make("sh", "-c", script, process={"terminal": True})
    oci.made.append("front")
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 90, 0, 0))
    words = [*SAMPAN, "--root", str(oci.root), "run", "--bundle", bundle, "front"]
    with subprocess.Popen(words, stdin=slave, stdout=slave, stderr=slave) as running:
        os.close(slave)
        assert b"30 90" in read_until(master, b"ready")
        fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
        running.send_signal(signal.SIGWINCH)
        read_until(master, b"40 100")
        assert running.wait(TIMEOUT_S) == 6
    os.close(master)


def test_signals_are_passed_on(oci: Runtime, bundles: Bundles, tmp_path: Path) -> None:
    bundle = bundles.make("sh", "-c", "trap 'exit 8' TERM; echo ready; while :; do sleep 0.1; done")
    oci.made.append("signals")
    with subprocess.Popen(
        [*SAMPAN, "--root", str(oci.root), "run", "--bundle", bundle, "signals"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
    ) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == b"ready\n"
        running.send_signal(signal.SIGTERM)
        assert running.wait(TIMEOUT_S) == 8
