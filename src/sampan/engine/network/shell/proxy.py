"""Published ports served by copying: where packet rules are missing, or cannot change the version.

It runs on the engine's own loop: it is for the host's loopback and for machines without nf_tables,
and a process of its own would take more memory than the rest of the networks together.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from typing import Any, Final

__all__ = ["TcpProxy", "UdpProxy"]

_LOG = logging.getLogger(__name__)
_CONNECTIONS: Final = 512
_CHUNK_BYTES: Final = 64 * 1024
_CONNECT_TIMEOUT_S: Final = 30
_FLOWS: Final = 512
_FLOW_IDLE_S: Final = 90.0


class TcpProxy:
    """Copies connections to a target, both ways, each way until its own end."""

    def __init__(self, listener: socket.socket, target: tuple[str, int]) -> None:
        self._target = target
        self._listener = listener
        self._open: set[asyncio.Task[None]] = set()
        self._accepting = asyncio.ensure_future(self._accept())

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                client, _ = await loop.sock_accept(self._listener)
            except OSError as error:
                _LOG.warning("a published port cannot accept: %s", error)
                await asyncio.sleep(0.2)
                continue
            if len(self._open) >= _CONNECTIONS:
                client.close()
                continue
            task = asyncio.ensure_future(self._serve(client))
            self._open.add(task)
            task.add_done_callback(self._open.discard)

    async def _serve(self, client: socket.socket) -> None:
        with contextlib.ExitStack() as stack:
            stack.callback(client.close)
            try:
                async with asyncio.timeout(_CONNECT_TIMEOUT_S):
                    reader, writer = await asyncio.open_connection(*self._target)
            except (OSError, TimeoutError):
                return  # closing tells the client
            stack.callback(writer.close)
            theirs, ours = await asyncio.open_connection(sock=client)
            stack.callback(ours.close)
            await asyncio.gather(_copy(theirs, writer), _copy(reader, ours))

    def close(self) -> None:
        """End all connections; the listener is the caller's."""
        self._accepting.cancel()
        for task in self._open:
            task.cancel()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(_CHUNK_BYTES):
            writer.write(data)
            await writer.drain()
        writer.write_eof()
    except OSError:
        writer.close()


class UdpProxy:
    """Copies datagrams to a target; each sender has a flow of its own, which ends by idleness."""

    def __init__(self, listener: socket.socket, target: tuple[str, int]) -> None:
        self._target = target
        self._flows: dict[Any, _Flow] = {}
        self._loop = asyncio.get_running_loop()
        self._listener = listener
        self._loop.add_reader(listener.fileno(), self._readable)
        self._sweeper = self._loop.call_later(_FLOW_IDLE_S / 2, self._sweep)

    def _readable(self) -> None:
        for _ in range(64):
            try:
                data, sender = self._listener.recvfrom(65535)
            except OSError:
                return
            flow = self._flows.get(sender)
            if flow is None:
                if len(self._flows) >= _FLOWS:
                    self._drop(min(self._flows.values(), key=lambda one: one.used_at))
                flow = self._flows[sender] = _Flow(self, sender)
            flow.send(data)

    def answer(self, data: bytes, sender: Any) -> None:
        """Send what the target answered."""
        with contextlib.suppress(OSError):
            self._listener.sendto(data, sender)

    @property
    def target(self) -> tuple[str, int]:
        """Where datagrams go."""
        return self._target

    def _drop(self, flow: _Flow) -> None:
        self._flows.pop(flow.sender, None)
        flow.close()

    def _sweep(self) -> None:
        now = self._loop.time()
        for flow in list(self._flows.values()):
            if now - flow.used_at > _FLOW_IDLE_S:
                self._drop(flow)
        self._sweeper = self._loop.call_later(_FLOW_IDLE_S / 2, self._sweep)

    def close(self) -> None:
        """End all flows; the listener is the caller's."""
        self._sweeper.cancel()
        self._loop.remove_reader(self._listener.fileno())
        for flow in list(self._flows.values()):
            self._drop(flow)


class _Flow:
    """One sender's datagrams."""

    def __init__(self, proxy: UdpProxy, sender: Any) -> None:
        self.sender = sender
        self._proxy = proxy
        self._loop = asyncio.get_running_loop()
        self.used_at = self._loop.time()
        family = socket.AF_INET6 if ":" in proxy.target[0] else socket.AF_INET
        self._socket = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._socket.connect(proxy.target)
        self._loop.add_reader(self._socket.fileno(), self._readable)

    def send(self, data: bytes) -> None:
        self.used_at = self._loop.time()
        with contextlib.suppress(OSError):
            self._socket.send(data)

    def _readable(self) -> None:
        for _ in range(64):
            try:
                data = self._socket.recv(65535)
            except OSError:
                return
            self.used_at = self._loop.time()
            self._proxy.answer(data, self.sender)

    def close(self) -> None:
        self._loop.remove_reader(self._socket.fileno())
        self._socket.close()
