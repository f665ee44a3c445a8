"""Commands in containers, attached clients and forwarded ports, through crictl and by hand."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import re
import socket
import struct
import subprocess
import termios
import urllib.parse
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.cri_client import CriClient

TRANSPORTS = pytest.mark.parametrize("transport", ["spdy", "websocket"])
pytestmark = [pytest.mark.root, pytest.mark.real]


@pytest.fixture
def sleeper(cri: CriClient) -> str:
    """A container that does nothing for a while."""
    return cri.start(cri.run_pod(), "sleep", "1000")


def sync(cri: CriClient, container: str, script: str, timeout: int = 0) -> tuple[bytes, bytes, int]:
    """ExecSync of a shell script: stdout, stderr, exit code."""
    cmd = ["sh", "-c", script]
    done = cri.call("ExecSync", container_id=container, cmd=cmd, timeout=timeout)
    return done.stdout, done.stderr, done.exit_code


def test_a_command_is_run_to_its_end(cri: CriClient, sleeper: str) -> None:
    assert sync(cri, sleeper, "echo out; echo err >&2; exit 3") == (b"out\n", b"err\n", 3)
    assert sync(cri, sleeper, "kill -9 $$")[2] == 137
    missing = cri.fails("ExecSync", container_id=sleeper, cmd=["/no/such"])
    assert missing[0] == "UNKNOWN"
    assert "no such file" in missing[1]


def test_a_command_that_takes_too_long_is_ended(cri: CriClient, sleeper: str) -> None:
    script = "echo $$ > /tmp/pid; exec sleep 1000"
    cmd = ["sh", "-c", script]
    code, _ = cri.fails("ExecSync", container_id=sleeper, cmd=cmd, timeout=1)
    assert code == "DEADLINE_EXCEEDED"
    gone = "while [ -d /proc/$(cat /tmp/pid) ]; do sleep 0.05; done"
    assert sync(cri, sleeper, gone, timeout=20)[2] == 0


def test_of_endless_output_the_beginning_is_returned(cri: CriClient, sleeper: str) -> None:
    out, err, code = sync(cri, sleeper, "head -c 20000000 /dev/zero; exit 5")
    assert (len(out), err, code) == ((16 << 20) - (64 << 10), b"", 5)


def test_what_is_not_running_runs_no_commands(cri: CriClient) -> None:
    container = cri.create(cri.run_pod(), "true")
    request = {"container_id": container, "cmd": ["true"]}
    assert cri.fails("ExecSync", request)[0] == "FAILED_PRECONDITION"
    assert cri.fails("Exec", {**request, "stdout": True})[0] == "FAILED_PRECONDITION"
    assert cri.fails("Attach", container_id=container, stdout=True)[0] == "FAILED_PRECONDITION"
    assert cri.fails("Exec", container_id="0" * 64, cmd=["true"], stdout=True)[0] == "NOT_FOUND"
    running = cri.start(cri.run_pod(), "sleep", "100")
    both = {"container_id": running, "cmd": ["true"], "tty": True, "stderr": True}
    assert cri.fails("Exec", both)[0] == "INVALID_ARGUMENT"
    assert cri.fails("Exec", container_id=running, cmd=["true"])[0] == "INVALID_ARGUMENT"


@TRANSPORTS
def test_streams_of_a_command(cri: CriClient, sleeper: str, transport: str) -> None:
    words = ("exec", "--transport", transport, "-i", sleeper, "sh", "-c")
    data = os.urandom(3_000_000)
    assert cri.crictl(*words, "cat", stdin=data).stdout == data
    done = cri.crictl(*words, "cat; echo err >&2; exit 7", stdin=b"some\n", check=False)
    assert done.stdout == b"some\n"
    assert done.stderr.startswith(b"err\n")
    assert b"exit code 7" in done.stderr


def test_input_that_nobody_takes_waits_at_the_client(cri: CriClient, sleeper: str) -> None:
    script = "until [ -e /go ]; do sleep 0.05; done; wc -c"
    words = [*cri.command(), "exec", "-i", sleeper, "sh", "-c", script]
    client = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert client.stdin is not None and client.stdout is not None
    size = 48 << 20
    with ThreadPoolExecutor(1) as pool:
        written = pool.submit(client.communicate, bytes(size))
        assert sync(cri, sleeper, "touch /go")[2] == 0
        assert written.result()[0] == f"{size}\n".encode()
    shown = json.loads(cri.engine.out("inspect", sleeper))[0]["State"]["Pid"]
    parent = re.search(r"PPid:\s+(\d+)", Path(f"/proc/{shown}/status").read_text())
    assert parent is not None
    peak = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{parent[1]}/status").read_text())
    assert peak is not None
    assert int(peak[1]) << 10 < size


@TRANSPORTS
def test_a_terminal_has_the_clients_size(cri: CriClient, sleeper: str, transport: str) -> None:
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 101, 0, 0))
    # Without a size stty prints nothing; the client sends it once the command runs.
    size = "until stty size 2>/dev/null | grep .; do sleep 0.05; done"
    wait = f"{size}; tty; read line; echo got $line"
    command = ["exec", "--transport", transport, "-it", sleeper, "sh", "-c", wait]
    process = subprocess.Popen(
        [*cri.command(), *command], stdin=theirs, stdout=theirs, stderr=subprocess.DEVNULL
    )
    os.close(theirs)
    seen = b""
    try:
        while b"/dev/pts/" not in seen:
            seen += os.read(ours, 4096)
        assert b"30 101\r\n" in seen
        os.write(ours, b"word\r")
        while b"got word" not in seen:
            seen += os.read(ours, 4096)
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait()
        os.close(ours)


@TRANSPORTS
def test_a_client_attached_to_the_first_process(cri: CriClient, transport: str) -> None:
    container = cri.start(cri.run_pod(), "cat", stdin=True, stdin_once=True)
    words = [*cri.command(), "attach", "--transport", transport, "-i", container]
    done = subprocess.run(words, input=b"to the cat\n", capture_output=True, timeout=30)
    assert done.stdout == b"to the cat\n"
    cri.engine.docker("wait", container)
    status = cri.status(container)
    assert status.exit_code == 0
    assert Path(status.log_path).read_text().endswith("stdout F to the cat\n")


def test_a_command_ends_when_its_client_goes(cri: CriClient, sleeper: str) -> None:
    words = ["exec", "-i", sleeper, "sh", "-c", "echo $$; exec sleep 1000"]
    process = subprocess.Popen(
        [*cri.command(), *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    pid = process.stdout.readline().decode().strip()
    process.kill()
    process.communicate()
    gone = f"while [ -d /proc/{pid} ]; do sleep 0.05; done"
    assert sync(cri, sleeper, gone, timeout=20)[2] == 0


@contextmanager
def forwarded(cri: CriClient, pod: str, port: int, transport: str) -> Iterator[int]:
    """crictl port-forward on a free port, which is yielded."""
    words = ["port-forward", "--transport", transport, pod, f":{port}"]
    process = subprocess.Popen(
        [*cri.command(), *words], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    try:
        assert process.stdout is not None
        found = re.search(rb"127\.0\.0\.1:(\d+)", process.stdout.readline())
        assert found is not None
        yield int(found[1])
    finally:
        process.kill()
        process.communicate()


def exchanged(port: int, data: bytes) -> bytes:
    """Send, end the sending side, and return everything that comes back."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as sock:
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
        back = b""
        while piece := sock.recv(65536):
            back += piece
        return back


@TRANSPORTS
def test_ports_of_a_pod_are_forwarded(cri: CriClient, transport: str) -> None:
    pod = cri.run_pod()
    container = cri.start(pod, "nc", "-ll", "-p", "8080", "-e", "cat")
    listening = "until grep -q ':1F90 ' /proc/net/tcp /proc/net/tcp6; do sleep 0.05; done"
    assert sync(cri, container, listening, timeout=20)[2] == 0
    with forwarded(cri, pod, 8080, transport) as port:
        for size in (10, 1_000_000):
            data = os.urandom(size)
            assert exchanged(port, data) == data


def test_a_port_that_nobody_listens_on(cri: CriClient) -> None:
    pod = cri.run_pod()
    with forwarded(cri, pod, 8081, "spdy") as port:
        with contextlib.suppress(ConnectionResetError):
            assert exchanged(port, b"anybody?") == b""


class Channels:
    """A WebSocket client by hand: the protocols of old that no command line speaks any more."""

    def __init__(self, url: str, protocol: str) -> None:
        parts = urllib.parse.urlsplit(url)
        self._sock = socket.create_connection((parts.hostname, parts.port), timeout=20)
        lines = [
            f"GET {parts.path} HTTP/1.1",
            f"Host: {parts.netloc}",
            "Connection: Upgrade",
            "Upgrade: websocket",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
            "Sec-WebSocket-Version: 13",
            f"Sec-WebSocket-Protocol: {protocol}",
        ]
        self._sock.sendall("\r\n".join([*lines, "", ""]).encode())
        self._inbox = b""
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += self._take(1)
        self.head = head.decode()

    def _take(self, size: int) -> bytes:
        while len(self._inbox) < size:
            piece = self._sock.recv(65536)
            assert piece, "the server has gone"
            self._inbox += piece
        data, self._inbox = self._inbox[:size], self._inbox[size:]
        return data

    def send(self, channel: int, data: bytes) -> None:
        payload = bytes([channel]) + data
        self._sock.sendall(struct.pack(">BB4x", 0x82, 0x80 | len(payload)) + payload)

    def receive(self) -> tuple[int, bytes]:
        """The next message that is not empty: its channel and its bytes."""
        while True:
            kind, length = self._take(2)
            if length == 126:
                (length,) = struct.unpack(">H", self._take(2))
            payload = self._take(length)
            if kind & 0x0F == 8:
                return -1, payload
            if len(payload) > 1:
                return payload[0], payload[1:]

    def close(self) -> None:
        self._sock.close()


def test_a_websocket_of_the_fourth_version(cri: CriClient, sleeper: str) -> None:
    cmd = ["sh", "-c", "read line; echo out $line; sleep 0.2; echo err >&2; exit 2"]
    request = {"container_id": sleeper, "cmd": cmd, "stdin": True, "stdout": True, "stderr": True}
    url = cri.call("Exec", request).url
    client = Channels(url, "v4.channel.k8s.io")
    try:
        assert "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in client.head
        client.send(0, b"word\n")
        assert client.receive() == (1, b"out word\n")
        assert client.receive() == (2, b"err\n")
        channel, status = client.receive()
        assert channel == 3
        assert b'"reason": "ExitCode", "message": "2"' in status
        assert client.receive()[0] == -1
    finally:
        client.close()


def test_ports_over_the_channels_of_a_websocket(cri: CriClient) -> None:
    pod = cri.run_pod()
    container = cri.start(pod, "nc", "-ll", "-p", "8080", "-e", "cat")
    listening = "until grep -q ':1F90 ' /proc/net/tcp /proc/net/tcp6; do sleep 0.05; done"
    assert sync(cri, container, listening, timeout=20)[2] == 0
    url = cri.call("PortForward", pod_sandbox_id=pod, port=[8080, 9]).url
    client = Channels(url, "v4.channel.k8s.io")
    try:
        for channel, port in ((0, 8080), (1, 8080), (2, 9), (3, 9)):
            assert client.receive() == (channel, struct.pack("<H", port))
        channel, message = client.receive()
        assert channel == 3
        assert b"failed to connect to localhost:9" in message
        client.send(0, b"through the pod")
        assert client.receive() == (0, b"through the pod")
    finally:
        client.close()


def test_an_address_is_good_once(cri: CriClient, sleeper: str) -> None:
    def answer(url: str, protocol: str = "v4.channel.k8s.io") -> str:
        client = Channels(url, protocol)
        client.close()
        return client.head.split()[1]

    request = {"container_id": sleeper, "cmd": ["true"], "stdout": True}
    url, other = (cri.call("Exec", request).url for _ in range(2))
    assert url.startswith("http://127.0.0.1:")
    assert (answer(url), answer(url)) == ("101", "404")
    assert answer(other, "v9.channel.k8s.io") == "403"
    assert answer(other.rpartition("/")[0] + "/" + "A" * 32) == "404"
