"""Many messages of a stream, sent or taken at once: as if each had been sent by itself."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from sampan.loop.channel import Channel, ClientStream
from sampan.loop.server import RpcServer
from sampan.wire.grpc.service import StreamCall, StreamMethod, UnaryCall, UnaryMethod
from sampan.wire.grpc.status import Code, RpcError

SIZES = [0, 1, 100, 16_383, 16_384, 70_000]


@pytest.mark.parametrize("count", [1, 2, 500])
def test_send_all_is_send_for_each(count: int) -> None:
    messages = [bytes([n % 251]) * SIZES[n % len(SIZES)] for n in range(count)]

    async def handler(call: StreamCall) -> None:
        await call.receive()
        call.send(b"first")
        call.send_all(messages)
        call.send(b"last")

    async def talk(stream: ClientStream) -> list[bytes]:
        stream.send(b"go")
        stream.close_send()
        return [message async for message in stream]

    assert asyncio.run(converse(handler, talk)) == [b"first", *messages, b"last"]


async def converse(
    handler: Callable[[StreamCall], Awaitable[None]],
    talk: Callable[[ClientStream], Awaitable[list[bytes]]],
) -> list[bytes]:
    """Serve `handler` and `talk` to it over one stream."""
    server = RpcServer({"/test.Many/Many": StreamMethod(handler)})
    host, port = await server.listen("127.0.0.1", 0)
    channel = Channel(f"{host}:{port}")
    try:
        async with asyncio.timeout(20):
            return await talk(channel.stream("/test.Many/Many"))
    finally:
        await channel.close()
        await server.close(0)


@pytest.mark.parametrize("at_once", [False, True])
def test_what_is_consumed_comes_whole_and_in_order(at_once: bool) -> None:
    """Before the connection stands, after it, in many frames; written at once or in a turn."""
    messages = [bytes([n % 251]) * SIZES[n % len(SIZES)] for n in range(200)]
    taken: list[bytes] = []

    async def handler(call: StreamCall) -> None:
        taken.append(await call.receive() or b"")
        await call.consume(taken.append)
        call.send(b"end")

    async def talk(stream: ClientStream) -> list[bytes]:
        send = stream.send_now if at_once else stream.send
        for number, message in enumerate(messages):
            send(message)
            if number % 50 == 10:
                await asyncio.sleep(0)
                await stream.drain()
        stream.close_send()
        return [message async for message in stream]

    assert asyncio.run(converse(handler, talk)) == [b"end"]
    assert taken == messages


def test_an_error_of_whoever_consumes_ends_the_call() -> None:
    taken: list[bytes] = []

    def take(message: bytes) -> None:
        if message == b"bad":
            raise RpcError(Code.INVALID_ARGUMENT, "no such message")
        taken.append(message)

    async def handler(call: StreamCall) -> None:
        call.send(b"ready")
        await call.consume(take)

    async def talk(stream: ClientStream) -> list[bytes]:
        assert await stream.receive() == b"ready"
        for message in (b"good", b"bad", b"late"):
            stream.send_now(message)
        return [message async for message in stream]

    with pytest.raises(RpcError, match="no such message"):
        asyncio.run(converse(handler, talk))
    assert taken == [b"good"]


async def counting_proxy(host: str, port: int, counted: list[int]) -> asyncio.Server:
    """A server that passes everything on, and counts the bytes of its client."""

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, at: int) -> None:
        while data := await reader.read(65536):
            counted[at] += len(data)
            writer.write(data)
            await writer.drain()
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await asyncio.open_connection(host, port)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(pump(reader, inner_writer, 0))
            tasks.create_task(pump(inner_reader, writer, 1))

    return await asyncio.start_server(serve, "127.0.0.1", 0)


def test_a_channel_compresses_what_it_sends() -> None:
    message = b"the same again " * 20_000
    taken: list[bytes] = []
    counted = [0, 0]

    async def handler(call: StreamCall) -> None:
        await call.consume(taken.append)

    async def run() -> None:
        server = RpcServer(
            {"/test.Many/Many": StreamMethod(handler), "/test.Many/One": UnaryMethod(one)}
        )
        proxy = await counting_proxy(*await server.listen("127.0.0.1", 0), counted)
        port = proxy.sockets[0].getsockname()[1]
        channel = Channel(f"127.0.0.1:{port}", gzip=True)
        try:
            async with asyncio.timeout(20):
                stream = channel.stream("/test.Many/Many")
                stream.send(message)
                stream.close_send()
                assert await stream.receive() is None
                assert await channel.unary("/test.Many/One", message) == b"%d" % len(message)
        finally:
            await channel.close()
            proxy.close()
            await server.close(0)

    def one(call: UnaryCall, request: bytes) -> None:
        call.reply(b"%d" % len(request))

    asyncio.run(run())
    assert taken == [message]
    assert counted[0] < len(message) // 10
