"""The server that kubelets and crictl are sent to for streams: loopback only, one-time addresses.

A stream is agreed on by RPC, which answers with a URL that has a random token; who knows the token
may use it once, within a minute.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import secrets
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

from sampan.base.errors import LimitError, UnavailableError
from sampan.engine.cri.streaming import spdy_remote, websocket_remote
from sampan.engine.cri.streaming.port_forward import (
    PROTOCOL,
    TUNNEL,
    Connect,
    WebSocketTunnel,
    forward_channels,
    forward_spdy,
)
from sampan.engine.cri.streaming.remote import ByteStream, Remote, Wanted
from sampan.engine.cri.streaming.spdy_remote import SpdyRemote
from sampan.engine.cri.streaming.websocket_remote import WebSocketRemote
from sampan.loop.rest import Request, Response, RestServer
from sampan.wire.websocket import accept_key

__all__ = ["Command", "Forward", "StreamingServer"]

_LOG = logging.getLogger(__name__)
_TOKEN_S: Final = 60.0
_MOST_TOKENS: Final = 1000
_IDLE_S: Final = 4 * 3600.0


@dataclass(frozen=True, slots=True)
class Command:
    """A remote command: which channels, and what is done with the client."""

    wanted: Wanted
    run: Callable[[Remote], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Forward:
    """Forwarded ports: those that were agreed on (none: any), and how to connect."""

    ports: Sequence[int]
    connect: Connect


class StreamingServer:
    """Serves agreed streams."""

    def __init__(self) -> None:
        self._server = RestServer(self._handle)
        self._agreed: dict[bytes, Command | Forward] = {}
        self._port = 0

    async def open(self) -> None:
        """Listen on a free port of the loopback address."""
        self._port = await self._server.listen("127.0.0.1", 0)

    async def close(self) -> None:
        """Break off all streams."""
        await self._server.close()

    def url(self, kind: str, agreed: Command | Forward) -> str:
        """Return where a stream is to be had, once and soon; LimitError when too many wait."""
        if len(self._agreed) >= _MOST_TOKENS:
            raise LimitError("too many streams have been agreed on and not been used")
        token = secrets.token_urlsafe(24)
        # Looked up by its hash: how long that takes says nothing about other tokens.
        key = hashlib.sha256(token.encode()).digest()
        self._agreed[key] = agreed
        loop = asyncio.get_running_loop()
        loop.call_later(_TOKEN_S, self._agreed.pop, key, None)
        return f"http://127.0.0.1:{self._port}/{kind}/{token}"

    async def _handle(self, request: Request) -> Response | None:
        token = request.path.rpartition("/")[2]
        key = hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
        agreed = self._agreed.pop(key, None)
        if agreed is None:
            return Response(404, b"no such stream, or it has been used already\n")
        if request.method not in ("GET", "POST"):
            return Response(405, b"GET or POST\n")
        upgrade = request.headers.get("upgrade", "").lower()
        if upgrade not in ("websocket", "spdy/3.1"):
            return Response(400, b"this address wants an upgrade to SPDY/3.1 or a WebSocket\n")
        try:
            if isinstance(agreed, Command):
                return await _serve_command(request, agreed, websocket=upgrade == "websocket")
            return await _serve_forward(request, agreed, websocket=upgrade == "websocket")
        except (ConnectionError, UnavailableError) as error:
            _LOG.debug("stream %s: %s", request.path.split("/")[1], error)
            return None


def _offered(request: Request, name: str) -> list[str]:
    return [word.strip() for word in request.headers.get(name, "").split(",") if word.strip()]


def _mismatch(offered: Sequence[str]) -> Response:
    text = f"unable to upgrade: none of {', '.join(offered) or 'nothing'} is spoken here\n"
    return Response(403, text.encode())


async def _upgrade(request: Request, protocol: str) -> ByteStream:
    """Take the connection over, with the protocol that was chosen."""
    if request.headers["upgrade"].lower() == "websocket":
        accept = accept_key(request.headers.get("sec-websocket-key", ""))
        headers = [("Sec-WebSocket-Accept", accept), ("Sec-WebSocket-Protocol", protocol)]
    else:
        headers = [("X-Stream-Protocol-Version", protocol)]
    return _Watched(await request.hijack(headers))


async def _serve_command(request: Request, command: Command, *, websocket: bool) -> Response | None:
    name = "sec-websocket-protocol" if websocket else "x-stream-protocol-version"
    offered = _offered(request, name)
    choose = websocket_remote.choose_protocol if websocket else spdy_remote.choose_protocol
    protocol = choose(offered)
    if protocol is None:
        return _mismatch(offered)
    stream = await _upgrade(request, protocol)
    remote: SpdyRemote | WebSocketRemote
    if websocket:
        remote = WebSocketRemote(stream, protocol)
    else:
        remote = SpdyRemote(stream, command.wanted, protocol)
    try:
        await remote.open()
        await command.run(remote)
    finally:
        remote.close()
    return None


async def _serve_forward(request: Request, forward: Forward, *, websocket: bool) -> Response | None:
    if not websocket:
        offered = _offered(request, "x-stream-protocol-version")
        if offered and PROTOCOL not in offered:
            return _mismatch(offered)
        await forward_spdy(await _upgrade(request, PROTOCOL), forward.connect)
        return None
    offered = _offered(request, "sec-websocket-protocol")
    if TUNNEL in offered:
        tunnel = WebSocketTunnel(await _upgrade(request, TUNNEL))
        await forward_spdy(tunnel, forward.connect)
        return None
    if "v4.channel.k8s.io" not in offered:
        return _mismatch(offered)
    if not forward.ports:
        return Response(400, b"no port was asked for\n")
    stream = await _upgrade(request, "v4.channel.k8s.io")
    await forward_channels(stream, forward.ports, forward.connect)
    return None


class _Watched:
    """A byte stream that is closed once nothing has come or gone for some hours."""

    def __init__(self, stream: ByteStream) -> None:
        self._stream = stream
        self._loop = asyncio.get_running_loop()
        self._last = self._loop.time()
        self._timer = self._loop.call_later(_IDLE_S, self._look)

    def _look(self) -> None:
        left = self._last + _IDLE_S - self._loop.time()
        if left <= 0:
            self._stream.close()
        else:
            self._timer = self._loop.call_later(left, self._look)

    async def read(self) -> bytes:
        """Return some bytes, none at the end."""
        data = await self._stream.read()
        self._last = self._loop.time()
        return data

    def write(self, data: bytes) -> None:
        """Queue bytes."""
        self._last = self._loop.time()
        self._stream.write(data)

    async def drain(self) -> None:
        """Wait until the queue is short."""
        await self._stream.drain()

    def close(self) -> None:
        """End the connection after what is queued."""
        self._timer.cancel()
        self._stream.close()
