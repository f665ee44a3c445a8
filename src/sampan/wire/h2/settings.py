"""What each side of a connection declares about itself (RFC 9113 section 6.5)."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

from sampan.wire.h2.codes import MAX_WINDOW_BYTES, ConnectionFault, ErrorCode

__all__ = ["DEFAULT_WINDOW_BYTES", "MIN_MAX_FRAME_BYTES", "Limits", "Setting", "parse_settings"]

DEFAULT_WINDOW_BYTES = 65_535
MIN_MAX_FRAME_BYTES = 16_384
_MAX_MAX_FRAME_BYTES = 2**24 - 1
_PAIR = struct.Struct(">HI")


class Setting(IntEnum):
    """A settings identifier."""

    HEADER_TABLE_SIZE = 0x1
    ENABLE_PUSH = 0x2
    MAX_CONCURRENT_STREAMS = 0x3
    INITIAL_WINDOW_SIZE = 0x4
    MAX_FRAME_SIZE = 0x5
    MAX_HEADER_LIST_SIZE = 0x6


@dataclass(frozen=True, slots=True)
class Limits:
    """What this side grants its peer.

    `stream_window_bytes` and `connection_window_bytes` are receive windows, at least 65,535;
    `max_frame_bytes` is what a frame may hold, from 16,384 to 16,777,215.
    `header_list_bytes` is advertised; a request above it is answered with 431, a list or a
    compressed block of more than four times as much ends the connection.
    `glitch_rate_per_s` and `glitch_burst` bound frames that make work and carry nothing (resets,
    pings, settings, empty DATA and their like); beyond that the connection ends with
    ENHANCE_YOUR_CALM.
    `queued_bytes` bounds what waits for a peer that does not read: above it new streams are
    refused.
    """

    max_concurrent_streams: int = 2**32 - 1
    stream_window_bytes: int = 256 * 1024
    connection_window_bytes: int = 2 * 1024 * 1024
    max_frame_bytes: int = MIN_MAX_FRAME_BYTES
    header_list_bytes: int = 64 * 1024
    glitch_rate_per_s: float = 200.0
    glitch_burst: int = 2_000
    queued_bytes: int = 64 * 1024 * 1024


def parse_settings(payload: bytes) -> Iterator[tuple[int, int]]:
    """Yield the validated (identifier, value) pairs of a SETTINGS payload, unknown ones included.

    Raises ConnectionFault for a bad length or a value out of range.
    """
    if len(payload) % 6:
        raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "SETTINGS length is no multiple of 6")
    for identifier, value in _PAIR.iter_unpack(payload):
        if identifier == Setting.ENABLE_PUSH and value > 1:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "ENABLE_PUSH is neither 0 nor 1")
        if identifier == Setting.INITIAL_WINDOW_SIZE and value > MAX_WINDOW_BYTES:
            raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "INITIAL_WINDOW_SIZE too large")
        if identifier == Setting.MAX_FRAME_SIZE and not (
            MIN_MAX_FRAME_BYTES <= value <= _MAX_MAX_FRAME_BYTES
        ):
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "MAX_FRAME_SIZE out of range")
        yield identifier, value
