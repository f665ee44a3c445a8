"""A plain HTTP request that came over HTTP/2."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator

from sampan.loop.http_response import NO_CONTENT, close_body, http_date
from sampan.loop.rpc_call import CallHost
from sampan.wire.grpc.service import HttpHandler, HttpRequest, HttpResponse
from sampan.wire.h2.codes import ErrorCode
from sampan.wire.h2.headers import Head, encode_headers
from sampan.wire.h2.sender import Sender, Stream

__all__ = ["Http2Request"]

_LOG = logging.getLogger(__name__)
_HOP_BY_HOP = frozenset({"connection", "keep-alive", "transfer-encoding", "upgrade"})


class Http2Request(Stream):
    """Collects the body, asks the handler, sends what it answers."""

    _task: asyncio.Task[None] | None = None
    _drained: asyncio.Future[None] | None = None

    def __init__(
        self, link: Sender, stream_id: int, head: Head, host: CallHost, handler: HttpHandler | None
    ) -> None:
        super().__init__(link, stream_id, head)
        self._request_head = head
        self._host = host
        self._handler = handler
        self._body = bytearray()
        self._pending_bytes = 0

    def on_head(self, end_stream: bool) -> None:
        """Refuse what cannot be served; otherwise wait for the body."""
        if self._handler is None:
            self._refuse(415)
        elif end_stream:
            self._start()

    def on_data(self, data: bytes, end_stream: bool) -> None:
        """Collect the body."""
        if self.local_done or self._task is not None:
            return
        self._body += data
        limits = self._host.limits
        self._host.partial_bytes += len(data)
        self._pending_bytes += len(data)
        if len(self._body) > limits.http_body_bytes:
            self._refuse(413)
        elif self._host.partial_bytes > limits.partial_request_bytes:
            self._refuse(503)
        elif end_stream:
            self._start()
        else:
            self.credit(len(data))

    def on_trailers(self, trailers: Head) -> None:
        """The body ends with trailers, which are ignored."""
        if not self.local_done and self._task is None:
            self._start()

    def on_reset(self, code: ErrorCode, reason: str) -> None:
        """Stop working for a client that is gone."""
        self._release()
        if self._task is not None:
            self._task.cancel()

    def on_drain(self) -> None:
        """Let the body go on."""
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)

    def _refuse(self, status: int) -> None:
        self._release()
        self.send_headers(encode_headers([(":status", str(status))]), end_stream=True)

    def _release(self) -> None:
        self._host.partial_bytes -= self._pending_bytes
        self._pending_bytes = 0
        self._body = bytearray()

    def _start(self) -> None:
        head = self._request_head
        headers = head.headers
        if head.authority and head.get("host") is None:
            headers = (("host", head.authority), *headers)
        request = HttpRequest(head.method, head.path, headers, bytes(self._body), self._host.peer)
        self._release()
        self._task = self._host.loop.create_task(self._serve(request))

    async def _serve(self, request: HttpRequest) -> None:
        assert self._handler is not None
        try:
            response = await self._handler(request)
        except Exception:
            _LOG.exception("%s %s failed", request.method, request.path)
            response = HttpResponse(500)
        try:
            await self._send(request, response)
        except Exception:
            _LOG.exception("the response to %s %s broke off", request.method, request.path)
            self.reset(ErrorCode.INTERNAL_ERROR)

    async def _send(self, request: HttpRequest, response: HttpResponse) -> None:
        fields = [(":status", str(response.status))]
        names = set()
        for name, value in response.headers:
            names.add(name.lower())
            if name.lower() not in _HOP_BY_HOP:
                fields.append((name.lower(), value))
        fields.append(("date", http_date(time.time())))
        body = response.body
        if isinstance(body, bytes):
            if "content-length" not in names and response.status not in NO_CONTENT:
                fields.append(("content-length", str(len(body))))
            bodiless = not body or request.method == "HEAD"
            self.send_headers(encode_headers(fields), end_stream=bodiless)
            if not bodiless:
                self.send_data(body, end_stream=True)
            return
        if request.method == "HEAD":
            self.send_headers(encode_headers(fields), end_stream=True)
            return
        self.send_headers(encode_headers(fields))
        await self._send_pieces(body)

    async def _send_pieces(self, body: AsyncIterator[bytes]) -> None:
        try:
            async for piece in body:
                if self.local_done:
                    return
                if piece:
                    self.send_data(piece)
                while self.queued_bytes and not self.local_done:
                    self.wants_drain = True
                    self._drained = self._host.loop.create_future()
                    await self._drained
        finally:
            await close_body(body)
        self.send_data(b"", end_stream=True)
