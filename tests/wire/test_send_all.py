"""Many messages of a stream sent at once arrive as if each had been sent by itself."""

from __future__ import annotations

import asyncio

import pytest

from sampan.loop.channel import Channel
from sampan.loop.server import RpcServer
from sampan.wire.grpc.service import StreamCall, StreamMethod

SIZES = [0, 1, 100, 16_383, 16_384, 70_000]


@pytest.mark.parametrize("count", [1, 2, 500])
def test_send_all_is_send_for_each(count: int) -> None:
    messages = [bytes([n % 251]) * SIZES[n % len(SIZES)] for n in range(count)]

    async def handler(call: StreamCall) -> None:
        await call.receive()
        call.send(b"first")
        call.send_all(messages)
        call.send(b"last")

    async def run() -> list[bytes]:
        server = RpcServer({"/test.Many/Many": StreamMethod(handler)})
        host, port = await server.listen("127.0.0.1", 0)
        channel = Channel(f"{host}:{port}")
        try:
            stream = channel.stream("/test.Many/Many")
            stream.send(b"go")
            stream.close_send()
            return [message async for message in stream]
        finally:
            await channel.close()
            await server.close(0)

    assert asyncio.run(run()) == [b"first", *messages, b"last"]
