"""Forwarded ports over SPDY/3.1, and over WebSockets: the channels of old, or SPDY inside.

Over SPDY every connection to a port is a pair of streams with the same `requestid`: `data` carries
its bytes, `error` a message when it fails. Over WebSocket channels every port has a pair too.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from sampan.base.errors import InvalidError, LimitError, SampanError
from sampan.engine.cri.streaming.remote import ByteStream
from sampan.wire.spdy.session import Data, Reset, Session, StreamOpened
from sampan.wire.websocket import Close, CloseCode, Message, WebSocket

__all__ = ["PROTOCOL", "TUNNEL", "Connect", "WebSocketTunnel", "forward_channels", "forward_spdy"]

PROTOCOL: Final = "portforward.k8s.io"
TUNNEL: Final = "SPDY/3.1+portforward.k8s.io"
"""The WebSocket sub-protocol whose messages carry a SPDY connection."""

_READ_BYTES: Final = 64 * 1024
_PIECES: Final = 16

Connect = Callable[[int], Awaitable[socket.socket]]
"""Connects to a port of the pod; SampanError when that fails."""


class _Carrier(Protocol):
    """Where what comes from the pod goes."""

    async def data(self, data: bytes) -> None:
        """Send bytes; waits while the client reads slowly."""
        ...

    async def failed(self, message: str) -> None:
        """Say why a connection could not be made."""
        ...

    async def ended(self) -> None:
        """The pod has ended its side."""
        ...


@dataclass(slots=True)
class _Forward:
    """One connection to a port: pieces from the client wait here, boundedly many."""

    port: int
    inbox: asyncio.Queue[bytes] = field(default_factory=lambda: asyncio.Queue(_PIECES))
    task: asyncio.Task[None] | None = None

    async def run(self, connect: Connect, carrier: _Carrier) -> None:
        """Connect and carry bytes both ways until both sides have ended."""
        try:
            sock = await connect(self.port)
        except SampanError as error:
            await carrier.failed(f"error forwarding port {self.port} to pod: {error}")
            return
        incoming = asyncio.create_task(self._carry_in(sock))
        try:
            loop = asyncio.get_running_loop()
            with contextlib.suppress(OSError):
                while data := await loop.sock_recv(sock, _READ_BYTES):
                    await carrier.data(data)
            await carrier.ended()
            await incoming
        finally:
            incoming.cancel()
            await asyncio.gather(incoming, return_exceptions=True)
            sock.close()

    async def _carry_in(self, sock: socket.socket) -> None:
        loop, taken = asyncio.get_running_loop(), True
        while data := await self.inbox.get():
            try:
                if taken:
                    await loop.sock_sendall(sock, data)
            except OSError:
                taken = False  # the pod reads no more: the client's bytes go nowhere
        with contextlib.suppress(OSError):
            sock.shutdown(socket.SHUT_WR)


async def _end_all(tasks: Sequence[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


# SPDY.


@dataclass(slots=True)
class _Pair:
    port: int
    data_id: int = 0
    error_id: int = 0
    forward: _Forward | None = None


class _SpdyForwarding:
    def __init__(self, stream: ByteStream, connect: Connect) -> None:
        self._stream = stream
        self._connect = connect
        self._session = Session()
        self._pairs: dict[str, _Pair] = {}
        self._forwards: dict[int, _Forward] = {}

    async def serve(self) -> None:
        """Serve until the client goes."""
        try:
            while data := await self._stream.read():
                for event in self._session.receive(data):
                    await self._take(event)
                self.flush()
        except (InvalidError, LimitError):
            self._session.go_away()
            self.flush()
        finally:
            tasks = [one.task for one in self._forwards.values() if one.task is not None]
            await _end_all(tasks)
            self._stream.close()

    async def _take(self, event: object) -> None:
        if isinstance(event, StreamOpened):
            self._opened(event)
            if event.finished and event.stream_id in self._forwards:
                await self._forwards[event.stream_id].inbox.put(b"")
        elif isinstance(event, Data) and event.stream_id in self._forwards:
            inbox = self._forwards[event.stream_id].inbox
            if event.data:
                await inbox.put(event.data)
            if event.finished:
                await inbox.put(b"")
        elif isinstance(event, Reset) and event.stream_id in self._forwards:
            task = self._forwards[event.stream_id].task
            if task is not None:
                task.cancel()

    def _opened(self, event: StreamOpened) -> None:
        """Take one half of a pair; with both the connection is made."""
        kind, text = event.headers.get("streamtype", ""), event.headers.get("port", "")
        key = event.headers.get("requestid", text)
        port = int(text) if text.isdigit() else 0
        pair = self._pairs.setdefault(key, _Pair(port))
        taken = pair.data_id if kind == "data" else pair.error_id
        if kind not in ("data", "error") or taken or not 0 < port < 65536 or port != pair.port:
            self._session.reset(event.stream_id)
            return
        if kind == "data":
            pair.data_id = event.stream_id
            self._forwards[event.stream_id] = pair.forward = _Forward(port)
        else:
            pair.error_id = event.stream_id
        self._session.reply(event.stream_id)
        if pair.data_id and pair.error_id:
            del self._pairs[key]
            assert pair.forward is not None
            pair.forward.task = asyncio.create_task(self._run(pair, pair.forward))

    async def _run(self, pair: _Pair, forward: _Forward) -> None:
        try:
            await forward.run(self._connect, _SpdyCarrier(self, pair))
        finally:
            del self._forwards[pair.data_id]
            self.send(pair.error_id, b"", finished=True)
            self.send(pair.data_id, b"", finished=True)

    def send(self, stream_id: int, data: bytes, *, finished: bool = False) -> None:
        """Queue bytes of one stream."""
        self._session.send(stream_id, data, finished=finished)
        self.flush()

    async def drain(self) -> None:
        """Wait while the client reads slowly."""
        await self._stream.drain()

    def flush(self) -> None:
        """Hand over what the session has to say."""
        data = self._session.outgoing()
        if data:
            self._stream.write(data)


@dataclass(slots=True)
class _SpdyCarrier:
    owner: _SpdyForwarding
    pair: _Pair

    async def data(self, data: bytes) -> None:
        self.owner.send(self.pair.data_id, data)
        await self.owner.drain()

    async def failed(self, message: str) -> None:
        self.owner.send(self.pair.error_id, message.encode(), finished=True)

    async def ended(self) -> None:
        self.owner.send(self.pair.data_id, b"", finished=True)


async def forward_spdy(stream: ByteStream, connect: Connect) -> None:
    """Serve a connection that speaks SPDY, until the client goes."""
    await _SpdyForwarding(stream, connect).serve()


# WebSockets.


class WebSocketTunnel:
    """A byte stream inside a WebSocket's binary messages."""

    def __init__(self, stream: ByteStream) -> None:
        self._stream = stream
        self._socket = WebSocket()
        self._pieces: list[bytes] = []

    async def read(self) -> bytes:
        """Return the bytes of a message, none at the end."""
        while not self._pieces:
            data = await self._stream.read()
            if not data:
                return b""
            for event in self._socket.receive(data):
                if isinstance(event, Close):
                    self._flush()
                    return b""
                if event.data:
                    self._pieces.append(event.data)
            self._flush()
        return self._pieces.pop(0)

    def write(self, data: bytes) -> None:
        """Queue a message."""
        self._socket.send(data)
        self._flush()

    async def drain(self) -> None:
        """Wait until the queue is short."""
        await self._stream.drain()

    def close(self) -> None:
        """End the connection after what is queued."""
        self._socket.close(CloseCode.NORMAL)
        self._flush()
        self._stream.close()

    def _flush(self) -> None:
        data = self._socket.outgoing()
        if data:
            self._stream.write(data)


@dataclass(slots=True)
class _ChannelCarrier:
    stream: ByteStream
    socket: WebSocket
    channel: int

    async def data(self, data: bytes) -> None:
        self._send(self.channel, data)
        await self.stream.drain()

    async def failed(self, message: str) -> None:
        self._send(self.channel + 1, message.encode())

    async def ended(self) -> None:
        """There is no half-close on a channel."""

    def _send(self, channel: int, data: bytes) -> None:
        self.socket.send(bytes([channel]) + data)
        self.stream.write(self.socket.outgoing())


async def forward_channels(stream: ByteStream, ports: Sequence[int], connect: Connect) -> None:
    """Serve a WebSocket whose channels are pairs, data and error, one for each port."""
    web, forwards = WebSocket(), [_Forward(port) for port in ports]
    for number, forward in enumerate(forwards):
        for channel in (2 * number, 2 * number + 1):
            web.send(bytes([channel]) + struct.pack("<H", forward.port))
        carrier = _ChannelCarrier(stream, web, 2 * number)
        forward.task = asyncio.create_task(forward.run(connect, carrier))
    stream.write(web.outgoing())
    try:
        while data := await stream.read():
            for event in web.receive(data):
                if isinstance(event, Close):
                    return
                await _deliver(event, forwards)
            stream.write(web.outgoing())
    except (InvalidError, LimitError):
        pass
    finally:
        await _end_all([one.task for one in forwards if one.task is not None])
        stream.write(web.outgoing())
        stream.close()


async def _deliver(message: Message, forwards: Sequence[_Forward]) -> None:
    channel = message.data[0] if message.data else 255
    number, is_error = divmod(channel, 2)
    if is_error or number >= len(forwards) or len(message.data) < 2:
        return
    forward = forwards[number]
    if forward.task is not None and not forward.task.done():
        await forward.inbox.put(message.data[1:])
