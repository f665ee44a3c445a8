"""An HTTP/1.1 server for APIs that stream both ways and hand their connections over.

Bodies of requests are read as they come, answers may be endless, and a handler can take the whole
connection: after `101 UPGRADED` (or a bare 200 for old clients) it is a byte stream in both
directions, each of which ends on its own. h11 parses; sockets and limits are here.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import ssl
import stat
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Final
from urllib.parse import parse_qs, unquote

import h11

from sampan.base.errors import LimitError

__all__ = ["Handler", "RawStream", "Request", "Response", "RestServer"]

_LOG = logging.getLogger(__name__)
_HEADER_BYTES: Final = 64 * 1024
_READ_BYTES: Final = 64 * 1024
_IDLE_S: Final = 300.0
_REASONS: Final = {status.value: status.phrase.encode() for status in HTTPStatus}


@dataclass(frozen=True, slots=True)
class Response:
    """An answer; an async iterator as body is sent chunk by chunk as it comes."""

    status: int = 200
    body: bytes | AsyncIterator[bytes] = b""
    headers: Sequence[tuple[str, str]] = field(default=())


class RawStream:
    """A connection that the handler has taken over."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, early: bytes
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._early = early

    async def read(self) -> bytes:
        """Return some bytes, none once the client has ended its side."""
        if self._early:
            early, self._early = self._early, b""
            return early
        try:
            return await self._reader.read(_READ_BYTES)
        except OSError:
            return b""

    def write(self, data: bytes) -> None:
        """Queue bytes."""
        self._writer.write(data)

    async def drain(self) -> None:
        """Wait until the queue is short; raises ConnectionError when the client has gone."""
        await self._writer.drain()

    def write_eof(self) -> None:
        """End this side; the client may still send."""
        if self._writer.can_write_eof():
            with contextlib.suppress(OSError):
                self._writer.write_eof()

    def close(self) -> None:
        """End the connection after what is queued."""
        self._writer.close()


class Request:
    """One request; its body is read on demand."""

    def __init__(self, connection: _Connection, event: h11.Request) -> None:
        self._connection = connection
        self.method = event.method.decode("latin-1")
        target, _, query = event.target.decode("latin-1").partition("?")
        self.path = unquote(target)
        self.query: Mapping[str, list[str]] = parse_qs(query, keep_blank_values=True)
        self.headers = {n.decode("latin-1"): v.decode("latin-1") for n, v in event.headers}

    def first(self, name: str, default: str = "") -> str:
        """Return the first value of a query parameter."""
        found = self.query.get(name)
        return found[0] if found else default

    def chunks(self) -> AsyncIterator[bytes]:
        """Yield the body as it comes."""
        return self._connection.body()

    async def read(self, limit_bytes: int = 4 << 20) -> bytes:
        """Return the whole body; LimitError beyond the limit."""
        pieces, size = [], 0
        async for piece in self.chunks():
            size += len(piece)
            if size > limit_bytes:
                raise LimitError(f"the request's body is larger than {limit_bytes} bytes")
            pieces.append(piece)
        return b"".join(pieces)

    async def hijack(self, headers: Sequence[tuple[str, str]] = ()) -> RawStream:
        """Take the connection over, answering 101 to a client that asks for an upgrade."""
        return await self._connection.hijack(self, headers)


Handler = Callable[[Request], Awaitable[Response | None]]
"""Answers a request; None after it has taken the connection over."""


class _Gone(Exception):
    """The client has left."""


class _Connection:
    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, handler: Handler
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._handler = handler
        self._core = h11.Connection(h11.SERVER, max_incomplete_event_size=_HEADER_BYTES)
        self._hijacked = False

    async def run(self) -> None:
        """Serve one request after the other until the client leaves."""
        try:
            while await self._one():
                pass
        except (_Gone, ConnectionError, TimeoutError, h11.RemoteProtocolError):
            pass
        finally:
            if not self._hijacked:
                self._writer.close()

    async def _one(self) -> bool:
        try:
            async with asyncio.timeout(_IDLE_S):
                event = await self._event()
        except h11.RemoteProtocolError as error:
            self._refuse(error.error_status_hint)
            return False
        if not isinstance(event, h11.Request):
            return False
        request = Request(self, event)
        response = await self._handler(request)
        if response is None:
            return False
        await self._answer(response, request)
        if self._core.our_state is not h11.DONE:
            return False
        if self._core.their_state is not h11.DONE:
            async for _ in self.body():
                pass
        self._core.start_next_cycle()
        return True

    async def _event(self) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
        while True:
            event = self._core.next_event()
            if event is not h11.NEED_DATA:
                return event
            if self._core.they_are_waiting_for_100_continue:
                self._send(h11.InformationalResponse(status_code=100, headers=[]))
            data = await self._reader.read(_READ_BYTES)
            self._core.receive_data(data)
            if not data and self._core.their_state is h11.IDLE:
                raise _Gone

    async def body(self) -> AsyncIterator[bytes]:
        while True:
            event = await self._event()
            if isinstance(event, h11.Data):
                yield bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                return
            else:
                raise _Gone

    def _send(self, event: h11.Event) -> None:
        data = self._core.send(event)
        if data:
            self._writer.write(data)

    async def _answer(self, response: Response, request: Request) -> None:
        headers = [(n.encode("ascii"), v.encode("latin-1")) for n, v in response.headers]
        body = response.body
        if isinstance(body, bytes):
            if response.status not in (204, 304) and request.method != "HEAD":
                headers.append((b"content-length", b"%d" % len(body)))
            head = self._head(response.status, headers)
            if request.method == "HEAD" or not body:
                self._writer.write(head)
            else:
                self._writer.write(head + (self._core.send(h11.Data(data=body)) or b""))
            self._send(h11.EndOfMessage())
        else:
            self._writer.write(self._head(response.status, headers))
            await self._stream(body)
        await self._writer.drain()

    def _head(self, status: int, headers: list[tuple[bytes, bytes]]) -> bytes:
        reason = _REASONS.get(status, b"")
        event = h11.Response(status_code=status, headers=headers, reason=reason)
        return self._core.send(event) or b""

    async def _stream(self, body: AsyncIterator[bytes]) -> None:
        """Send pieces as they come, and stop when the client leaves in between."""
        gone = asyncio.ensure_future(self._reader.read(1))
        try:
            while True:
                piece = asyncio.ensure_future(anext(body, None))
                await asyncio.wait({piece, gone}, return_when=asyncio.FIRST_COMPLETED)
                if not piece.done():
                    piece.cancel()
                    with contextlib.suppress(asyncio.CancelledError, StopAsyncIteration):
                        await piece
                    raise _Gone
                data = piece.result()
                if data is None:
                    break
                self._send(h11.Data(data=data))
                await self._writer.drain()
            self._send(h11.EndOfMessage())
        except Exception as error:
            if not isinstance(error, _Gone | ConnectionError):
                _LOG.exception("a streamed answer broke off")
            raise _Gone from error
        finally:
            if gone.done():
                self._core.receive_data(gone.result())
            else:
                gone.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await gone
            close = getattr(body, "aclose", None)
            if close is not None:
                await close()

    async def hijack(self, request: Request, headers: Sequence[tuple[str, str]]) -> RawStream:
        if self._core.their_state is h11.SEND_BODY:
            async for _ in self.body():
                pass
        upgrade = request.headers.get("upgrade", "")
        lines = [b"HTTP/1.1 101 UPGRADED"] if upgrade else [b"HTTP/1.1 200 OK"]
        if upgrade:
            lines += [b"Connection: Upgrade", f"Upgrade: {upgrade}".encode("latin-1")]
        lines += [f"{name}: {value}".encode("latin-1") for name, value in headers]
        self._writer.write(b"\r\n".join(lines) + b"\r\n\r\n")
        early, _ = self._core.trailing_data
        self._hijacked = True
        return RawStream(self._reader, self._writer, early)

    def _refuse(self, status: int) -> None:
        reason = _REASONS.get(status, b"Bad Request").decode()
        text = f"HTTP/1.1 {status} {reason}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        self._writer.write(text.encode("ascii"))


class RestServer:
    """Listens on unix sockets and TCP addresses, and serves them with one handler."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self._servers: list[asyncio.Server] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._paths: list[Path] = []

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(_Connection(reader, writer, self._handler).run())
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            _LOG.error("a connection broke off", exc_info=task.exception())

    async def listen_unix(self, path: Path, *, mode: int = 0o660, group: int = -1) -> None:
        """Listen on a unix socket; one that nobody listens on any more is replaced."""
        _remove_socket(path)
        mask = os.umask(0o177)
        try:
            server = await asyncio.start_unix_server(self._accept, path)
        finally:
            os.umask(mask)
        os.chown(path, -1, group)
        os.chmod(path, mode)
        self._servers.append(server)
        self._paths.append(path)

    async def listen(self, host: str, port: int, tls: ssl.SSLContext | None = None) -> int:
        """Listen on TCP; returns the port."""
        server = await asyncio.start_server(self._accept, host, port, ssl=tls)
        self._servers.append(server)
        return int(server.sockets[0].getsockname()[1])

    async def close(self) -> None:
        """Stop listening and break off what is being served."""
        for server in self._servers:
            server.close()
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=5)
        for path in self._paths:
            path.unlink(missing_ok=True)


def _remove_socket(path: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        if stat.S_ISSOCK(path.stat().st_mode):
            path.unlink()
