"""A scripted gRPC server on our own HTTP/2 core: does to each request whatever the test says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager

from sampan.loop import runner
from sampan.wire.grpc.framing import pack
from sampan.wire.h2.codes import ErrorCode
from sampan.wire.h2.connection import Connection
from sampan.wire.h2.headers import Head, encode_headers
from sampan.wire.h2.intake import Intake
from sampan.wire.h2.sender import Stream
from sampan.wire.h2.settings import Limits

__all__ = ["HEAD", "OK", "Peer", "PeerSocket", "Request", "listening", "run"]

HEAD = encode_headers([(":status", "200"), ("content-type", "application/grpc")])
OK = encode_headers([("grpc-status", "0")])


class Request(Stream):
    """A request as the scripted server sees it."""

    def __init__(self, peer: Peer, link: Intake, stream_id: int, head: Head) -> None:
        super().__init__(link, stream_id, head)
        self.peer = peer
        self.was_reset = asyncio.Event()
        self.body = b""

    def on_data(self, data: bytes, end_stream: bool) -> None:
        self.body += data
        self.credit(len(data))
        if end_stream:
            self.peer.script(self)

    def on_reset(self, code: ErrorCode, reason: str) -> None:
        self.was_reset.set()

    def answer(self, message: bytes = b"ok") -> None:
        self.send_headers(HEAD)
        self.send_data(pack(message))
        self.send_headers(OK, end_stream=True)

    def fail(self, code: int, message: str) -> None:
        fields = [(":status", "200"), ("content-type", "application/grpc")]
        status = [("grpc-status", str(code)), ("grpc-message", message)]
        self.send_headers(encode_headers(fields + status), end_stream=True)


class Peer:
    """Listens, runs `script` on every request, and keeps what it has seen."""

    def __init__(self, script: Callable[[Request], None], limits: Limits | None = None) -> None:
        self.script = script
        self.limits = limits or Limits()
        self.sockets: list[PeerSocket] = []
        self.open_requests: list[Request] = []


class PeerSocket(asyncio.Protocol):
    """One connection of the scripted server."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self.deaf = False
        self.most_streams = 0
        self.lost = asyncio.Event()
        loop = asyncio.get_running_loop()
        self.connection = Connection(
            peer.limits,
            accept=self.accept,
            wake=self.wake,
            clock=loop.time,
        )
        peer.sockets.append(self)

    def accept(self, link: Intake, stream_id: int, head: Head) -> Stream:
        request = Request(self.peer, link, stream_id, head)
        self.peer.open_requests.append(request)
        self.most_streams = max(self.most_streams, len(self.connection.streams) + 1)
        return request

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.connection.start()

    def data_received(self, data: bytes) -> None:
        if not self.deaf:
            self.connection.receive(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set()

    def wake(self) -> None:
        asyncio.get_running_loop().call_soon(self.flush)

    def flush(self) -> None:
        self.write(self.connection.take_output())

    def write(self, data: bytes) -> None:
        if data and not self.transport.is_closing():
            self.transport.write(data)  # type: ignore[attr-defined]

    def close(self) -> None:
        self.flush()
        self.transport.close()


@asynccontextmanager
async def listening(peer: Peer) -> AsyncIterator[str]:
    """Listen on a loopback port; yields host:port."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: PeerSocket(peer), "127.0.0.1", 0)
    try:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        for socket in peer.sockets:
            socket.transport.close()
        server.close()
        await server.wait_closed()


def run(main: Coroutine[object, object, None], limit_s: float = 30) -> None:
    """Run `main` on uvloop, no longer than `limit_s`."""

    async def bounded() -> None:
        async with asyncio.timeout(limit_s):
            await main

    runner.run(bounded())
