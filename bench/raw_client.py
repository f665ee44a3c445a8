"""HTTP/2 requests as prepared bytes, and a reader that only counts: no client is cheaper.

Only what a benchmark needs: one request a connection, windows so large that they never run out,
headers as literals without Huffman or indexing (RFC 7541, section 6.2.2).
"""

from __future__ import annotations

import selectors
import socket
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

__all__ = ["WatchReader", "first_answer_s", "grpc_body"]

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
LARGE: Final = (1 << 31) - 1
DATA, HEADERS, SETTINGS, WINDOW_UPDATE = 0, 1, 4, 8
END_STREAM, ACK, END_HEADERS = 1, 1, 4
INITIAL_WINDOW_SIZE: Final = 4


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """One HTTP/2 frame (RFC 9113, section 4.1)."""
    return len(payload).to_bytes(3) + bytes([kind, flags]) + stream.to_bytes(4) + payload


def literal(name: bytes, value: bytes) -> bytes:
    """One header field, not indexed."""
    return b"\x00" + bytes([len(name)]) + name + bytes([len(value)]) + value


def grpc_body(message: bytes) -> bytes:
    """A gRPC message with its five-byte prefix."""
    return b"\x00" + len(message).to_bytes(4) + message


def opening(authority: str, path: str, messages: Iterable[bytes], *, last: bool) -> bytes:
    """Everything a client sends: preface, windows, one request with its messages."""
    fields = (
        (b":method", b"POST"),
        (b":scheme", b"http"),
        (b":path", path.encode()),
        (b":authority", authority.encode()),
        (b"content-type", b"application/grpc"),
        (b"te", b"trailers"),
    )
    block = b"".join(literal(name, value) for name, value in fields)
    setting = INITIAL_WINDOW_SIZE.to_bytes(2) + LARGE.to_bytes(4)
    credit = (LARGE - 65535).to_bytes(4)
    bodies = [frame(DATA, 0, 1, grpc_body(message)) for message in messages]
    end = frame(DATA, END_STREAM, 1, b"") if last else b""
    return b"".join(
        [
            PREFACE,
            frame(SETTINGS, 0, 0, setting),
            frame(SETTINGS, ACK, 0, b""),
            frame(WINDOW_UPDATE, 0, 0, credit),
            frame(HEADERS, END_HEADERS, 1, block),
            *bodies,
            end,
        ]
    )


def first_answer_s(port: int, request: bytes, started: float, timeout_s: float) -> float:
    """Ask for a Range again and again until it is answered; seconds since `started`."""
    hello = opening("bench", "/etcdserverpb.KV/Range", [request], last=True)
    while time.monotonic() < started + timeout_s:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=timeout_s) as connection:
                connection.sendall(hello)
                if answered(connection):
                    return time.monotonic() - started
        except OSError:
            time.sleep(0.001)
    raise TimeoutError(f"no answer on port {port} within {timeout_s} s")


def answered(connection: socket.socket) -> bool:
    """Whether a DATA frame with a message comes before the connection ends."""
    received = b""
    while chunk := connection.recv(65536):
        received += chunk
        while len(received) >= 9:
            size, kind = int.from_bytes(received[:3]), received[3]
            if len(received) < 9 + size:
                break
            if kind == DATA and size > 5:
                return True
            received = received[9 + size :]
    return False


@dataclass(slots=True)
class WatchReader:
    """Connections with many watches each; counts the events that arrive, by their value.

    A value that is cut by the end of a frame is missed (about one in two thousand), so an end is
    reached a little before the exact count.
    """

    port: int
    marker: bytes
    sockets: list[socket.socket] = field(default_factory=list)
    _tails: dict[int, bytes] = field(default_factory=dict)

    def open(self, connections: int, requests: list[bytes]) -> None:
        """Connect and create one watch for each request on every connection; wait for all."""
        hello = opening("bench", "/etcdserverpb.Watch/Watch", requests, last=False)
        for _ in range(connections):
            connection = socket.create_connection(("127.0.0.1", self.port), timeout=30)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
            connection.sendall(hello)
            self.sockets.append(connection)

    def count(self, expected: int, idle_s: float) -> tuple[int, float]:
        """Read until `expected` events came or none for `idle_s`; returns them and when they ended.

        The time is that of the last event, by `time.monotonic`.
        """
        counted, last = 0, time.monotonic()
        overlap = len(self.marker) - 1
        with selectors.DefaultSelector() as selector:
            for connection in self.sockets:
                selector.register(connection, selectors.EVENT_READ)
            while counted < expected:
                ready = selector.select(idle_s)
                if not ready:
                    break
                for key, _ in ready:
                    chunk = key.fileobj.recv(1 << 20)  # type: ignore[union-attr]
                    if not chunk:
                        raise ConnectionError("the server closed a watching connection")
                    seen = (self._tails.get(key.fd, b"") + chunk).count(self.marker)
                    self._tails[key.fd] = chunk[-overlap:]
                    if seen:
                        counted, last = counted + seen, time.monotonic()
        return counted, last

    def close(self) -> None:
        """Close all connections."""
        for connection in self.sockets:
            connection.close()
