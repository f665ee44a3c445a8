"""Length-prefixed messages: a flag byte, four bytes of length, the message.

Source: "gRPC over HTTP/2", Length-Prefixed-Message.
"""

from __future__ import annotations

import struct

from sampan.wire.grpc.compression import compress, decompress
from sampan.wire.grpc.status import Code, RpcError

__all__ = ["MessageReader", "pack"]

_PREFIX = struct.Struct(">BI")
# Below this gzip makes messages larger, not smaller.
_WORTH_COMPRESSING_BYTES = 128


def pack(message: bytes, gzip: bool = False) -> bytes:
    """Return `message` with its prefix, compressed when `gzip` is agreed and worth it."""
    if gzip and len(message) >= _WORTH_COMPRESSING_BYTES:
        message = compress(message)
        return _PREFIX.pack(1, len(message)) + message
    return _PREFIX.pack(0, len(message)) + message


class MessageReader:
    """Cuts a byte stream into messages of at most `limit_bytes` each."""

    __slots__ = ("_buffer", "_gzip", "_limit_bytes", "_wanted_bytes")

    def __init__(self, limit_bytes: int, gzip: bool) -> None:
        self._limit_bytes = limit_bytes
        self._gzip = gzip
        self._buffer = bytearray()
        self._wanted_bytes = 5

    @property
    def pending_bytes(self) -> int:
        """Bytes of a message that is not complete yet."""
        return len(self._buffer)

    def feed(self, data: bytes) -> list[bytes]:
        """Take `data`; return the messages that are now complete.

        Raises RpcError: RESOURCE_EXHAUSTED for a message above the limit (as soon as its length is
        known), INTERNAL for a broken prefix or broken compression.
        """
        buffer = self._buffer
        buffer += data
        messages: list[bytes] = []
        position = 0
        while len(buffer) - position >= self._wanted_bytes:
            if self._wanted_bytes == 5:
                self._wanted_bytes = 5 + self._check(*_PREFIX.unpack_from(buffer, position))
                if len(buffer) - position < self._wanted_bytes:
                    break
            message = bytes(buffer[position + 5 : position + self._wanted_bytes])
            if buffer[position]:
                message = decompress(message, self._limit_bytes)
            messages.append(message)
            position += self._wanted_bytes
            self._wanted_bytes = 5
        del buffer[:position]
        return messages

    def _check(self, flag: int, size_bytes: int) -> int:
        if flag > 1:
            raise RpcError(Code.INTERNAL, f"grpc: received unexpected payload format {flag}")
        if flag and not self._gzip:
            raise RpcError(
                Code.INTERNAL, "grpc: compressed flag set with identity or empty encoding"
            )
        if size_bytes > self._limit_bytes:
            raise RpcError(
                Code.RESOURCE_EXHAUSTED,
                f"grpc: received message larger than max ({size_bytes} vs. {self._limit_bytes})",
            )
        return size_bytes
