"""A connection after its HTTP request: bytes in both directions, each of which ends on its own."""

from __future__ import annotations

import asyncio
import contextlib
import select
from collections import deque
from typing import Final

__all__ = ["RawStream"]

_HIGH_BYTES: Final = 256 * 1024
_LOW_BYTES: Final = 64 * 1024
_HANGUP_S: Final = 2.0


class RawStream:
    """What a handler has after it took the connection over. The connection's owner feeds it."""

    def __init__(self, transport: asyncio.Transport, early: bytes) -> None:
        self._transport = transport
        self._loop = asyncio.get_running_loop()
        self._pieces: deque[bytes] = deque([early] if early else ())
        self._held_bytes = len(early)
        self._ended = False
        self._reader: asyncio.Future[None] | None = None
        self._writable: asyncio.Future[None] | None = None
        self._paused = False
        self._protocol: asyncio.Protocol | None = None
        self._lost: asyncio.Future[None] = self._loop.create_future()

    # What the connection calls.

    def feed(self, data: bytes) -> None:
        """Take bytes from the client."""
        if self._protocol is not None:
            self._protocol.data_received(data)
            return
        self._pieces.append(data)
        self._held_bytes += len(data)
        if self._held_bytes > _HIGH_BYTES:
            self._transport.pause_reading()
        self._wake_reader()

    def feed_end(self) -> None:
        """The client has ended its side."""
        self._ended = True
        if self._protocol is not None:
            if not self._protocol.eof_received():
                self._transport.close()
            return
        self._wake_reader()
        if not self.gone:
            self._look_for_hangup()

    def _look_for_hangup(self) -> None:
        """Tell a client that ended its side from one that left, which reading no longer does."""
        if self.gone or self._protocol is not None:
            return
        sock = self._transport.get_extra_info("socket")
        if sock is not None and sock.fileno() >= 0 and _hung_up(sock.fileno()):
            self._transport.abort()
        else:
            self._loop.call_later(_HANGUP_S, self._look_for_hangup)

    def pause(self) -> None:
        """The socket is full."""
        self._paused = True
        if self._protocol is not None:
            self._protocol.pause_writing()

    def resume(self) -> None:
        """The socket takes bytes again."""
        self._paused = False
        if self._protocol is not None and not self.gone:
            self._protocol.resume_writing()
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)

    def lose(self) -> None:
        """The socket is gone."""
        if not self._lost.done():
            self._lost.set_result(None)
            if self._protocol is not None:
                self._protocol.connection_lost(None)
        self._ended = True
        self._wake_reader()
        self.resume()

    def _wake_reader(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)

    # What the handler calls.

    async def read(self) -> bytes:
        """Return some bytes, none once the client has ended its side or is gone."""
        while not self._pieces:
            if self._ended:
                return b""
            self._reader = self._loop.create_future()
            try:
                await self._reader
            finally:
                self._reader = None
        data = self._pieces.popleft()
        before, self._held_bytes = self._held_bytes, self._held_bytes - len(data)
        if before > _LOW_BYTES >= self._held_bytes and not self.gone:
            self._transport.resume_reading()
        return data

    def write(self, data: bytes) -> None:
        """Queue bytes; `drain` bounds the queue. No effect once the client is gone."""
        if not self.gone:
            self._transport.write(data)

    async def drain(self) -> None:
        """Wait until the queue is short; raises ConnectionResetError when the client is gone."""
        while self._paused and not self.gone:
            self._writable = self._loop.create_future()
            await self._writable
        if self.gone:
            raise ConnectionResetError("the client has gone")

    def write_eof(self) -> None:
        """End this side after what is queued; the client may still send."""
        if not self.gone and self._transport.can_write_eof():
            with contextlib.suppress(OSError, RuntimeError):
                self._transport.write_eof()

    def close(self) -> None:
        """End the connection after what is queued."""
        self._transport.close()

    @property
    def gone(self) -> bool:
        """True once the socket is lost."""
        return self._lost.done()

    async def wait_gone(self) -> None:
        """Wait until the socket is lost: the client closed it, or this side did."""
        await asyncio.shield(self._lost)

    def hand_to(self, protocol: asyncio.Protocol) -> None:
        """Let another protocol speak from now on; it gets all that was read early first.

        The connection lives as long as the handler: it waits with `wait_gone`.
        """
        self._protocol = protocol
        protocol.connection_made(self._transport)
        if self._paused:
            protocol.pause_writing()
        while self._pieces:
            protocol.data_received(self._pieces.popleft())
        if self._held_bytes > _HIGH_BYTES and not self.gone:
            self._transport.resume_reading()
        self._held_bytes = 0
        if self.gone:
            protocol.connection_lost(None)
        elif self._ended and not protocol.eof_received():
            self._transport.close()


def _hung_up(fd: int) -> bool:
    poll = select.poll()
    poll.register(fd, 0)  # hangup and error are told without asking
    return bool(poll.poll(0))
