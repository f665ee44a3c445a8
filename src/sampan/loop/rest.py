"""An HTTP/1.1 server for APIs that stream both ways and hand their connections over.

Bodies of requests are read as they come, answers may be endless, and a handler can take the whole
connection: after `101 UPGRADED` (or a bare 200 for old clients) it is a byte stream in both
directions, each of which ends on its own.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from pathlib import Path

from sampan.loop.raw_stream import RawStream
from sampan.loop.rest_connection import Handler, Request, Response, RestConnection
from sampan.loop.unix_socket import remove_stale_socket

__all__ = ["Handler", "RawStream", "Request", "Response", "RestServer"]


class RestServer:
    """Listens on unix sockets and TCP addresses, and serves them with one handler."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self._servers: list[asyncio.Server] = []
        self._connections: set[RestConnection] = set()
        self._paths: list[Path] = []

    def _accept(self) -> RestConnection:
        return RestConnection(self._handler, self._connections)

    async def listen_unix(self, path: Path, *, mode: int = 0o660, group: int = -1) -> None:
        """Listen on a unix socket; one that nobody listens on any more is replaced.

        Raises ConflictError while somebody does, OSError when the place cannot be used.
        """
        remove_stale_socket(path)
        mask = os.umask(0o177)
        try:
            server = await asyncio.get_running_loop().create_unix_server(self._accept, path)
        finally:
            os.umask(mask)
        self._servers.append(server)
        self._paths.append(path)
        os.chown(path, -1, group)
        os.chmod(path, mode)

    async def listen(self, host: str, port: int, tls: ssl.SSLContext | None = None) -> int:
        """Listen on TCP; returns the port. An empty host is every address."""
        loop = asyncio.get_running_loop()
        server = await loop.create_server(self._accept, host or None, port, ssl=tls)
        self._servers.append(server)
        return int(server.sockets[0].getsockname()[1])

    async def listen_socket(self, sock: socket.socket, tls: ssl.SSLContext | None = None) -> None:
        """Listen on a socket that is bound already, as systemd hands them over."""
        loop = asyncio.get_running_loop()
        if sock.family == socket.AF_UNIX:
            self._servers.append(await loop.create_unix_server(self._accept, sock=sock))
        else:
            self._servers.append(await loop.create_server(self._accept, sock=sock, ssl=tls))

    async def close(self, grace_s: float = 0.0) -> None:
        """Stop listening, let requests end for `grace_s` seconds, and break the others off."""
        for server in self._servers:
            server.close()
        for connection in list(self._connections):
            connection.finish()
        tasks = [connection.task for connection in self._connections]
        if tasks and grace_s > 0:
            await asyncio.wait(tasks, timeout=grace_s)
        for connection in list(self._connections):
            connection.abort()
        if tasks:
            await asyncio.wait(tasks, timeout=5)
        for path in self._paths:
            path.unlink(missing_ok=True)
