"""Between a client's connection and a process: raw, with the keys that let go, or by WebSocket."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Final

from sampan.base.errors import InvalidError, LimitError
from sampan.engine.api.routing import Call
from sampan.engine.daemon.core.detach import DetachWatch
from sampan.engine.daemon.shell.streams import ShimStream
from sampan.loop.rest import RawStream
from sampan.wire.websocket import CloseCode, Message, WebSocket, accept_key

__all__ = ["splice", "splice_websocket", "stream_kind", "upgrade_headers"]

_RAW: Final = "application/vnd.docker.raw-stream"
_MULTIPLEXED: Final = "application/vnd.docker.multiplexed-stream"
_HEADER_BYTES: Final = 8


def stream_kind(tty: bool, version: tuple[int, int]) -> str:
    """Return the content type of a container's output."""
    return _RAW if tty or version < (1, 42) else _MULTIPLEXED


async def splice(
    raw: RawStream,
    stream: ShimStream,
    keys: bytes | None = None,
    detached: Callable[[], None] | None = None,
) -> None:
    """Copy both ways until the output ends; the client's end of input is passed on.

    With `keys`, of a terminal, input with these in a row ends the copying: `detached` is called.
    """
    watch = DetachWatch(keys) if keys else None

    async def input_() -> bool:
        while data := await raw.read():
            if watch is None:
                await stream.write(data)
                continue
            passed, ended = watch.feed(data)
            if passed:
                await stream.write(passed)
            if ended:
                return True
        stream.end_input()
        return False

    async def output() -> None:
        with contextlib.suppress(ConnectionError):
            while data := await stream.read():
                raw.write(data)
                await raw.drain()
            raw.write_eof()

    reading, writing = asyncio.ensure_future(input_()), asyncio.ensure_future(output())
    try:
        await asyncio.wait((reading, writing), return_when=asyncio.FIRST_COMPLETED)
        if reading.done() and not reading.cancelled() and reading.exception() is None:
            if reading.result():
                if detached is not None:
                    detached()
                return
        await writing
    finally:
        for task in (reading, writing):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError, ConnectionError):
                await task
        stream.close()


def upgrade_headers(call: Call) -> tuple[tuple[str, str], ...]:
    """Return the headers that accept a WebSocket; InvalidError when the client asks for none."""
    headers = call.request.headers
    key = headers.get("sec-websocket-key", "")
    if headers.get("upgrade", "").lower() != "websocket" or not key:
        raise InvalidError("this endpoint speaks WebSocket only: no upgrade was asked for")
    if headers.get("sec-websocket-version", "13") != "13":
        raise InvalidError("WebSocket version 13 is the one that is spoken here")
    return (("Sec-WebSocket-Accept", accept_key(key)),)


async def splice_websocket(raw: RawStream, stream: ShimStream, *, tty: bool) -> None:
    """Copy messages to the process and its output, both streams mixed, to messages."""
    socket = WebSocket()

    def flush() -> None:
        if data := socket.outgoing():
            raw.write(data)

    async def input_() -> None:
        while data := await raw.read():
            try:
                events = socket.receive(data)
            except (InvalidError, LimitError):
                flush()
                return
            for event in events:
                if not isinstance(event, Message):
                    flush()
                    stream.end_input()
                    return
                await stream.write(event.data)
            flush()
        stream.end_input()

    reading = asyncio.ensure_future(input_())
    frames = _Frames()
    try:
        while data := await stream.read():
            text = data if tty else frames.feed(data)
            if text:
                socket.send(text)
                flush()
                await raw.drain()
        socket.close(CloseCode.NORMAL)
        flush()
        raw.write_eof()
    except ConnectionError:
        pass
    finally:
        reading.cancel()
        with contextlib.suppress(asyncio.CancelledError, ConnectionError):
            await reading
        stream.close()


class _Frames:
    """Takes Docker's eight-byte headers out of a stream."""

    def __init__(self) -> None:
        self._inbox = bytearray()
        self._left = 0

    def feed(self, data: bytes) -> bytes:
        """Return the output within the bytes."""
        self._inbox += data
        found = bytearray()
        while self._inbox:
            if not self._left:
                if len(self._inbox) < _HEADER_BYTES:
                    break
                self._left = int.from_bytes(self._inbox[4:_HEADER_BYTES])
                del self._inbox[:_HEADER_BYTES]
            piece = self._inbox[: self._left]
            del self._inbox[: self._left]
            self._left -= len(piece)
            found += piece
        return bytes(found)
