"""The raw stream behind an upgrade: read in one thread while another writes."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from typing import Any

from sampan.engine.client.transport import Connection

__all__ = ["Hijacked"]

_READ_BYTES = 1 << 16


class Hijacked:
    """A stream in both directions; either can end before the other."""

    def __init__(self, connection: Connection, content_type: str = "") -> None:
        self._connection = connection
        self._tls = _TlsTurns(connection.socket) if hasattr(connection.socket, "pending") else None
        self.multiplexed = content_type.endswith("multiplexed-stream")

    def chunks(self) -> Iterator[bytes]:
        """Yield what the daemon sends until it ends; a connection that breaks ends it too."""
        with contextlib.suppress(ConnectionError, OSError):
            yield from self._connection.buffered()
            receive = self._connection.socket.recv if self._tls is None else self._tls.receive
            while data := receive(_READ_BYTES):
                yield data

    def write(self, data: bytes) -> None:
        """Send; OSError when the daemon has gone."""
        (self._connection.socket.sendall if self._tls is None else self._tls.send)(data)

    def close_write(self) -> None:
        """Tell the daemon that nothing more comes; what it sends can still be read."""
        with contextlib.suppress(OSError):
            if self._tls is None:
                self._connection.socket.shutdown(socket.SHUT_WR)

    def abort(self) -> None:
        """End both directions; a reader in another thread sees the end."""
        with contextlib.suppress(OSError):
            self._connection.socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Give the connection back."""
        self._connection.close()


class _TlsTurns:
    """Reading and writing one TLS session from two threads: never both at once inside OpenSSL."""

    def __init__(self, secured: Any) -> None:
        import ssl
        import threading

        self._socket = secured
        self._socket.setblocking(False)
        self._turn = threading.Lock()
        self._want_read, self._want_write = ssl.SSLWantReadError, ssl.SSLWantWriteError

    def receive(self, size_bytes: int) -> bytes:
        while True:
            try:
                with self._turn:
                    return bytes(self._socket.recv(size_bytes))
            except self._want_read:
                self._await(readable=True)
            except self._want_write:
                self._await(readable=False)

    def send(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            try:
                with self._turn:
                    view = view[self._socket.send(view) :]
            except self._want_read:
                self._await(readable=True)
            except self._want_write:
                self._await(readable=False)

    def _await(self, readable: bool) -> None:
        import select

        own = [self._socket]
        select.select(own if readable else [], [] if readable else own, [])
