"""A TCP relay that cuts connections on command, to see what clients make of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

__all__ = ["CutProxy"]

_CHUNK_BYTES = 64 * 1024


class CutProxy:
    """Listens on a loopback port of its own and relays to `target`, which may change."""

    def __init__(self, target: tuple[str, int] | None = None) -> None:
        self.target = target
        self.cuts = 0
        self._server: asyncio.Server | None = None
        self._relays: set[asyncio.Task[None]] = set()

    @property
    def endpoint(self) -> str:
        """The URL for clients."""
        if self._server is None:
            raise RuntimeError("the proxy is not listening")
        host, port = self._server.sockets[0].getsockname()[:2]
        return f"http://{host}:{port}"

    async def listen(self) -> None:
        """Open the port."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)

    async def cut(self, chosen: Callable[[], bool] = lambda: True) -> int:
        """Cut connections, in the middle of whatever they are doing; returns how many.

        `chosen()` is asked for each; without it all are cut.
        """
        relays = [relay for relay in self._relays if chosen()]
        for relay in relays:
            relay.cancel()
        await asyncio.gather(*relays, return_exceptions=True)
        self.cuts += len(relays)
        return len(relays)

    async def close(self) -> None:
        """Close the port and every connection."""
        if self._server is not None:
            self._server.close()
        await self.cut()
        if self._server is not None:
            await self._server.wait_closed()

    async def __aenter__(self) -> CutProxy:
        await self.listen()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        relay = asyncio.get_running_loop().create_task(self._relay(reader, writer))
        self._relays.add(relay)

        def ended(_: asyncio.Task[None]) -> None:
            self._relays.discard(relay)
            writer.transport.abort()  # a relay may be cut before it has begun

        relay.add_done_callback(ended)

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.target is None:
            return
        try:
            upstream_reader, upstream_writer = await asyncio.open_connection(*self.target)
        except OSError:
            return
        pumps = (
            asyncio.ensure_future(_pump(reader, upstream_writer)),
            asyncio.ensure_future(_pump(upstream_reader, writer)),
        )
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            writer.transport.abort()
            upstream_writer.transport.abort()
            await asyncio.gather(*pumps, return_exceptions=True)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(_CHUNK_BYTES):
        writer.write(data)
        await writer.drain()
