"""Remote commands over a WebSocket: the first byte of each message is its channel.

Sub-protocols `v5.channel.k8s.io` (a message on channel 255 half-closes another), `v4`, and the
older ones with and without base64.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from sampan.base.errors import InvalidError, LimitError
from sampan.engine.cri.streaming.remote import (
    ByteStream,
    Size,
    StdinQueue,
    TerminalSize,
    parse_size,
)
from sampan.wire.websocket import Close, CloseCode, Message, WebSocket

__all__ = ["PROTOCOLS", "WebSocketRemote", "choose_protocol"]

PROTOCOLS = (
    "v5.channel.k8s.io",
    "v4.channel.k8s.io",
    "v4.base64.channel.k8s.io",
    "channel.k8s.io",
    "base64.channel.k8s.io",
)
"""What this side speaks, best first."""

_STDIN, _STDOUT, _STDERR, _ERROR, _RESIZE, _CLOSE = 0, 1, 2, 3, 4, 255


def choose_protocol(offered: Sequence[str]) -> str | None:
    """Return the first of the client's versions that this side speaks, None without one."""
    return next((protocol for protocol in offered if protocol in PROTOCOLS), None)


class WebSocketRemote:
    """The client's end of a remote command over one WebSocket."""

    def __init__(self, stream: ByteStream, protocol: str) -> None:
        self._stream = stream
        self._socket = WebSocket()
        self._base64 = "base64" in protocol
        self._status_object = protocol.startswith(("v4", "v5"))
        self._half_close = protocol.startswith("v5")
        self._stdin = StdinQueue()
        self._size = TerminalSize()
        self._gone = asyncio.Event()
        self._reader: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Begin to read, and send an empty message on each output channel, as clients expect."""
        self._reader = asyncio.create_task(self._read())
        for channel in (_STDOUT, _STDERR, _ERROR):
            self._send(channel, b"")

    async def _read(self) -> None:
        try:
            while data := await self._stream.read():
                for event in self._socket.receive(data):
                    if isinstance(event, Message):
                        await self._take(event)
                    elif isinstance(event, Close):
                        return
                self._flush()
        except (InvalidError, LimitError):
            pass
        finally:
            self._flush()
            self._gone.set()
            await self._stdin.put(b"")

    async def _take(self, message: Message) -> None:
        if not message.data:
            return
        channel, data = message.data[0], message.data[1:]
        if self._base64:
            channel -= ord("0")
            try:
                data = base64.b64decode(data, validate=True)
            except binascii.Error:
                raise InvalidError("a WebSocket message is not base64") from None
        if channel == _STDIN and data:
            await self._stdin.put(data)
        elif channel == _RESIZE:
            await self._size.put(parse_size(data))
        elif channel == _CLOSE and self._half_close and data[:1] == bytes([_STDIN]):
            await self._stdin.put(b"")

    async def first_size(self) -> Size | None:
        """Return the terminal's size as the client sends it at once; None when it does not."""
        return await self._size.first()

    async def on_resize(self, callback: Callable[[Size], Awaitable[None]]) -> None:
        """Call back with the terminal's size: the last one that came, and every further one."""
        await self._size.follow(callback)

    async def read_stdin(self) -> bytes:
        """Return bytes that the client typed, none once it ended its input."""
        return await self._stdin.get()

    async def write_stdout(self, data: bytes) -> None:
        """Send output; waits while the client reads slowly."""
        self._send(_STDOUT, data)
        await self._stream.drain()

    async def write_stderr(self, data: bytes) -> None:
        """Send error output; waits while the client reads slowly."""
        self._send(_STDERR, data)
        await self._stream.drain()

    async def finish(self, status: dict[str, Any]) -> None:
        """Send the final status on the error channel and close."""
        if self._status_object:
            self._send(_ERROR, json.dumps(status).encode())
        elif status["status"] != "Success":
            self._send(_ERROR, status["message"].encode())
        self._socket.close(CloseCode.NORMAL)
        self._flush()
        await self._stream.drain()
        self.close()

    async def lost(self) -> None:
        """Wait until the client has gone."""
        await self._gone.wait()

    def close(self) -> None:
        """End the connection."""
        if self._reader is not None:
            self._reader.cancel()
        self._stream.close()

    def _send(self, channel: int, data: bytes) -> None:
        if self._base64:
            encoded = str(channel).encode() + base64.b64encode(data)
            self._socket.send(encoded, text=True)
        else:
            self._socket.send(bytes([channel]) + data)
        self._flush()

    def _flush(self) -> None:
        data = self._socket.outgoing()
        if data:
            self._stream.write(data)
