"""HTTP/1.1 on one accepted socket: bodies that stream both ways, and connections handed over.

h11 parses and keeps the protocol's state. The bytes that it has not been given yet are bounded: the
socket is not read while they are many, so that a handler that takes its time with a body slows its
client down. One task per connection answers one request after the other.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, cast
from urllib.parse import parse_qs, unquote

import h11

from sampan.base.errors import LimitError
from sampan.loop.http_response import NO_CONTENT, REASONS, close_body, http_date
from sampan.loop.raw_stream import RawStream

__all__ = ["Handler", "Request", "Response", "RestConnection"]

_LOG = logging.getLogger(__name__)
_HEADER_BYTES: Final = 64 * 1024
_HIGH_BYTES: Final = 512 * 1024
_LOW_BYTES: Final = 64 * 1024
_PARSE_BYTES: Final = 64 * 1024
_IDLE_S: Final = 300.0
_ERROR: Final = 400
_ABSOLUTE: Final = ("http://", "https://")
_REST_BYTES: Final = 256 * 1024
_LINGER_S: Final = 2.0
_LINGER_BYTES: Final = 256 << 20
_FRAMING: Final = (b"content-length", b"transfer-encoding")


@dataclass(frozen=True, slots=True)
class Response:
    """An answer; an async iterator as body is sent chunk by chunk as it comes.

    An empty first chunk sends the headers alone.
    """

    status: int = 200
    body: bytes | AsyncIterator[bytes] = b""
    headers: Sequence[tuple[str, str]] = field(default=())


class Request:
    """One request; its body is read on demand. Names of headers are lower case."""

    def __init__(self, connection: RestConnection, event: h11.Request) -> None:
        self._connection = connection
        self.method = event.method.decode("latin-1")
        target, _, query = event.target.decode("latin-1").partition("?")
        if target.startswith(_ABSOLUTE):  # the form for proxies, which a server takes too
            target = "/" + target.split("/", 3)[3] if target.count("/") > 2 else "/"
        self.path = unquote(target)
        self.query: Mapping[str, list[str]] = (
            parse_qs(query, keep_blank_values=True) if query else {}
        )
        self.headers: dict[str, str] = {}
        for name, value in event.headers:
            key, text = name.decode("latin-1"), value.decode("latin-1")
            # What comes several times means a list (RFC 9110, 5.3).
            self.headers[key] = f"{self.headers[key]}, {text}" if key in self.headers else text

    def first(self, name: str, default: str = "") -> str:
        """Return the first value of a query parameter."""
        found = self.query.get(name)
        return found[0] if found else default

    @property
    def connection(self) -> RestConnection:
        """The connection that it came by."""
        return self._connection

    def chunks(self) -> AsyncIterator[bytes]:
        """Yield the body as it comes; ConnectionResetError when the client leaves within it."""
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


class _Gone(ConnectionResetError):
    """The client has left."""


class RestConnection(asyncio.Protocol):
    """One connection; it is in `open_ones` as long as its socket is open."""

    def __init__(self, handler: Handler, open_ones: set[RestConnection]) -> None:
        self._handler = handler
        self._open_ones = open_ones
        self._loop = asyncio.get_running_loop()
        self._core = h11.Connection(h11.SERVER, max_incomplete_event_size=_HEADER_BYTES)
        self._unparsed = bytearray()
        self._eof = False
        self._told_eof = False
        self._reading = True
        self._paused = False
        self._closing = False
        self._arrived: asyncio.Future[None] | None = None
        self._writable: asyncio.Future[None] | None = None
        self._left: asyncio.Future[None] | None = None
        self._raw: RawStream | None = None
        self._busy = False
        self._body_wanted = False

    # The socket.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to serve."""
        self._transport = cast(asyncio.Transport, transport)
        self._open_ones.add(self)
        self._task = self._loop.create_task(self._run())

    def data_received(self, data: bytes) -> None:
        """Take bytes from the socket."""
        if self._raw is not None:
            self._raw.feed(data)
            return
        self._unparsed += data
        if self._reading and len(self._unparsed) > _HIGH_BYTES:
            self._reading = False
            self._transport.pause_reading()
        _set(self._arrived)

    def eof_received(self) -> bool:
        """The client has ended its side; the connection stays open for what it still waits for."""
        self._eof = True
        if self._raw is not None:
            self._raw.feed_end()
        else:
            _set(self._arrived)
            # A request that has come whole is followed by nothing but the client's leaving: one
            # that reads an endless answer has no other way to say so.
            if self._has_left():
                _set(self._left)
        return self._transport.get_extra_info("sslcontext") is None

    @property
    def is_tls(self) -> bool:
        """Whether the client speaks TLS."""
        return self._transport.get_extra_info("sslcontext") is not None

    def connection_lost(self, error: Exception | None) -> None:
        """The socket is gone."""
        self._eof = self._closing = True
        for future in (self._arrived, self._left):
            _set(future)
        self.resume_writing()
        if self._raw is not None:
            self._raw.lose()
        self._open_ones.discard(self)

    def pause_writing(self) -> None:
        """The socket is full."""
        self._paused = True
        if self._raw is not None:
            self._raw.pause()

    def resume_writing(self) -> None:
        """The socket takes bytes again."""
        self._paused = False
        _set(self._writable)
        if self._raw is not None:
            self._raw.resume()

    # The server.

    @property
    def task(self) -> asyncio.Task[None]:
        """What answers the requests."""
        return self._task

    def finish(self) -> None:
        """Close the connection once the request that is being answered is."""
        self._closing = True
        if not self._busy:
            self._transport.close()

    def abort(self) -> None:
        """Break everything off."""
        self._task.cancel()
        self._transport.abort()

    @property
    def peer_certificate(self) -> Mapping[str, object] | None:
        """The client's verified certificate, None without one."""
        found: Mapping[str, object] | None = self._transport.get_extra_info("peercert")
        return found

    # Requests.

    async def _run(self) -> None:
        try:
            while await self._one():
                pass
        except (ConnectionError, TimeoutError):
            pass
        finally:
            self._busy = False
            if self._raw is None:
                self._transport.close()
            else:
                self._raw.close()

    async def _one(self) -> bool:
        """Answer one request; False when there may be no further one."""
        idle = self._loop.call_later(_IDLE_S, self._transport.close)
        try:
            event = await self._event()
        except h11.RemoteProtocolError as error:
            await self._refuse(error.error_status_hint)
            return False
        finally:
            idle.cancel()
        if not isinstance(event, h11.Request):
            return False
        if not event.http_version.startswith(b"1."):
            await self._refuse(505)
            return False
        if sum(len(n) + len(v) for n, v in event.headers) > _HEADER_BYTES:
            await self._refuse(431)  # the parser bounds only what is incomplete
            return False
        self._busy, self._body_wanted = True, False
        if not any(name in _FRAMING for name, _ in event.headers):
            await self._event()  # the end of the message, which is here already
        request = Request(self, event)
        response = await self._handler(request)
        if response is None or self._raw is not None:
            return False
        if response.status >= _ERROR and self._core.their_state is h11.SEND_BODY:
            # Some clients say that their body broke off, and not why, when the answer overtakes it.
            await self._skip_rest()
        await self._answer(response, head=request.method == "HEAD")
        self._busy = False
        return await self._next()

    async def _next(self) -> bool:
        """Get ready for the next request on the connection."""
        if self._core.their_state is h11.SEND_BODY and not await self._skip_rest():
            await self._linger()
            return False
        if self._core.our_state is not h11.DONE or self._core.their_state is not h11.DONE:
            return False
        if self._closing:
            return False
        self._core.start_next_cycle()
        return True

    async def _skip_rest(self) -> bool:
        """Read what is left of a body that nobody wanted; False when that is much."""
        if self._core.they_are_waiting_for_100_continue:
            return False
        size = 0
        try:
            async with asyncio.timeout(_LINGER_S):
                async for piece in self.body():
                    size += len(piece)
                    if size > _REST_BYTES:
                        return False
        except TimeoutError:
            return False
        return True

    async def _linger(self) -> None:
        """End this side and read on for a while: closing at once would lose the answer."""
        if not self._transport.can_write_eof() or self._transport.is_closing():
            return
        self._transport.write_eof()
        size = 0
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LINGER_S):
                while not self._eof and size < _LINGER_BYTES:
                    size += len(self._unparsed)
                    self._unparsed.clear()
                    await self._more()

    async def _more(self) -> None:
        """Wait for bytes or the end."""
        if not self._reading:
            self._reading = True
            self._transport.resume_reading()
        if self._unparsed or self._eof:
            return
        self._arrived = self._loop.create_future()
        try:
            await self._arrived
        finally:
            self._arrived = None

    async def _event(self) -> h11.Event:
        while True:
            event: h11.Event | type[h11.PAUSED] | type[h11.NEED_DATA] = self._core.next_event()
            if not isinstance(event, type):
                return event
            if event is h11.PAUSED:
                raise _Gone("the connection is in another protocol's hands")
            if self._core.they_are_waiting_for_100_continue:
                self._send(
                    h11.InformationalResponse(status_code=100, headers=[], reason=b"Continue")
                )
            if not self._unparsed:
                if self._eof:
                    if self._told_eof or self._core.their_state is h11.IDLE:
                        raise _Gone("the client has gone")
                    self._told_eof = True
                    self._core.receive_data(b"")
                    continue
                await self._more()
                continue
            data = bytes(self._unparsed[:_PARSE_BYTES])
            del self._unparsed[:_PARSE_BYTES]
            self._core.receive_data(data)
            if not self._reading and len(self._unparsed) < _LOW_BYTES:
                self._reading = True
                self._transport.resume_reading()

    def _has_left(self) -> bool:
        unread = self._core.their_state is h11.SEND_BODY
        return self._eof and not (unread and self._body_wanted)

    async def body(self) -> AsyncIterator[bytes]:
        """Yield the rest of the body; ConnectionResetError when the client leaves within it."""
        self._body_wanted = True
        while self._core.their_state is h11.SEND_BODY:
            try:
                event = await self._event()
            except h11.RemoteProtocolError as error:
                words = str(error) if self._eof else "the body's chunks are malformed"
                raise _Gone(words) from None
            if isinstance(event, h11.Data):
                yield bytes(event.data)
            elif not isinstance(event, h11.EndOfMessage):
                raise _Gone("the client has gone")

    # Answers.

    def _send(self, event: h11.Event) -> None:
        data = self._core.send(event)
        if data and not self._transport.is_closing():
            self._transport.write(data)

    def _head(self, response: Response) -> bytes:
        headers = [(n.encode("ascii"), v.encode("latin-1")) for n, v in response.headers]
        body = response.body
        if isinstance(body, bytes) and response.status not in NO_CONTENT:
            if not any(name.lower() == b"content-length" for name, _ in headers):
                headers.append((b"Content-Length", b"%d" % len(body)))
        headers.append((b"Date", http_date(time.time()).encode()))
        if self._closing:
            headers.append((b"Connection", b"close"))
        reason = REASONS.get(response.status, b"")
        event = h11.Response(status_code=response.status, headers=headers, reason=reason)
        return self._core.send(event) or b""

    async def _answer(self, response: Response, *, head: bool) -> None:
        data, body = self._head(response), response.body
        if isinstance(body, bytes):
            if body and not head:
                data += self._core.send(h11.Data(data=body)) or b""
            data += self._core.send(h11.EndOfMessage()) or b""
            if self._transport.is_closing():
                raise _Gone("the client has gone")
            self._transport.write(data)
            if self._paused:
                await self._drain()
            return
        self._transport.write(data)
        try:
            if not head:
                await self._stream(body)
            self._send(h11.EndOfMessage())
        finally:
            await close_body(body)

    async def _drain(self) -> None:
        while self._paused and not self._transport.is_closing():
            self._writable = self._loop.create_future()
            await self._writable
        if self._transport.is_closing():
            raise _Gone("the client has gone")

    async def _stream(self, body: AsyncIterator[bytes]) -> None:
        """Send pieces as they come, and stop when the client leaves in between."""
        self._left = left = self._loop.create_future()
        if self._has_left():
            raise _Gone("the client has gone")
        pending: asyncio.Future[bytes | None] | None = None
        try:
            while True:
                pending = asyncio.ensure_future(_following(body))
                await asyncio.wait((pending, left), return_when=asyncio.FIRST_COMPLETED)
                if not pending.done() or self._transport.is_closing():
                    raise _Gone("the client has gone")
                piece = pending.result()
                if piece is None:
                    return
                if piece:
                    self._send(h11.Data(data=piece))
                await self._drain()
        except ConnectionError:
            raise
        except Exception:
            # What has been sent cannot be taken back: the missing last chunk tells the client.
            _LOG.exception("a streamed answer broke off")
            raise _Gone("the answer broke off") from None
        finally:
            self._left = None
            if pending is not None and not pending.done():
                pending.cancel()
                with contextlib.suppress(asyncio.CancelledError, Exception):
                    await pending

    async def _refuse(self, status: int) -> None:
        """Answer a request that cannot be read."""
        if self._core.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            reason = REASONS.get(status, b"Bad Request").decode()
            head = f"HTTP/1.1 {status} {reason}\r\nContent-Type: text/plain; charset=utf-8\r\n"
            body = f"{status} {reason}"
            rest = f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n{body}"
            self._transport.write((head + rest).encode("ascii"))
            await self._linger()

    # Handing over.

    async def hijack(self, request: Request, headers: Sequence[tuple[str, str]]) -> RawStream:
        """Answer 101, or 200 without an upgrade, and hand over the bytes that follow."""
        async for _ in self.body():
            pass
        upgrade = request.headers.get("upgrade", "")
        lines = ["HTTP/1.1 101 UPGRADED"] if upgrade else ["HTTP/1.1 200 OK"]
        if upgrade:
            lines += ["Connection: Upgrade", f"Upgrade: {upgrade}"]
        lines += [f"{name}: {value}" for name, value in headers]
        self._transport.write(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))
        early = bytes(self._core.trailing_data[0]) + bytes(self._unparsed)
        self._unparsed.clear()
        self._raw = raw = RawStream(self._transport, early)
        if self._eof:
            raw.feed_end()
        if self._paused:
            raw.pause()
        if self._transport.is_closing():
            raw.lose()
        if not self._reading:
            self._reading = True
            self._transport.resume_reading()
        return raw


async def _following(body: AsyncIterator[bytes]) -> bytes | None:
    return await anext(body, None)


def _set(future: asyncio.Future[None] | None) -> None:
    if future is not None and not future.done():
        future.set_result(None)
