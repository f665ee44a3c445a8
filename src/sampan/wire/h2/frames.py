"""Frames as bytes, for sending (RFC 9113 section 6). Lengths are the caller's responsibility."""

from __future__ import annotations

import struct
from collections.abc import Sequence

from sampan.wire.h2.codes import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    PING,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    ErrorCode,
)

__all__ = [
    "SETTINGS_ACK",
    "data_header",
    "goaway",
    "headers",
    "ping",
    "reset",
    "settings",
    "window_update",
]

_HEADER = struct.Struct(">IBI")
_NUMBER = struct.Struct(">IBII")
_SETTING = struct.Struct(">HI")

SETTINGS_ACK = _HEADER.pack(SETTINGS, 1, 0)


def data_header(stream_id: int, size_bytes: int, end_stream: bool) -> bytes:
    """Return the nine bytes before a DATA payload of `size_bytes`."""
    return _HEADER.pack(size_bytes << 8 | DATA, END_STREAM if end_stream else 0, stream_id)


def headers(stream_id: int, block: bytes, end_stream: bool, max_frame_bytes: int) -> bytes:
    """Return a HEADERS frame, with CONTINUATION frames when `block` needs them."""
    flags = END_STREAM if end_stream else 0
    if len(block) <= max_frame_bytes:
        return _HEADER.pack(len(block) << 8 | HEADERS, flags | END_HEADERS, stream_id) + block
    parts: list[bytes] = []
    kind = HEADERS
    for start in range(0, len(block), max_frame_bytes):
        part = block[start : start + max_frame_bytes]
        if start + max_frame_bytes >= len(block):
            flags |= END_HEADERS
        parts += (_HEADER.pack(len(part) << 8 | kind, flags, stream_id), part)
        kind, flags = CONTINUATION, 0
    return b"".join(parts)


def reset(stream_id: int, code: ErrorCode) -> bytes:
    """Return a RST_STREAM frame."""
    return _NUMBER.pack(4 << 8 | RST_STREAM, 0, stream_id, code)


def window_update(stream_id: int, increment_bytes: int) -> bytes:
    """Return a WINDOW_UPDATE frame; stream 0 is the connection."""
    return _NUMBER.pack(4 << 8 | WINDOW_UPDATE, 0, stream_id, increment_bytes)


def settings(values: Sequence[tuple[int, int]]) -> bytes:
    """Return a SETTINGS frame of (identifier, value) pairs."""
    body = b"".join(_SETTING.pack(identifier, value) for identifier, value in values)
    return _HEADER.pack(len(body) << 8 | SETTINGS, 0, 0) + body


def ping(payload: bytes, ack: bool) -> bytes:
    """Return a PING frame; `payload` is eight bytes."""
    return _HEADER.pack(8 << 8 | PING, 1 if ack else 0, 0) + payload


def goaway(last_stream_id: int, code: ErrorCode, debug: bytes = b"") -> bytes:
    """Return a GOAWAY frame."""
    size = 8 + len(debug)
    return _HEADER.pack(size << 8 | GOAWAY, 0, 0) + struct.pack(">II", last_stream_id, code) + debug
