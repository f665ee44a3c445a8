"""The engine's end of a socket that a shim fills: output as frames, input as bytes."""

from __future__ import annotations

import asyncio
import contextlib
import socket

__all__ = ["ShimStream", "stream_pair"]

_READ_BYTES = 64 * 1024


class ShimStream:
    """Reads output, already framed as Docker frames it; writes input; each side ends alone."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        sock.setblocking(False)
        self._loop = asyncio.get_running_loop()

    async def read(self) -> bytes:
        """Return some output, none at the end."""
        try:
            return await self._loop.sock_recv(self._sock, _READ_BYTES)
        except OSError:
            return b""

    async def write(self, data: bytes) -> None:
        """Send input; waits while the process reads slowly. Nothing happens once it is gone."""
        with contextlib.suppress(OSError):
            await self._loop.sock_sendall(self._sock, data)

    def end_input(self) -> None:
        """End the input; output still comes."""
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Let go."""
        self._sock.close()


def stream_pair() -> tuple[ShimStream, socket.socket]:
    """Return the engine's end and the one to hand to a shim."""
    ours, theirs = socket.socketpair()
    return ShimStream(ours), theirs
