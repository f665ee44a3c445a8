"""A client channel: gRPC calls to one server over one HTTP/2 connection, made when needed.

    channel = Channel("127.0.0.1:2379")
    reply = await channel.unary("/pkg.Service/Method", request, timeout_s=1.0)
    stream = channel.stream("/pkg.Service/Watch")

A lost connection is made anew by the next call. Calls are not retried here; `NotProcessedError`
(an RpcError, UNAVAILABLE) marks failures after which repeating is safe whatever the call does.

Source: grpc/doc/PROTOCOL-HTTP2.md, keepalive.md; RFC 9113.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from typing import TypedDict

from sampan.loop.channel_call import ClientStream, StreamingCall, UnaryCall
from sampan.loop.channel_codec import metadata_block, timeout_text
from sampan.loop.channel_errors import NotProcessedError
from sampan.loop.channel_link import Keepalive, Link
from sampan.wire.grpc.framing import pack
from sampan.wire.grpc.status import Code, Metadata, RpcError
from sampan.wire.h2.codes import ErrorCode
from sampan.wire.h2.headers import encode_headers

__all__ = ["Channel", "ClientStream", "NotProcessedError"]

_CACHE_ENTRIES = 256
# Some servers never answer the closing alert; there is nothing left to wait for.
_TLS_SHUTDOWN_S = 0.5


class _TlsOptions(TypedDict, total=False):
    """What asyncio wants to know about a TLS connection."""

    ssl: ssl.SSLContext
    server_hostname: str
    ssl_shutdown_timeout: float


class Channel:
    """Calls to `target`, `host:port` or `unix:path`. Belongs to one event loop; lazy.

    `tls` gets ALPN `h2` set; `server_name` overrides the name that is checked in the certificate.
    After `keepalive_time_s` of silence with calls under way the server is pinged; without an answer
    in `keepalive_timeout_s` the connection is given up. `max_receive_bytes` bounds one response
    message (RESOURCE_EXHAUSTED). With `gzip` messages are sent compressed; any are understood.
    """

    def __init__(
        self,
        target: str,
        *,
        tls: ssl.SSLContext | None = None,
        server_name: str | None = None,
        connect_timeout_s: float = 5.0,
        keepalive_time_s: float | None = None,
        keepalive_timeout_s: float = 20.0,
        max_receive_bytes: int = 2**31 - 1,
        user_agent: str = "sampan",
        gzip: bool = False,
    ) -> None:
        self.target = target
        self._gzip = gzip
        self._tls = tls
        if tls is not None:
            tls.set_alpn_protocols(["h2"])
        self._server_name = server_name
        self._connect_timeout_s = connect_timeout_s
        self._keepalive = Keepalive(keepalive_time_s, keepalive_timeout_s)
        self._max_receive_bytes = max_receive_bytes
        self._user_agent = user_agent
        self._link: Link | None = None
        self._connecting: asyncio.Task[Link] | None = None
        self._links: set[Link] = set()
        self._openers: set[asyncio.Task[None]] = set()
        self._blocks: dict[object, bytes] = {}
        self._closed = False

    @property
    def connections(self) -> int:
        """How many connections are open: one, or more while an old one finishes its calls."""
        return len(self._links)

    async def unary(
        self,
        path: str,
        request: bytes,
        *,
        metadata: Metadata = (),
        timeout_s: float | None = None,
    ) -> bytes:
        """Call `path` with one message and return the one message of the answer.

        Raises RpcError: the server's status, DEADLINE_EXCEEDED after `timeout_s` (which the server
        is told too), UNAVAILABLE when there is no connection, CANCELLED when the channel is closed.
        """
        loop = asyncio.get_running_loop()
        block = self._header_block(path, metadata, timeout_s)
        link = self._link
        if link is None or not link.usable:
            started = loop.time()
            link = await self._connect(timeout_s)
            if timeout_s is not None:
                timeout_s = max(0.0, timeout_s - (loop.time() - started))
        reply: asyncio.Future[bytes] = loop.create_future()
        connection = link.connection
        call = UnaryCall(connection, self._max_receive_bytes, link.stream_ended, reply)

        def begin() -> None:
            connection.open(call, block)
            call.send_data(pack(request, self._gzip), end_stream=True)

        timer = None if timeout_s is None else loop.call_later(timeout_s, call.expire)
        try:
            link.start(begin, call)
            return await reply
        finally:
            if timer is not None:
                timer.cancel()
            if not call.ended:
                call.fail(RpcError(Code.CANCELLED, "cancelled by the caller"))

    def stream(
        self, path: str, *, metadata: Metadata = (), timeout_s: float | None = None
    ) -> ClientStream:
        """Start a streaming call of any shape; see ClientStream. Errors show when it is read."""
        loop = asyncio.get_running_loop()
        stream = ClientStream(gzip=self._gzip)
        block = self._header_block(path, metadata, timeout_s)
        timer: asyncio.TimerHandle | None = None
        if timeout_s is not None:
            expired = RpcError(Code.DEADLINE_EXCEEDED, "context deadline exceeded")
            timer = loop.call_later(timeout_s, stream.fail, expired)
        link = self._link
        if link is not None and link.usable:
            self._open_stream(stream, link, block, timer)
            return stream
        opener = loop.create_task(self._open_later(stream, block, timer))
        self._openers.add(opener)
        opener.add_done_callback(self._openers.discard)
        return stream

    async def close(self) -> None:
        """Close the connection; calls under way, and later ones, fail with CANCELLED."""
        self._closed = True
        if self._connecting is not None:
            self._connecting.cancel()
            await asyncio.gather(self._connecting, return_exceptions=True)
        links = tuple(self._links)
        for link in links:
            link.close()
        await asyncio.gather(*self._openers, return_exceptions=True)
        await asyncio.gather(*(link.closed for link in links))

    # ---- inside

    def _header_block(self, path: str, metadata: Metadata, timeout_s: float | None) -> bytes:
        block = self._cached(path, lambda: self._request_block(path))
        if timeout_s is not None:
            text = timeout_text(timeout_s)
            block += self._cached((text,), lambda: encode_headers([("grpc-timeout", text)]))
        if metadata:
            key = tuple(metadata)
            block += self._cached(key, lambda: metadata_block(metadata))
        return block

    def _cached(self, key: object, make: Callable[[], bytes]) -> bytes:
        block = self._blocks.get(key)
        if block is None:
            if len(self._blocks) >= _CACHE_ENTRIES:
                self._blocks.clear()
            block = self._blocks[key] = make()
        return block

    def _request_block(self, path: str) -> bytes:
        authority = "localhost" if self.target.startswith("unix:") else self.target
        encoding = [("grpc-encoding", "gzip")] if self._gzip else []
        return encode_headers(
            [
                (":method", "POST"),
                (":scheme", "http" if self._tls is None else "https"),
                (":path", path),
                (":authority", self._server_name or authority),
                ("te", "trailers"),
                ("content-type", "application/grpc"),
                ("user-agent", self._user_agent),
                ("grpc-accept-encoding", "gzip"),
                *encoding,
            ]
        )

    def _open_stream(
        self, stream: ClientStream, link: Link, block: bytes, timer: asyncio.TimerHandle | None
    ) -> None:
        connection = link.connection
        call = StreamingCall(connection, self._max_receive_bytes, stream)

        def begin() -> None:
            connection.open(call, block)
            stream.attach(call, link.write_now)

        def closed() -> None:
            if timer is not None:
                timer.cancel()
            link.stream_ended()

        stream.when_closed(closed)
        link.start(begin, call)

    async def _open_later(
        self, stream: ClientStream, block: bytes, timer: asyncio.TimerHandle | None
    ) -> None:
        try:
            link = await self._connect(None)
        except RpcError as error:
            if timer is not None:
                timer.cancel()
            stream.fail(error)
            return
        if stream.done:
            return
        self._open_stream(stream, link, block, timer)

    async def _connect(self, timeout_s: float | None) -> Link:
        """Return a usable link, making one if need be; callers share the attempt."""
        if self._closed:
            raise RpcError(Code.CANCELLED, "the channel is closed")
        if self._connecting is None:
            self._connecting = asyncio.create_task(self._dial())
            self._connecting.add_done_callback(self._dialled)
        attempt = self._connecting
        done, _ = await asyncio.wait((attempt,), timeout=timeout_s)
        if not done:
            raise NotProcessedError(f"no connection to {self.target} within {timeout_s} s")
        if attempt.cancelled():
            raise RpcError(Code.CANCELLED, "the channel is closed")
        return attempt.result()

    def _dialled(self, attempt: asyncio.Task[Link]) -> None:
        self._connecting = None
        if not attempt.cancelled() and attempt.exception() is None:
            self._link = attempt.result()

    async def _dial(self) -> Link:
        link = Link(self._keepalive, self._unusable)
        try:
            async with asyncio.timeout(self._connect_timeout_s):
                await self._dial_socket(link)
                self._links.add(link)
                link.closed.add_done_callback(lambda _: self._links.discard(link))
                await link.ready
        except TimeoutError:
            link.close("connect timeout")
            raise NotProcessedError(f"no connection to {self.target} in time") from None
        except (OSError, ssl.SSLError) as error:
            link.close("not connected")
            raise NotProcessedError(f"no connection to {self.target}: {error}") from None
        except asyncio.CancelledError:
            link.close("not connected")
            raise
        return link

    async def _dial_socket(self, link: Link) -> None:
        loop = asyncio.get_running_loop()
        host, _, port = self.target.rpartition(":")
        host = host.strip("[]")
        path = self.target.removeprefix("unix:") if self.target.startswith("unix:") else None
        options: _TlsOptions = {}
        if self._tls is not None:
            name = self._server_name or (host if path is None else "localhost")
            options = {
                "ssl": self._tls,
                "server_hostname": name,
                "ssl_shutdown_timeout": _TLS_SHUTDOWN_S,
            }
        if path is not None:
            await loop.create_unix_connection(lambda: link, path, **options)
        else:
            await loop.create_connection(lambda: link, host, int(port), **options)

    def _unusable(self, link: Link, code: int) -> None:
        if self._link is link:
            self._link = None
        time_s = self._keepalive.time_s
        if code == ErrorCode.ENHANCE_YOUR_CALM and time_s is not None:
            # The server finds our pings too many (gRPC keepalive, "too_many_pings").
            self._keepalive = Keepalive(time_s * 2, self._keepalive.timeout_s)
