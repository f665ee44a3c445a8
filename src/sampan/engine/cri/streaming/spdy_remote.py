"""Remote commands over SPDY/3.1, as kubectl and crictl send them by default.

The client opens one stream a channel and names it in the header `streamtype`. The protocol version
(`X-Stream-Protocol-Version`) decides whether there are terminal sizes (v3) and whether the final
status is an object or plain text (v4).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from sampan.base.errors import InvalidError, LimitError, UnavailableError
from sampan.engine.cri.streaming.remote import (
    STREAM_TIMEOUT_S,
    ByteStream,
    Size,
    StdinQueue,
    TerminalSize,
    Wanted,
    parse_size,
)
from sampan.wire.spdy.session import Data, GoAway, Reset, Session, StreamOpened

__all__ = ["PROTOCOLS", "SpdyRemote", "choose_protocol"]

PROTOCOLS = ("v4.channel.k8s.io", "v3.channel.k8s.io", "v2.channel.k8s.io", "channel.k8s.io")
"""What this side speaks, best first."""

_RESIZE_LIMIT_BYTES = 4096


def choose_protocol(offered: Sequence[str]) -> str | None:
    """Return the best version that the client offers too; the oldest when it offers none."""
    if not offered:
        return PROTOCOLS[-1]
    return next((protocol for protocol in PROTOCOLS if protocol in offered), None)


class SpdyRemote:
    """The client's end of a remote command over one SPDY connection."""

    def __init__(self, stream: ByteStream, wanted: Wanted, protocol: str) -> None:
        self._stream = stream
        self._session = Session()
        self._wanted = wanted
        self._version = 1 if protocol == PROTOCOLS[-1] else int(protocol[1])
        self._ids: dict[str, int] = {}
        self._types: dict[int, str] = {}
        self._stdin = StdinQueue()
        self._sizes = bytearray()
        self._size = TerminalSize()
        self._opened = asyncio.Event()
        self._gone = asyncio.Event()
        self._reader: asyncio.Task[None] | None = None

    def _expected(self) -> set[str]:
        wanted = self._wanted
        expected = {"error"}
        expected |= {"stdin"} if wanted.stdin else set()
        expected |= {"stdout"} if wanted.stdout else set()
        expected |= {"stderr"} if wanted.stderr and not wanted.tty else set()
        return expected | ({"resize"} if wanted.tty and self._version >= 3 else set())

    async def open(self) -> None:
        """Wait until the client has opened its streams; UnavailableError when it does not."""
        self._reader = asyncio.create_task(self._read())
        try:
            async with asyncio.timeout(STREAM_TIMEOUT_S):
                await self._opened.wait()
        except TimeoutError:
            self.close()
            raise UnavailableError("the client did not open its streams in time") from None

    async def _read(self) -> None:
        try:
            while data := await self._stream.read():
                for event in self._session.receive(data):
                    await self._take(event)
                self._flush()
        except (InvalidError, LimitError):
            self._session.go_away()
            self._flush()
        finally:
            self._gone.set()
            self._opened.set()
            await self._stdin.put(b"")

    async def _take(self, event: StreamOpened | Data | Reset | GoAway) -> None:
        if isinstance(event, StreamOpened):
            self._accept(event)
        elif isinstance(event, Data):
            kind = self._types.get(event.stream_id)
            if kind == "stdin":
                if event.data:
                    await self._stdin.put(event.data)
                if event.finished:
                    await self._stdin.put(b"")
            elif kind == "resize":
                await self._resize(event.data)
        elif isinstance(event, Reset) and self._types.get(event.stream_id) == "stdin":
            await self._stdin.put(b"")

    def _accept(self, event: StreamOpened) -> None:
        kind = event.headers.get("streamtype", "")
        if kind in self._ids or kind not in self._expected():
            self._session.reset(event.stream_id)
            return
        self._ids[kind] = event.stream_id
        self._types[event.stream_id] = kind
        self._session.reply(event.stream_id)
        if self._ids.keys() >= self._expected():
            self._opened.set()

    async def _resize(self, data: bytes) -> None:
        """Take what came on the resize stream: JSON objects, one a line."""
        self._sizes += data
        if len(self._sizes) > _RESIZE_LIMIT_BYTES:
            raise LimitError("a terminal size of more than 4 KiB")
        *lines, rest = bytes(self._sizes).split(b"\n")
        self._sizes[:] = rest
        for line in lines:
            await self._size.put(parse_size(line))

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
        await self._write("stdout", data)

    async def write_stderr(self, data: bytes) -> None:
        """Send error output; waits while the client reads slowly."""
        await self._write("stderr", data)

    async def _write(self, kind: str, data: bytes) -> None:
        stream_id = self._ids.get(kind)
        if stream_id is not None:
            self._session.send(stream_id, data)
            self._flush()
            await self._stream.drain()

    async def finish(self, status: dict[str, Any]) -> None:
        """Send the final status on the error stream, end all streams, then the connection."""
        error = self._ids.get("error")
        if error is not None:
            failed = status["status"] != "Success"
            if self._version >= 4:
                self._session.send(error, json.dumps(status).encode())
            elif failed:
                self._session.send(error, status["message"].encode())
        for stream_id in self._ids.values():
            self._session.send(stream_id, b"", finished=True)
        self._flush()
        await self._stream.drain()
        await self._linger()
        self.close()

    async def _linger(self) -> None:
        """Let the client end the connection: it may still read what was sent."""
        try:
            async with asyncio.timeout(1.0):
                await self._gone.wait()
        except TimeoutError:
            self._session.go_away()
            self._flush()

    async def lost(self) -> None:
        """Wait until the client has gone."""
        await self._gone.wait()

    def close(self) -> None:
        """End the connection."""
        if self._reader is not None:
            self._reader.cancel()
        self._stream.close()

    def _flush(self) -> None:
        data = self._session.outgoing()
        if data:
            self._stream.write(data)
