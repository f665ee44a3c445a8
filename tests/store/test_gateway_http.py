"""The gateway behind the real server, over HTTP/1.1 on a socket."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

from tests.store.echo_service import EchoService

from sampan.base.log import Logger
from sampan.loop.runner import run
from sampan.loop.server import RpcServer
from sampan.store.api.gateway import Gateway


@dataclass
class Exchange:
    """One connection: what was read of the response so far."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    head: list[bytes]

    async def chunk(self) -> Any:
        """Return the JSON of the next chunk of a chunked body, None at its end."""
        size = int(await self.reader.readline(), 16)
        data = await self.reader.readexactly(size + 2)
        return json.loads(data) if size else None

    async def cut(self) -> None:
        self.writer.transport.abort()
        try:
            await self.writer.wait_closed()
        except ConnectionError:
            pass


class Server:
    def __init__(self) -> None:
        self.service = EchoService()
        methods = self.service.methods()
        self.server = RpcServer(methods, http=Gateway(methods, Logger(lambda _: 0, lambda: 0.0)))
        self.address = ("", 0)

    @asynccontextmanager
    async def request(self, path: str, body: str, method: str = "POST") -> AsyncIterator[Exchange]:
        reader, writer = await asyncio.open_connection(*self.address)
        head = f"{method} {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n"
        writer.write((head + body).encode())
        lines = []
        while line := (await reader.readline()).strip():
            lines.append(line)
        exchange = Exchange(reader, writer, lines)
        try:
            yield exchange
        finally:
            await exchange.cut()


def serve(scenario: Callable[[Server], Awaitable[None]]) -> None:
    async def main() -> None:
        site = Server()
        site.address = await site.server.listen("127.0.0.1", 0)
        try:
            await asyncio.wait_for(scenario(site), 20)
        finally:
            await site.server.close(grace_s=0.1)

    run(main())


def test_a_unary_call() -> None:
    async def scenario(site: Server) -> None:
        async with site.request("/v3/kv/range", '{"key":"Zm9v","limit":2}') as exchange:
            assert exchange.head[0] == b"HTTP/1.1 200 OK"
            assert b"content-type: application/json" in [line.lower() for line in exchange.head]
            (date,) = (line[6:].decode() for line in exchange.head if line[:6] == b"date: ")
            assert abs(parsedate_to_datetime(date).timestamp() - time.time()) < 60
            length = next(
                int(line[15:]) for line in exchange.head if line[:15] == b"content-length:"
            )
            body = json.loads(await exchange.reader.readexactly(length))
            assert body["count"] == "2"

    serve(scenario)


def test_a_watch_is_streamed_and_ends_when_its_client_cuts_the_connection() -> None:
    async def scenario(site: Server) -> None:
        async with site.request("/v3/watch", '{"create_request":{"watch_id":3}}') as exchange:
            assert await exchange.chunk() == {"result": {"watch_id": "3", "created": True}}
            assert not site.service.ended.is_set()
        await site.service.ended.wait()

    serve(scenario)


def test_an_open_watch_does_not_hold_the_server_up() -> None:
    async def scenario(site: Server) -> None:
        async with site.request("/v3/watch", '{"create_request":{}}') as exchange:
            await exchange.chunk()
            await site.server.close(grace_s=0.1)
            await site.service.ended.wait()

    serve(scenario)


def test_a_finite_stream_ends_its_response() -> None:
    async def scenario(site: Server) -> None:
        async with site.request("/v3/lease/keepalive", '{"ID":1}{"ID":2}') as exchange:
            assert (await exchange.chunk())["result"]["ID"] == "1"
            assert (await exchange.chunk())["result"]["ID"] == "2"
            assert await exchange.chunk() is None

    serve(scenario)


def test_a_large_stream_waits_for_its_reader_and_stops_without_one() -> None:
    async def scenario(site: Server) -> None:
        site.service.snapshot_chunks = 100_000
        async with site.request("/v3/maintenance/snapshot", "{}") as exchange:
            await exchange.chunk()
        await site.service.ended.wait()
        assert site.service.snapshot_chunks_sent < 1000

    serve(scenario)
