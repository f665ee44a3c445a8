"""HTTP/1.1 on one accepted socket, for browsers, curl and JSON clients of the gateway."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator

import h11

from sampan.loop.http_response import NO_CONTENT, REASONS, close_body, http_date
from sampan.loop.rpc_stats import RpcStats
from sampan.loop.server_limits import ServerLimits
from sampan.wire.grpc.service import HttpHandler, HttpRequest, HttpResponse, Peer

__all__ = ["Http1Server"]

_LOG = logging.getLogger(__name__)
_MAX_HEADER_BYTES = 64 * 1024


class Http1Server:
    """Serves one request after the other. The owner feeds `receive` and calls `sweep`."""

    def __init__(
        self,
        transport: asyncio.Transport,
        peer: Peer,
        handler: HttpHandler,
        limits: ServerLimits,
        stats: RpcStats,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._transport = transport
        self._peer = peer
        self._handler = handler
        self._limits = limits
        self._stats = stats
        self._loop = loop
        self._core = h11.Connection(h11.SERVER, max_incomplete_event_size=_MAX_HEADER_BYTES)
        self._request: h11.Request | None = None
        self._body = bytearray()
        self._task: asyncio.Task[None] | None = None
        self._writable: asyncio.Future[None] | None = None
        self._paused = False
        self._ending = False
        self._half_closed = False
        self._streaming = False
        self._served = 0
        self._since_s = loop.time()
        self._stalled_s: float | None = None

    def receive(self, data: bytes) -> None:
        """Take bytes from the socket."""
        self._stats.bytes_received += len(data)
        try:
            self._core.receive_data(data)
        except (h11.RemoteProtocolError, RuntimeError):
            self._transport.close()
            return
        if self._task is None:
            self._advance()
        else:
            # The next request waits in the parser; do not let it grow without bound.
            self._transport.pause_reading()

    def _advance(self) -> None:
        """Read events until a request is complete or more bytes are needed."""
        while self._task is None:
            try:
                event = self._core.next_event()
            except h11.RemoteProtocolError as error:
                self._refuse(error.error_status_hint)
                return
            if event is h11.NEED_DATA or event is h11.PAUSED:
                if self._core.they_are_waiting_for_100_continue:
                    self._write(h11.InformationalResponse(status_code=100, headers=[]))
                return
            if isinstance(event, h11.Request):
                if sum(len(n) + len(v) for n, v in event.headers) > _MAX_HEADER_BYTES:
                    # The parser bounds only what is incomplete.
                    self._refuse(431)
                    return
                self._request = event
                self._body.clear()
                self._since_s = self._loop.time()
            elif isinstance(event, h11.Data):
                self._body += event.data
                if len(self._body) > self._limits.http_body_bytes:
                    self._refuse(413)
                    return
            elif isinstance(event, h11.EndOfMessage):
                self._start()
            else:  # ConnectionClosed
                self._transport.close()
                return

    def _start(self) -> None:
        event = self._request
        assert event is not None
        headers = [(n.decode("latin-1"), v.decode("latin-1")) for n, v in event.headers]
        request = HttpRequest(
            event.method.decode("latin-1"),
            event.target.decode("latin-1"),
            headers,
            bytes(self._body),
            self._peer,
        )
        self._body.clear()
        self._stats.http_requests += 1
        self._task = self._loop.create_task(self._serve(request))

    async def _serve(self, request: HttpRequest) -> None:
        try:
            try:
                response = await self._handler(request)
            except Exception:
                _LOG.exception("%s %s failed", request.method, request.path)
                response = HttpResponse(500)
            await self._send(response, head=request.method == "HEAD")
        except (h11.LocalProtocolError, UnicodeError):
            _LOG.exception("%s %s: invalid response", request.method, request.path)
            self._transport.close()
        except Exception:
            _LOG.exception("the response to %s %s broke off", request.method, request.path)
            self._transport.abort()
        else:
            self._next()

    async def _send(self, response: HttpResponse, *, head: bool) -> None:
        headers = [(n.encode("ascii"), v.encode("latin-1")) for n, v in response.headers]
        body = response.body
        declared = any(name.lower() == b"content-length" for name, _ in headers)
        if isinstance(body, bytes) and not declared and response.status not in NO_CONTENT:
            headers.append((b"content-length", b"%d" % len(body)))
        headers.append((b"date", http_date(time.time()).encode()))
        if self._ending:
            headers.append((b"connection", b"close"))
        reason = REASONS.get(response.status, b"")
        self._write(h11.Response(status_code=response.status, headers=headers, reason=reason))
        if isinstance(body, bytes):
            if body and not head:
                self._write(h11.Data(data=body))
        else:
            await self._send_pieces(body)
        self._write(h11.EndOfMessage())
        await self._drain()

    async def _send_pieces(self, body: AsyncIterator[bytes]) -> None:
        try:
            if self._half_closed:
                self._transport.close()
                return
            self._streaming = True
            async for piece in body:
                if self._transport.is_closing():
                    return
                if piece:
                    self._write(h11.Data(data=piece))
                await self._drain()
        finally:
            self._streaming = False
            await close_body(body)

    async def _drain(self) -> None:
        while self._paused and not self._transport.is_closing():
            self._writable = self._loop.create_future()
            await self._writable

    def _next(self) -> None:
        """Go on with the next request on the connection, if there may be one."""
        self._task = None
        self._served += 1
        self._since_s = self._loop.time()
        if self._transport.is_closing():
            return
        if self._ending or self._core.our_state is not h11.DONE:
            self._transport.close()
            return
        if self._core.their_state is not h11.DONE:
            self._transport.close()
            return
        self._core.start_next_cycle()
        self._transport.resume_reading()
        self._advance()

    def _write(self, event: h11.Event) -> None:
        data = self._core.send(event)
        if data:
            self._stats.bytes_sent += len(data)
            self._transport.write(data)

    def _refuse(self, status: int) -> None:
        """Answer a request that cannot be read, and close."""
        if self._core.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            headers = [(b"content-length", b"0"), (b"connection", b"close")]
            reason = REASONS.get(status, b"")
            self._write(h11.Response(status_code=status, headers=headers, reason=reason))
            self._write(h11.EndOfMessage())
        self._transport.close()

    def pause(self) -> None:
        """The socket is full."""
        self._paused = True
        self._stalled_s = self._loop.time()

    def resume(self) -> None:
        """The socket takes bytes again."""
        self._paused = False
        self._stalled_s = None
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)

    def half_closed(self) -> bool:
        """The client has ended its side. Return whether it can still want what is being answered.

        A client may send its request, end its side and read the answer. One that follows a stream
        has no other way to say that it left.
        """
        self._half_closed = True
        return self._task is not None and not self._streaming

    def lost(self) -> None:
        """The socket is gone."""
        self.resume()
        if self._task is not None:
            self._task.cancel()

    def shut_down(self) -> None:
        """Begin the graceful end: no further request."""
        self._ending = True
        if self._task is None:
            self._transport.close()

    def finish_shutdown(self) -> None:
        """Nothing more to do: the running request closes the connection."""

    @property
    def calls(self) -> int:
        """Requests being answered."""
        return int(self._task is not None)

    def sweep(self, now: float) -> None:
        """Look at the clock: requests that do not end, idle connections, full sockets."""
        limits = self._limits
        if self._stalled_s is not None and now - self._stalled_s >= limits.stall_timeout_s:
            self._transport.abort()
        if self._task is not None:
            return
        begun = self._core.their_state is not h11.IDLE
        if begun:
            bound = limits.partial_timeout_s
        else:
            bound = limits.idle_timeout_s if self._served else limits.handshake_timeout_s
        if now - self._since_s >= bound:
            self._refuse(408) if begun else self._transport.close()
