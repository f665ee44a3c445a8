"""gzip as gRPC's message compression, with a bound on what a small message may unfold to."""

from __future__ import annotations

import zlib

from sampan.wire.grpc.status import Code, RpcError

__all__ = ["compress", "decompress"]

_GZIP_WBITS = 16 + zlib.MAX_WBITS


def compress(message: bytes) -> bytes:
    """Return `message` as one gzip member (level 1: the wire is fast, the CPU is shared)."""
    packer = zlib.compressobj(1, zlib.DEFLATED, _GZIP_WBITS)
    return packer.compress(message) + packer.flush()


def decompress(data: bytes, limit_bytes: int) -> bytes:
    """Unfold gzip `data`.

    Raises RpcError: RESOURCE_EXHAUSTED when it holds more than `limit_bytes`, INTERNAL when it is
    no complete gzip stream.
    """
    parts: list[bytes] = []
    left = limit_bytes + 1
    try:
        while data:
            unpacker = zlib.decompressobj(_GZIP_WBITS)
            part = unpacker.decompress(data, left)
            parts.append(part)
            left -= len(part)
            if left <= 0:
                raise RpcError(
                    Code.RESOURCE_EXHAUSTED,
                    f"grpc: received message after decompression larger than max {limit_bytes}",
                )
            if not unpacker.eof:
                raise RpcError(Code.INTERNAL, "grpc: failed to decompress: unexpected EOF")
            data = unpacker.unused_data
    except zlib.error as error:
        raise RpcError(Code.INTERNAL, f"grpc: failed to decompress: {error}") from None
    return b"".join(parts)
