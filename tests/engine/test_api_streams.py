"""Input and output over the API: WebSocket, keys that let go, logs word by word, processes."""

from __future__ import annotations

import base64
import json
import os
import re
import socket
import struct
import time
import urllib.parse
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.docker_api import DockerApi
from tests.engine_server import EngineServer

pytestmark = [pytest.mark.real, pytest.mark.root]


class Hijacked:
    """A connection that has become a stream."""

    def __init__(
        self, engine: EngineServer, path: str, headers: str = "", body: bytes = b""
    ) -> None:
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._sock.settimeout(30)
        self._sock.connect(str(engine.socket))
        method = "GET" if path.endswith("/ws") or "/ws?" in path else "POST"
        head = f"{method} /v1.50{path} HTTP/1.1\r\nHost: d\r\nContent-Length: {len(body)}\r\n"
        if body:
            head += "Content-Type: application/json\r\n"
        self._sock.sendall((head + headers + "\r\n").encode() + body)
        self._file = self._sock.makefile("rb")
        self.status = int(self._file.readline().split()[1])
        self.headers = {}
        while line := self._file.readline().strip():
            name, _, value = line.decode().partition(": ")
            self.headers[name.lower()] = value

    def send(self, data: bytes) -> None:
        self._sock.sendall(data)

    def read(self, count: int) -> bytes:
        return self._file.read(count)

    def until(self, words: bytes) -> bytes:
        found = b""
        while words not in found:
            piece = self._file.read1(4096)
            assert piece, found
            found += piece
        return found

    def rest(self) -> bytes:
        return self._file.read()

    def close(self) -> None:
        self._file.close()
        self._sock.close()


UPGRADE = "Connection: Upgrade\r\nUpgrade: tcp\r\n"


def web(key: bytes) -> str:
    return (
        "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        f"Sec-WebSocket-Key: {base64.b64encode(key).decode()}\r\n"
    )


def frame(data: bytes, kind: int = 2) -> bytes:
    mask = os.urandom(4)
    masked = bytes(one ^ mask[at % 4] for at, one in enumerate(data))
    return bytes([0x80 | kind, 0x80 | len(data)]) + mask + masked


def message(stream: Hijacked) -> tuple[int, bytes]:
    first, length = stream.read(2)
    if length == 126:
        (length,) = struct.unpack(">H", stream.read(2))
    return first & 0x0F, stream.read(length)


def test_attaching_by_websocket(engine: EngineServer) -> None:
    run = ("run", "-d", "-i", "--network", "none", "--name", "ws", "busybox")
    engine.docker(*run, "cat")
    stream = Hijacked(
        engine, "/containers/ws/attach/ws?stdin=1&stdout=1&stderr=1", web(b"the sample nonce")
    )
    assert stream.status == 101
    assert stream.headers["sec-websocket-accept"] == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
    stream.send(frame(b"typed\n"))
    assert message(stream) == (2, b"typed\n")
    stream.send(frame(b"", 9))
    assert message(stream) == (10, b"")
    stream.send(frame(struct.pack(">H", 1000), 8))
    assert message(stream)[0] == 8
    stream.close()
    plain = DockerApi(engine.socket).call("GET", "/containers/ws/attach/ws")
    assert plain.status == 400


def test_keys_let_go_of_a_terminal(engine: EngineServer) -> None:
    engine.docker("run", "-dit", "--network", "none", "--name", "tty", "busybox", "sh")
    query = "stream=1&stdin=1&stdout=1&stderr=1"
    stream = Hijacked(engine, f"/containers/tty/attach?{query}&detachKeys=ctrl-x,a", UPGRADE)
    stream.send(b"echo o''ne\n")
    stream.until(b"one")
    stream.send(b"\x18b\x18")
    stream.send(b"a")
    stream.rest()
    stream.close()
    assert engine.out("inspect", "-f", "{{.State.Running}}", "tty") == "true\n"
    api = DockerApi(engine.socket)
    command = {"Cmd": ["sh"], "Tty": True, "AttachStdin": True, "AttachStdout": True}
    session = api.call("POST", "/containers/tty/exec", command).document["Id"]
    stream = Hijacked(engine, f"/exec/{session}/start", UPGRADE, b'{"Tty":true}')
    stream.send(b"echo t''wo\n")
    stream.until(b"two")
    stream.send(b"\x10\x11")
    stream.rest()
    stream.close()
    assert api.call("GET", f"/exec/{session}/json").document["Running"] is True
    told = [event["Action"] for event in events(engine, "tty")]
    assert "detach" in told
    assert "exec_detach" in told


def events(engine: EngineServer, name: str) -> list[dict[str, object]]:
    wanted = urllib.parse.quote(json.dumps({"container": [name]}))
    path = f"/events?since=1&until={time.time():.9f}&filters={wanted}"
    answer = DockerApi(engine.socket).call("GET", path)
    return [json.loads(line) for line in answer.raw.splitlines()]


def test_input_that_comes_with_the_request(engine: EngineServer) -> None:
    """What a client sends before it has read the answer is input all the same."""
    engine.docker("create", "-i", "--network", "none", "--name", "early", "busybox", "cat")
    query = "stream=1&stdin=1&stdout=1"
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.settimeout(30)
    sock.connect(str(engine.socket))
    head = f"POST /containers/early/attach?{query} HTTP/1.1\r\nHost: d\r\n{UPGRADE}\r\n"
    sock.sendall(head.encode() + b"early bytes\n")
    with sock, sock.makefile("rb") as file:
        while file.readline().strip():
            pass
        engine.docker("start", "early")
        assert file.read(8)[0] == 1
        assert file.read(12) == b"early bytes\n"


def test_requests_in_a_row_on_one_connection(engine: EngineServer) -> None:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.settimeout(30)
    sock.connect(str(engine.socket))
    request = b"GET /_ping HTTP/1.1\r\nHost: d\r\n\r\n"
    with sock, sock.makefile("rb") as file:
        sock.sendall(request * 20)
        for _ in range(20):
            assert file.readline().split()[1] == b"200"
            while file.readline().strip():
                pass
            assert file.read(2) == b"OK"


def test_bodies_and_headers_have_bounds(engine: EngineServer) -> None:
    api = DockerApi(engine.socket)
    answer = api.call("POST", "/containers/create", b'{"Image":"' + b"x" * (5 << 20) + b'"}')
    assert answer.status in (400, 413, 500)
    assert "larger than" in answer.message
    deep = api.call("POST", "/containers/create", b"[" * 100_000)
    assert (deep.status, deep.message) == (400, "invalid JSON: exceeded max depth")
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.settimeout(30)
    sock.connect(str(engine.socket))
    with sock, sock.makefile("rb") as file:
        sock.sendall(b"GET /_ping HTTP/1.1\r\nHost: d\r\nX: " + b"y" * (1 << 20) + b"\r\n\r\n")
        assert file.readline().split()[1] in (b"431", b"400")


def test_log_lines_word_by_word(engine: EngineServer) -> None:
    options = ("--log-opt", "labels=color", "--log-opt", "env=SIZE", "--log-opt", "tag={{.Name}}")
    words = ("-l", "color=dark red", "-e", "SIZE=xl", "busybox", "sh", "-c", "echo hi; sleep 0.01")
    engine.docker("run", "--network", "none", "--name", "log", *options, *words)
    details = engine.out("logs", "--details", "log")
    assert details == "SIZE=xl,color=dark+red,tag=log hi\n"
    stamped = engine.out("logs", "-t", "--details", "log")
    assert re.fullmatch(r"\S+\.\d{9}Z SIZE=xl,color=dark\+red,tag=log hi\n", stamped)
    engine.docker("run", "--network", "none", "--name", "bare", "busybox", "echo", "x")
    assert engine.out("logs", "--details", "bare") == " x\n"


def test_until_and_since_are_exact(engine: EngineServer) -> None:
    script = "for n in 1 2 3; do echo $n; sleep 0.02; done"
    engine.docker("run", "--network", "none", "--name", "when", "busybox", "sh", "-c", script)
    moments = [line.split()[0] for line in engine.out("logs", "-t", "when").splitlines()]
    assert engine.out("logs", "--since", moments[1], "when") == "2\n3\n"
    assert engine.out("logs", "--until", moments[1], "when") == "1\n2\n"
    assert engine.out("logs", "--since", moments[1], "--until", moments[1], "when") == "2\n"


@pytest.mark.parametrize(("driver", "readable"), [("local", True), ("none", False)])
def test_other_log_drivers(engine: EngineServer, driver: str, readable: bool) -> None:
    run = ("run", "--network", "none", "--name", "other", "--log-driver", driver, "busybox")
    engine.docker(*run, "echo", "hi")
    done = engine.docker("logs", "other", check=False)
    assert done.stdout == (b"hi\n" if readable else b"")
    if not readable:
        assert b"configured logging driver does not support reading" in done.stderr


def test_top_takes_any_arguments_of_ps(engine: EngineServer) -> None:
    run = ("run", "-d", "--network", "none", "--name", "procs", "busybox", "sleep", "600")
    engine.docker(*run)
    assert engine.out("top", "procs", "-eo", "pid,comm").split()[:2] == ["PID", "COMMAND"]
    lines = engine.out("top", "procs", "-o", "pid,args").splitlines()
    assert [line.split(None, 1)[1] for line in lines] == ["COMMAND", "sleep 600"]
    for words, said in (
        (("-o", "comm"), "Couldn't find PID field in ps output"),
        (("-o", "pid=x"), "is not allowed"),
        (("--nosuch",), "ps: error"),
    ):
        assert said in engine.docker("top", "procs", *words, check=False).stderr.decode()


def test_of_many_who_want_a_name_one_gets_it(engine: EngineServer) -> None:
    api = DockerApi(engine.socket)
    body = {"Image": "busybox", "Cmd": ["true"], "HostConfig": {"NetworkMode": "none"}}

    def create(_: int) -> int:
        return api.call("POST", "/containers/create?name=wanted", body).status

    def rename(name: str) -> int:
        return api.call("POST", f"/containers/{name}/rename?name=prize").status

    def remove(_: int) -> int:
        return api.call("DELETE", "/containers/prize?force=1").status

    with ThreadPoolExecutor(16) as pool:
        assert sorted(pool.map(create, range(16))) == [201] + [409] * 15
        names = [f"runner{number}" for number in range(8)]
        for name in names:
            assert api.call("POST", f"/containers/create?name={name}", body).status == 201
        assert sorted(pool.map(rename, names)) == [204] + [409] * 7
        gone = sorted(pool.map(remove, range(8)))
        assert gone[0] == 204
        assert set(gone[1:]) <= {404, 409}
    assert len(engine.out("ps", "-aq").split()) == 8


def test_a_client_that_does_not_read_holds_nobody_up(engine: EngineServer) -> None:
    script = "yes 0123456789abcdef | head -c 8000000"
    engine.docker("run", "-d", "--network", "none", "--name", "loud", "busybox", "sh", "-c", script)
    engine.docker("wait", "loud")
    slow = Hijacked(engine, "/containers/loud/attach?logs=1&stdout=1", UPGRADE)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.connect(str(engine.socket))
    with sock:
        sock.sendall(b"GET /v1.50/containers/loud/logs?stdout=1 HTTP/1.1\r\nHost: d\r\n\r\n")
        before = resident_kib(engine.pid)
        for _ in range(20):
            assert DockerApi(engine.socket).call("GET", "/containers/json?all=1").status == 200
        # What nobody reads is not piled up in the engine.
        assert resident_kib(engine.pid) - before < 16 << 10
    assert len(slow.rest()) == 8_000_000 // 17 * 25 + 8_000_000 % 17 + 8
    slow.close()


def resident_kib(pid: int) -> int:
    found = re.search(r"^VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text(), re.M)
    assert found is not None
    return int(found[1])


def test_ended_commands_are_forgotten_in_time(engine: EngineServer) -> None:
    run = ("run", "-d", "--network", "none", "--name", "busy", "busybox", "sleep", "600")
    engine.docker(*run)
    api = DockerApi(engine.socket)
    made = [
        api.call("POST", "/containers/busy/exec", {"Cmd": ["true"]}).document["Id"]
        for _ in range(300)
    ]
    assert api.call("GET", f"/exec/{made[0]}/json").status == 200
    for one in made[:2]:
        assert api.call("POST", f"/exec/{one}/start", {"Detach": True}).status == 200
    engine.wait_for_event("busy", "exec_die")
    api.call("POST", "/containers/busy/exec", {"Cmd": ["true"]})
    assert api.call("GET", f"/exec/{made[0]}/json").status == 404
    assert api.call("GET", f"/exec/{made[5]}/json").status == 200
