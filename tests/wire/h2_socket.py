"""A client that speaks HTTP/2 frame by frame on a plain socket, and breaks rules when told to."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable

from tests.wire.echo_service import EchoServer

from sampan.wire.h2 import frames
from sampan.wire.h2.codes import GOAWAY, PREFACE, ErrorCode
from sampan.wire.h2.headers import encode_headers

__all__ = ["RawClient", "frame", "grpc_headers", "message"]

WAIT_S = 20


def frame(kind: int, flags: int, stream_id: int, payload: bytes = b"") -> bytes:
    return struct.pack(">IBI", len(payload) << 8 | kind, flags, stream_id) + payload


def grpc_headers(method: str, *extra: tuple[str, str]) -> bytes:
    return encode_headers(
        [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", f"/test.Echo/{method}"),
            (":authority", "x"),
            ("content-type", "application/grpc"),
            ("te", "trailers"),
            *extra,
        ]
    )


def message(body: bytes) -> bytes:
    return struct.pack(">BI", 0, len(body)) + body


class RawClient:
    """A connected socket with the preface sent."""

    def __init__(self, server: EchoServer, opening: bytes | None = None) -> None:
        self.socket = socket.create_connection((server.host, server.port), timeout=WAIT_S)
        if opening is None:
            opening = PREFACE + frames.settings([])
        self.socket.sendall(opening)
        self._buffer = b""

    def __enter__(self) -> RawClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def call(self, stream_id: int, method: str, body: bytes) -> None:
        head = frame(1, 4, stream_id, grpc_headers(method))
        self.send(head + frame(0, 1, stream_id, message(body)))

    def read_frame(self) -> tuple[int, int, int, bytes] | None:
        """The next frame as (type, flags, stream, payload), None at the end."""
        while len(self._buffer) < 9 or len(self._buffer) < 9 + int.from_bytes(self._buffer[:3]):
            try:
                data = self.socket.recv(65_536)
            except ConnectionResetError:
                return None
            if not data:
                return None
            self._buffer += data
        word, flags, stream_id = struct.unpack_from(">IBI", self._buffer)
        stop = 9 + (word >> 8)
        payload, self._buffer = self._buffer[9:stop], self._buffer[stop:]
        return word & 0xFF, flags, stream_id, payload

    def goaway(self) -> tuple[ErrorCode, str] | None:
        """Read to the end; return code and text of the GOAWAY, None when there was none."""
        result = None
        while (item := self.read_frame()) is not None:
            if item[0] == GOAWAY:
                code = struct.unpack_from(">I", item[3], 4)[0]
                result = ErrorCode(code), item[3][8:].decode()
        return result

    def flood(self, make: Callable[[int], bytes], count: int) -> tuple[ErrorCode, str] | None:
        """Send `make(0)`, `make(1)`... while reading, until the server has had enough."""

        def send() -> None:
            try:
                for start in range(0, count, 100):
                    self.socket.sendall(b"".join(map(make, range(start, start + 100))))
                self.socket.shutdown(socket.SHUT_WR)
            except OSError:
                pass

        sender = threading.Thread(target=send)
        sender.start()
        try:
            return self.goaway()
        finally:
            sender.join(WAIT_S)
