"""The resolver of user networks: names of containers, and everything else asked of upstream.

Each sandbox has sockets of its own inside its namespace, so a question tells by its socket who
asks. What is not a container's name goes on from the host's namespace, under a number and from a
port of its own, within bounds: a container that asks too much is told so.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import secrets
import socket
import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from sampan.base.errors import InvalidError
from sampan.engine.network.core import dns
from sampan.engine.network.core.dns import Question
from sampan.engine.network.core.model import DnsSettings, Sandbox
from sampan.engine.network.core.names import NameTable
from sampan.engine.network.core.resolvconf import Resolution, parse_resolv_conf, settled
from sampan.engine.network.shell.questions import ResolverSockets

__all__ = ["HostResolution", "Resolver"]

_LOG = logging.getLogger(__name__)
_PENDING_EACH: Final = 100
_PENDING_ALL: Final = 1000
_CONNECTIONS: Final = 20
_IDLE_S: Final = 10
_SERVER_S: Final = 3.0
_ROUNDS: Final = 2
_MOST_BYTES: Final = 65535


class HostResolution:
    """The host's resolv.conf, read again when it has changed."""

    def __init__(self, path: Path = Path("/etc/resolv.conf")) -> None:
        self._path = path
        self._stamp: tuple[int, int] | None = None
        self._found = Resolution()

    def get(self) -> Resolution:
        """Return what it says now; nothing when it is not there."""
        try:
            status = self._path.stat()
            stamp = status.st_mtime_ns, status.st_size
            if stamp != self._stamp:
                self._found = parse_resolv_conf(self._path.read_text(errors="replace"))
                self._stamp = stamp
        except OSError:
            self._found, self._stamp = Resolution(), None
        return self._found


class Resolver:
    """Answers all sandboxes, on the engine's loop."""

    def __init__(
        self,
        table: NameTable,
        sandbox: Callable[[str], Sandbox | None],
        daemon: DnsSettings,
        host: HostResolution,
    ) -> None:
        self._table = table
        self._sandbox = sandbox
        self._daemon = daemon
        self._host = host
        self._clients: dict[str, _Client] = {}
        self._pending = 0

    def serve(self, key: str, sockets: ResolverSockets) -> None:
        """Answer what arrives at a sandbox's sockets; they are closed by `drop`."""
        self.drop(key)
        self._clients[key] = _Client(self, key, sockets)

    def drop(self, key: str) -> None:
        """Answer a sandbox no more; no harm when it never was."""
        client = self._clients.pop(key, None)
        if client is not None:
            client.close()

    def serves(self, key: str) -> bool:
        """Tell whether a sandbox's questions are answered."""
        return key in self._clients

    def from_names(self, key: str, question: Question, most_bytes: int) -> bytes | None:
        """Return the answer of the names of containers; None when it is not about one of them."""
        sandbox = self._sandbox(key)
        if sandbox is None:
            return dns.failure(question, dns.SERVER_FAILURE)
        if question.type == dns.PTR:
            address = dns.reverse_address(question.name)
            name = self._table.reverse(sandbox, address) if address is not None else None
            return dns.name_answer(question, name) if name is not None else None
        found = self._table.lookup(sandbox, question.name)
        if found is None:
            return None
        random.shuffle(found)  # every one of several containers gets its share
        return dns.addresses_answer(question, found, most_bytes)

    async def from_upstream(
        self, key: str, data: bytes, question: Question, *, stream: bool
    ) -> bytes:
        """Return what the upstream servers say; a failure when none of them answers."""
        sandbox = self._sandbox(key)
        if sandbox is None or not (sandbox.gateway_endpoint(4) or sandbox.gateway_endpoint(6)):
            return dns.failure(question, dns.SERVER_FAILURE)  # nothing leaves internal networks
        if self._pending >= _PENDING_ALL:
            return dns.failure(question, dns.REFUSED)
        servers = settled(sandbox.dns, self._daemon, self._host.get()).servers
        self._pending += 1
        try:
            return await _ask_all(servers, data, question, stream=stream)
        finally:
            self._pending -= 1


async def _ask_all(
    servers: Sequence[str], data: bytes, question: Question, *, stream: bool
) -> bytes:
    ask = _ask_by_stream if stream else _ask_by_datagram
    for _ in range(_ROUNDS):
        for server in servers:
            with contextlib.suppress(OSError, TimeoutError, EOFError, ValueError):
                async with asyncio.timeout(_SERVER_S):
                    return dns.with_id(await ask(server, data, question), question.id)
    return dns.failure(question, dns.SERVER_FAILURE)


def _family(server: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in server else socket.AF_INET


async def _ask_by_datagram(server: str, data: bytes, question: Question) -> bytes:
    loop = asyncio.get_running_loop()
    number = secrets.randbelow(1 << 16)
    with socket.socket(_family(server), socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sock:
        sock.connect((server, 53))
        sock.send(dns.with_id(data, number))
        while True:
            answer = await loop.sock_recv(sock, _MOST_BYTES)
            if dns.answers(answer, number, question):
                return answer


async def _ask_by_stream(server: str, data: bytes, question: Question) -> bytes:
    reader, writer = await asyncio.open_connection(server, 53)
    try:
        number = secrets.randbelow(1 << 16)
        message = dns.with_id(data, number)
        writer.write(struct.pack(">H", len(message)) + message)
        answer = await _read_message(reader)
        if not dns.answers(answer, number, question):
            raise ValueError("an answer to another question")
        return answer
    finally:
        writer.close()


async def _read_message(reader: asyncio.StreamReader) -> bytes:
    (size,) = struct.unpack(">H", await reader.readexactly(2))
    return await reader.readexactly(size)


class _Client:
    """One sandbox's sockets and what it has asked."""

    def __init__(self, resolver: Resolver, key: str, sockets: ResolverSockets) -> None:
        self._resolver = resolver
        self._key = key
        self._sockets = sockets
        self._tasks: set[asyncio.Task[None]] = set()
        self._connections = 0
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(sockets.udp.fileno(), self._datagrams)
        self._loop.add_reader(sockets.tcp.fileno(), self._accept)

    def close(self) -> None:
        """Answer no more."""
        self._loop.remove_reader(self._sockets.udp.fileno())
        self._loop.remove_reader(self._sockets.tcp.fileno())
        for task in self._tasks:
            task.cancel()
        self._sockets.close()

    def _spawn(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _datagrams(self) -> None:
        for _ in range(32):
            try:
                data, sender = self._sockets.udp.recvfrom(_MOST_BYTES)
            except OSError:
                return
            try:
                question = dns.parse_question(data)
            except InvalidError:
                continue
            answer = self._resolver.from_names(self._key, question, question.udp_bytes)
            if answer is None and len(self._tasks) >= _PENDING_EACH:
                answer = dns.failure(question, dns.REFUSED)
            if answer is None:
                self._spawn(self._forward(data, question, sender))
            else:
                self._send(answer, sender)

    def _send(self, answer: bytes, sender: Any) -> None:
        with contextlib.suppress(OSError):
            self._sockets.udp.sendto(answer, sender)

    async def _forward(self, data: bytes, question: Question, sender: Any) -> None:
        answer = await self._resolver.from_upstream(self._key, data, question, stream=False)
        self._send(answer, sender)

    def _accept(self) -> None:
        try:
            connection, _ = self._sockets.tcp.accept()
        except OSError:
            return
        if self._connections >= _CONNECTIONS:
            connection.close()
            return
        self._spawn(self._serve(connection))

    async def _serve(self, connection: socket.socket) -> None:
        """Answer one question after the other, until the client is silent or gone."""
        self._connections += 1
        try:
            reader, writer = await asyncio.open_connection(sock=connection)
            try:
                while True:
                    async with asyncio.timeout(_IDLE_S):
                        data = await _read_message(reader)
                    question = dns.parse_question(data)
                    answer = self._resolver.from_names(self._key, question, _MOST_BYTES)
                    if answer is None:
                        answer = await self._resolver.from_upstream(
                            self._key, data, question, stream=True
                        )
                    writer.write(struct.pack(">H", len(answer)) + answer)
                    await writer.drain()
            finally:
                writer.close()
        except (OSError, EOFError, TimeoutError, InvalidError):
            connection.close()
        finally:
            self._connections -= 1
