"""What the streaming server does when clients are slow, early, late, or gone."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import cast

import pytest
from tests.certificates import Authority

from sampan.base.errors import ConflictError, LimitError
from sampan.loop.rest import Request, Response, RestServer
from sampan.loop.runner import run
from sampan.loop.tls import server_context

Client = Callable[["Peer"], Awaitable[None]]
MIB = 1 << 20


class Peer:
    """A client's raw connection, and what the handlers of its server have noticed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.body_closed = asyncio.Event()
        self.read_bytes = 0
        self.go_on = asyncio.Event()
        self.raw_gone = asyncio.Event()

    async def connect(self) -> None:
        self.reader, self.writer = await asyncio.open_unix_connection(self.path)

    def send(self, text: str, body: bytes = b"") -> None:
        self.writer.write(text.replace("\n", "\r\n").encode() + b"\r\n" + body)

    async def head(self) -> str:
        return (await self.reader.readuntil(b"\r\n\r\n")).decode()

    async def handle(self, request: Request) -> Response | None:
        match request.path:
            case "/endless":
                return Response(200, self._endless())
            case "/slow-upload":
                await self.go_on.wait()
                async for piece in request.chunks():
                    self.read_bytes += len(piece)
                return Response(200, b"%d" % self.read_bytes)
            case "/both":
                return Response(200, self._both(request))
            case "/limited":
                try:
                    await request.read(10)
                except LimitError:
                    return Response(413, b"too large")
            case "/ignores":
                return Response(404, b"no")
            case "/raw":
                raw = await request.hijack()
                await raw.wait_gone()
                self.raw_gone.set()
                return None
            case "/other-protocol":
                stream = await request.hijack()
                stream.hand_to(Shout())
                await stream.wait_gone()
                return None
            case "/fails":
                await request.hijack()
                raise RuntimeError("a fault after handing over")
        return Response(200, b"fine")

    async def _endless(self) -> AsyncIterator[bytes]:
        try:
            yield b""
            await asyncio.Event().wait()
        finally:
            self.body_closed.set()

    async def _both(self, request: Request) -> AsyncIterator[bytes]:
        async for piece in request.chunks():
            yield piece.upper()


class Shout(asyncio.Protocol):
    """Another protocol, as HTTP/2 would be one."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._transport.write(data.upper())

    def eof_received(self) -> None:
        self._transport.close()


@pytest.fixture
def serve(tmp_path: Path) -> Callable[[Client], None]:
    async def main(client: Client) -> None:
        peer = Peer(tmp_path / "s")
        server = RestServer(peer.handle)
        await server.listen_unix(peer.path)
        await peer.connect()
        try:
            async with asyncio.timeout(20):
                await client(peer)
        finally:
            peer.writer.close()
            await server.close()

    return lambda client: run(main(client))


def test_headers_of_an_endless_answer_come_at_once_and_leaving_ends_it(
    serve: Callable[[Client], None],
) -> None:
    async def client(peer: Peer) -> None:
        peer.send("GET /endless HTTP/1.1\nHost: x\n")
        assert "200" in await peer.head()
        assert not peer.body_closed.is_set()
        peer.writer.close()
        await peer.body_closed.wait()

    serve(client)


def test_a_pipelined_request_does_not_end_an_endless_answer(
    serve: Callable[[Client], None],
) -> None:
    async def client(peer: Peer) -> None:
        peer.send("GET /endless HTTP/1.1\nHost: x\n")
        await peer.head()
        peer.send("GET / HTTP/1.1\nHost: x\n")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await peer.body_closed.wait()

    serve(client)


def test_a_handler_that_waits_slows_its_client_down(serve: Callable[[Client], None]) -> None:
    async def client(peer: Peer) -> None:
        size = 16 * MIB
        peer.send(f"POST /slow-upload HTTP/1.1\nHost: x\nContent-Length: {size}\n")
        peer.writer.write(bytes(size))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await peer.writer.drain()
        peer.go_on.set()
        await peer.head()
        assert await peer.reader.readexactly(len(str(size))) == str(size).encode()

    serve(client)


def test_an_answer_streams_while_its_request_does(serve: Callable[[Client], None]) -> None:
    async def client(peer: Peer) -> None:
        peer.send("POST /both HTTP/1.1\nHost: x\nTransfer-Encoding: chunked\n")
        peer.writer.write(b"3\r\nabc\r\n")
        await peer.head()
        assert await peer.reader.readexactly(8) == b"3\r\nABC\r\n"
        peer.writer.write(b"2\r\nde\r\n0\r\n\r\n")
        peer.writer.write_eof()
        assert await peer.reader.read() == b"2\r\nDE\r\n0\r\n\r\n"

    serve(client)


def test_leaving_within_a_body_ends_the_request(serve: Callable[[Client], None]) -> None:
    async def client(peer: Peer) -> None:
        peer.go_on.set()
        peer.send("POST /slow-upload HTTP/1.1\nHost: x\nContent-Length: 10\n", b"12345")
        peer.writer.write_eof()
        assert await peer.reader.read() == b""

    serve(client)


def test_a_client_may_ask_before_it_sends_its_body(serve: Callable[[Client], None]) -> None:
    async def client(peer: Peer) -> None:
        peer.go_on.set()
        peer.send("POST /slow-upload HTTP/1.1\nHost: x\nContent-Length: 2\nExpect: 100-continue\n")
        assert "100" in await peer.head()
        peer.writer.write(b"ok")
        assert "200" in await peer.head()

    serve(client)


@pytest.mark.parametrize("path", ["/limited", "/ignores"])
def test_an_answer_before_the_end_of_a_large_body_is_not_lost(
    serve: Callable[[Client], None], path: str
) -> None:
    async def client(peer: Peer) -> None:
        size = 8 * MIB
        peer.send(f"POST {path} HTTP/1.1\nHost: x\nContent-Length: {size}\n")
        peer.writer.write(bytes(size))
        assert " 4" in await peer.head()

    serve(client)


def test_a_short_body_that_nobody_reads_keeps_the_connection(
    serve: Callable[[Client], None],
) -> None:
    async def client(peer: Peer) -> None:
        peer.send("POST /ignores HTTP/1.1\nHost: x\nContent-Length: 5\n", b"12345")
        peer.send("GET / HTTP/1.1\nHost: x\n")
        assert " 404" in await peer.head()
        assert await peer.reader.readexactly(2) == b"no"
        assert " 200" in await peer.head()

    serve(client)


def test_losing_the_client_of_a_raw_stream_is_noticed(serve: Callable[[Client], None]) -> None:
    async def client(peer: Peer) -> None:
        peer.send("POST /raw HTTP/1.1\nHost: x\n")
        assert "200" in await peer.head()
        peer.writer.transport.abort()
        await peer.raw_gone.wait()

    serve(client)


def test_a_connection_goes_to_another_protocol(serve: Callable[[Client], None]) -> None:
    async def client(peer: Peer) -> None:
        peer.send(
            "POST /other-protocol HTTP/1.1\nHost: x\nConnection: Upgrade\nUpgrade: h2c\n",
            b"early",
        )
        assert "Upgrade: h2c" in await peer.head()
        peer.writer.write(b" late")
        peer.writer.write_eof()
        assert await peer.reader.read() == b"EARLY LATE"

    serve(client)


def test_a_fault_after_handing_over_closes_the_connection(
    serve: Callable[[Client], None],
) -> None:
    async def client(peer: Peer) -> None:
        peer.send("POST /fails HTTP/1.1\nHost: x\n")
        await peer.head()
        assert await peer.reader.read() == b""

    serve(client)


def test_a_socket_that_is_served_is_not_taken(tmp_path: Path) -> None:
    async def main() -> None:
        peer = Peer(tmp_path / "s")
        first, second = RestServer(peer.handle), RestServer(peer.handle)
        await first.listen_unix(peer.path)
        assert peer.path.stat().st_mode & 0o777 == 0o660
        with pytest.raises(ConflictError, match="another process listens"):
            await second.listen_unix(peer.path)
        await second.close()
        assert peer.path.exists()
        await first.close()
        assert not peer.path.exists()

    run(main())


def test_a_socket_left_behind_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as old:
        old.bind(str(path))

    async def main() -> None:
        server = RestServer(Peer(path).handle)
        await server.listen_unix(path)
        await server.close()

    run(main())


@pytest.mark.parametrize("known", [True, False])
def test_tls_asks_for_the_clients_certificate(tmp_path: Path, known: bool) -> None:
    authority = Authority(tmp_path)
    cert, key = authority.issue("server")
    own, own_key = authority.issue("client")

    async def main() -> None:
        server = RestServer(Peer(tmp_path / "s").handle)
        context = server_context(cert, key, client_ca=authority.path, require_client_cert=True)
        context.set_alpn_protocols(["http/1.1"])
        port = await server.listen("127.0.0.1", 0, context)
        trusting = ssl.create_default_context(cafile=authority.path)
        if known:
            trusting.load_cert_chain(own, own_key)
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=trusting)
        answer = b""
        try:
            writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            with contextlib.suppress(ssl.SSLError, ConnectionError):
                answer = await reader.read()
        finally:
            writer.close()
            await server.close()
        assert answer.startswith(b"HTTP/1.1 200") == known

    run(main())
