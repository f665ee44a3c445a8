"""The streaming HTTP server, driven by raw sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from sampan.loop.rest import Request, Response, RestServer

Client = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def handle(request: Request) -> Response | None:
    if request.path == "/echo":
        return Response(200, await request.read(1 << 20))
    if request.path == "/stream":

        async def pieces() -> AsyncIterator[bytes]:
            for number in range(3):
                yield b"piece %d\n" % number

        return Response(200, pieces())
    if request.path == "/raw":
        raw = await request.hijack((("Content-Type", "x/y"),))
        while data := await raw.read():
            raw.write(data.upper())
            await raw.drain()
        raw.write(b"end")
        raw.write_eof()
        raw.close()
        return None
    return Response(404)


def serve(tmp_path: Path, client: Client) -> None:
    async def main() -> None:
        server = RestServer(handle)
        await server.listen_unix(tmp_path / "s")
        reader, writer = await asyncio.open_unix_connection(tmp_path / "s")
        try:
            async with asyncio.timeout(10):
                await client(reader, writer)
        finally:
            writer.close()
            await server.close()

    asyncio.run(main())


async def head(reader: asyncio.StreamReader) -> bytes:
    return await reader.readuntil(b"\r\n\r\n")


def test_requests_follow_each_other_on_one_connection(tmp_path: Path) -> None:
    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for body in (b"one", b"", b"three"):
            writer.write(
                b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body)
            )
            writer.write(body)
            assert b"200" in await head(reader)
            assert await reader.readexactly(len(body)) == body

    serve(tmp_path, client)


def test_an_endless_answer_comes_in_chunks(tmp_path: Path) -> None:
    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"GET /stream HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"chunked" in (await head(reader)).lower()
        body = await reader.readuntil(b"0\r\n\r\n")
        assert body.count(b"piece") == 3

    serve(tmp_path, client)


@pytest.mark.parametrize("upgrade", [True, False])
def test_a_connection_is_handed_over_and_half_closed(tmp_path: Path, upgrade: bool) -> None:
    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        extra = b"Connection: Upgrade\r\nUpgrade: tcp\r\n" if upgrade else b""
        # The first bytes of the stream come along with the request.
        writer.write(b"POST /raw HTTP/1.1\r\nHost: x\r\n%s\r\n" % extra + (b"early " * upgrade))
        status = await head(reader)
        assert status.startswith(b"HTTP/1.1 101 UPGRADED" if upgrade else b"HTTP/1.1 200 OK")
        assert b"Content-Type: x/y" in status
        writer.write(b"late")
        writer.write_eof()
        assert await reader.read() == b"EARLY " * upgrade + b"LATEend"

    serve(tmp_path, client)


@pytest.mark.parametrize(
    "sent",
    [b"nonsense\r\n\r\n", b"GET / HTTP/1.1\r\nX: " + b"y" * 70_000 + b"\r\n\r\n"],
    ids=["no request", "long header"],
)
def test_what_cannot_be_read_is_refused(tmp_path: Path, sent: bytes) -> None:
    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(sent)
        status = await head(reader)
        assert status.startswith(b"HTTP/1.1 4") and b"Connection: close" in status
        assert (await reader.read()).startswith(b"4")

    serve(tmp_path, client)


def test_forms_of_a_request_line(tmp_path: Path) -> None:
    lines = {
        b"GET http://host/stream HTTP/1.1": b"HTTP/1.1 200 OK",
        b"GET http://host HTTP/1.1": b"HTTP/1.1 404 Not Found",
        b"GET /stream HTTP/2.0": b"HTTP/1.1 505 HTTP Version Not Supported",
    }
    for line, status in lines.items():

        async def client(
            reader: asyncio.StreamReader,
            writer: asyncio.StreamWriter,
            line: bytes = line,
            status: bytes = status,
        ) -> None:
            writer.write(line + b"\r\nHost: x\r\n\r\n")
            assert (await head(reader)).splitlines()[0] == status

        serve(tmp_path, client)
