"""Plain HTTP on the gRPC port: HTTP/1.1 and HTTP/2, by raw socket and by curl."""

from __future__ import annotations

import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from tests import real
from tests.wire.echo_service import EchoServer, serve

from sampan.loop.server_limits import ServerLimits

WAIT_S = 20


@pytest.fixture
def server() -> Iterator[EchoServer]:
    with serve() as running:
        yield running


def exchange(server: EchoServer, data: bytes) -> bytes:
    """Send `data` and return everything until the server closes."""
    with socket.create_connection((server.host, server.port), timeout=WAIT_S) as connection:
        connection.sendall(data)
        return read_all(connection)


def read_all(connection: socket.socket) -> bytes:
    answer = b""
    while True:
        try:
            part = connection.recv(65_536)
        except ConnectionResetError:
            return answer
        if not part:
            return answer
        answer += part


def test_one_connection_serves_one_request_after_the_other(server: EchoServer) -> None:
    answer = exchange(
        server,
        b"GET /one HTTP/1.1\r\nhost: a\r\n\r\n"
        b"POST /two HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhello"
        b"PUT /three HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n"
        b"3\r\nabc\r\n1\r\nd\r\n0\r\n\r\n",
    )
    bodies = [b"GET /one 0\n", b"POST /two 5\n", b"PUT /three 4\n"]
    assert answer.count(b"HTTP/1.1 200 ") == 3
    assert [body in answer for body in bodies] == [True] * 3


def test_a_request_that_comes_byte_by_byte(server: EchoServer) -> None:
    request = b"POST /slow HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\nconnection: close\r\n\r\nab"
    with socket.create_connection((server.host, server.port), timeout=WAIT_S) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for number in range(len(request)):
            connection.sendall(request[number : number + 1])
        assert read_all(connection).endswith(b"POST /slow 2\n")


def test_a_body_that_comes_in_pieces_is_chunked(server: EchoServer) -> None:
    answer = exchange(server, b"GET /stream HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
    assert b"transfer-encoding: chunked" in answer.lower()
    assert [b"piece %d\n" % n in answer for n in range(3)] == [True] * 3


def test_head_has_no_body(server: EchoServer) -> None:
    answer = exchange(server, b"HEAD /x HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
    assert answer.endswith(b"\r\n\r\n") and b"content-length: 10" in answer.lower()


def test_no_content_says_no_length(server: EchoServer) -> None:
    answer = exchange(server, b"GET /empty HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 204 ") and b"content-length" not in answer.lower()


def test_expect_continue_is_answered_first(server: EchoServer) -> None:
    head = b"POST /x HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\nexpect: 100-continue\r\n"
    with socket.create_connection((server.host, server.port), timeout=WAIT_S) as connection:
        connection.sendall(head + b"connection: close\r\n\r\n")
        assert connection.recv(1000).startswith(b"HTTP/1.1 100 ")
        connection.sendall(b"ab")
        assert read_all(connection).endswith(b"POST /x 2\n")


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"GET /x HTTP/1.1\r\n\r\n", b"400"),
        (
            b"POST /x HTTP/1.1\r\nhost: a\r\ncontent-length: 9999999\r\n\r\n" + b"x" * 3_000_000,
            b"413",
        ),
        (b"GET /x HTTP/1.1\r\nhost: a\r\nbig: " + b"x" * 100_000 + b"\r\n\r\n", b"431"),
        (b"GET /crash HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n", b"500"),
    ],
)
def test_requests_that_cannot_be_served(
    server: EchoServer, request_bytes: bytes, status: bytes
) -> None:
    with socket.create_connection((server.host, server.port), timeout=WAIT_S) as connection:
        sender = threading.Thread(target=send_quietly, args=(connection, request_bytes))
        sender.start()
        answer = read_all(connection)
        sender.join(WAIT_S)
    # A peer that is still sending when it is refused may lose the answer to a TCP reset.
    assert answer.startswith(b"HTTP/1.1 " + status) or (status == b"413" and not answer)
    assert exchange(server, b"GET /y HTTP/1.0\r\n\r\n").endswith(b"GET /y 0\n")


def send_quietly(connection: socket.socket, data: bytes) -> None:
    try:
        connection.sendall(data)
    except OSError:
        pass


@pytest.mark.real
@pytest.mark.parametrize("version", ["--http1.1", "--http2-prior-knowledge"])
def test_curl_posts_and_streams(server: EchoServer, version: str, tmp_path: Path) -> None:
    curl = real.find("curl")
    if curl is None:
        pytest.skip("curl not found")
    body = tmp_path / "body"
    body.write_bytes(b"x" * 1_000_000)
    url = f"http://{server.address}"
    for path, expected in [("up", "POST /up 1000000\n"), ("stream", "piece 0\npiece 1\npiece 2\n")]:
        # One transfer per run: curl 7.88 cannot use such an HTTP/2 connection twice.
        url = f"http://{server.address}/{path}"
        command = [str(curl), "-sS", version, "--data-binary", f"@{body}", url]
        done = subprocess.run(command, capture_output=True, text=True, timeout=WAIT_S)
        assert done.stdout == expected, done.stderr


@pytest.mark.real
def test_http_and_grpc_share_a_unix_socket(server: EchoServer, tmp_path: Path) -> None:
    path = tmp_path / "socket"
    server.run(lambda: server.server.listen_unix(path))
    with grpc.insecure_channel(f"unix:{path}") as channel:
        assert channel.unary_unary("/test.Echo/Echo")(b"hi", timeout=WAIT_S) == b"hi"
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(path))
        connection.sendall(b"GET /x HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
        assert read_all(connection).endswith(b"GET /x 0\n")
    server.stop()
    assert not path.exists()


@pytest.mark.parametrize(
    ("limits", "data", "answer"),
    [
        (ServerLimits(handshake_timeout_s=0.2), b"", b""),
        (ServerLimits(handshake_timeout_s=0.2), b"GET /x HT", b""),
        (ServerLimits(idle_timeout_s=0.2), b"GET /x HTTP/1.1\r\nhost: a\r\n\r\n", b"HTTP/1.1 200 "),
        (
            ServerLimits(partial_timeout_s=0.2),
            b"POST /x HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nab",
            b"HTTP/1.1 408 ",
        ),
    ],
)
def test_idle_and_half_sent_requests_are_closed(
    limits: ServerLimits, data: bytes, answer: bytes
) -> None:
    with serve(limits) as server:
        received = exchange(server, data)
        assert received.startswith(answer) and bool(received) == bool(answer)
