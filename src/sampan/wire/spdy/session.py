"""A SPDY/3.1 connection as a state machine: bytes in, events and bytes out.

Source: SPDY Protocol, draft 3.1, section 2. Only what Kubernetes streams use is spoken: its clients
neither push nor set priorities, and they ignore flow control, as this side does: back-pressure is
the socket's own. Streams opened by the other side have odd numbers.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from sampan.base.errors import InvalidError, LimitError
from sampan.wire.spdy.header_block import Compressor, Decompressor

__all__ = ["Data", "Event", "GoAway", "Reset", "Session", "StreamOpened"]

_VERSION: Final = 3
_SYN_STREAM, _SYN_REPLY, _RST_STREAM, _SETTINGS, _PING = 1, 2, 3, 4, 6
_GOAWAY, _HEADERS, _WINDOW_UPDATE = 7, 8, 9
_FIN: Final = 0x01
_CONTROL: Final = 0x80000000
_ID: Final = 0x7FFFFFFF
_PROTOCOL_ERROR, _INVALID_STREAM, _REFUSED = 1, 2, 3
_MAX_STREAMS: Final = 1024
_MAX_CONTROL_BYTES: Final = 64 * 1024
_MAX_DATA_BYTES: Final = (1 << 24) - 1


@dataclass(frozen=True, slots=True)
class StreamOpened:
    """The other side opened a stream; answer with `reply` or `reset`."""

    stream_id: int
    headers: Mapping[str, str]
    finished: bool


@dataclass(frozen=True, slots=True)
class Data:
    """Bytes of a stream; `finished` is the other side's half-close."""

    stream_id: int
    data: bytes
    finished: bool


@dataclass(frozen=True, slots=True)
class Reset:
    """The other side broke a stream off, with SPDY's status code."""

    stream_id: int
    status: int


@dataclass(frozen=True, slots=True)
class GoAway:
    """The other side opens no further stream."""

    last_stream_id: int


Event = StreamOpened | Data | Reset | GoAway


class Session:
    """The accepting side. `receive` returns events; `outgoing` hands over the bytes to send."""

    def __init__(self) -> None:
        self._inbox = bytearray()
        self._outbox = bytearray()
        self._compressor = Compressor()
        self._decompressor = Decompressor()
        self._open: set[int] = set()
        self._ended_here: set[int] = set()
        self._ended_there: set[int] = set()
        self._last_stream_id = 0
        self._data_stream_id = 0
        self._data_left = 0
        self._data_last = False

    def receive(self, data: bytes) -> list[Event]:
        """Take bytes from the connection; return what they say.

        Raises InvalidError or LimitError when the connection cannot go on.
        """
        self._inbox += data
        events: list[Event] = []
        while (self._data_left and self._inbox) or self._take_frame(events):
            if self._data_left:
                self._take_data(events)
        return events

    def _take_frame(self, events: list[Event]) -> bool:
        """Take one control frame, or the head of a data frame; False when bytes are missing."""
        if self._data_left or len(self._inbox) < 8:
            return False
        word, flags_length = struct.unpack_from(">II", self._inbox)
        flags, length = flags_length >> 24, flags_length & 0xFFFFFF
        if not word & _CONTROL:
            del self._inbox[:8]
            self._data_stream_id, self._data_left = word & _ID, length
            self._data_last = bool(flags & _FIN)
            if length == 0:
                self._deliver(b"", self._data_last, events)
            return True
        if length > _MAX_CONTROL_BYTES:
            raise LimitError(f"SPDY control frame of {length} bytes, at most {_MAX_CONTROL_BYTES}")
        if len(self._inbox) < 8 + length:
            return False
        payload = bytes(self._inbox[8 : 8 + length])
        del self._inbox[: 8 + length]
        if word >> 16 & 0x7FFF != _VERSION:
            raise InvalidError(f"SPDY version {word >> 16 & 0x7FFF}, expected {_VERSION}")
        self._control(word & 0xFFFF, flags, payload, events)
        return True

    def _take_data(self, events: list[Event]) -> None:
        """Hand on what has come of a data frame, without waiting for all of it."""
        data = bytes(self._inbox[: self._data_left])
        del self._inbox[: len(data)]
        self._data_left -= len(data)
        self._deliver(data, self._data_last and not self._data_left, events)

    def _deliver(self, data: bytes, finished: bool, events: list[Event]) -> None:
        stream_id = self._data_stream_id
        if stream_id not in self._open or stream_id in self._ended_there:
            self._send_reset(stream_id, _INVALID_STREAM)
            return
        if finished:
            self._ended_there.add(stream_id)
            self._forget_ended(stream_id)
        if data or finished:
            events.append(Data(stream_id, data, finished))

    def _control(self, kind: int, flags: int, payload: bytes, events: list[Event]) -> None:
        try:
            if kind == _SYN_STREAM:
                self._syn_stream(flags, payload, events)
            elif kind == _RST_STREAM:
                stream_id, status = struct.unpack(">II", payload)
                if stream_id & _ID in self._open:
                    self._forget(stream_id & _ID)
                    events.append(Reset(stream_id & _ID, status))
            elif kind == _PING:
                (number,) = struct.unpack(">I", payload)
                if number % 2 == 1:
                    self._send_control(_PING, 0, payload)
            elif kind == _GOAWAY:
                last, _status = struct.unpack(">II", payload)
                events.append(GoAway(last & _ID))
            elif kind == _HEADERS:
                # Read for the sake of the compression context; nobody sends meaning in it.
                self._decompressor.decode(payload[4:])
            elif kind not in (_SYN_REPLY, _SETTINGS, _WINDOW_UPDATE):
                raise InvalidError(f"SPDY control frame of unknown type {kind}")
        except struct.error as error:
            raise InvalidError(f"SPDY control frame of type {kind}: {error}") from None

    def _syn_stream(self, flags: int, payload: bytes, events: list[Event]) -> None:
        stream_id = struct.unpack_from(">IIH", payload)[0] & _ID
        headers = self._decompressor.decode(payload[10:])
        if stream_id % 2 == 0 or stream_id <= self._last_stream_id:
            raise InvalidError(f"SPDY stream {stream_id} after {self._last_stream_id}")
        self._last_stream_id = stream_id
        if len(self._open) >= _MAX_STREAMS:
            self._send_reset(stream_id, _REFUSED)
            return
        self._open.add(stream_id)
        finished = bool(flags & _FIN)
        if finished:
            self._ended_there.add(stream_id)
        events.append(StreamOpened(stream_id, headers, finished))

    def reply(self, stream_id: int, headers: Mapping[str, str] | None = None) -> None:
        """Accept a stream that was opened."""
        block = self._compressor.encode(headers or {})
        self._send_control(_SYN_REPLY, 0, struct.pack(">I", stream_id) + block)

    def send(self, stream_id: int, data: bytes, *, finished: bool = False) -> None:
        """Queue bytes for a stream; nothing happens once this side has ended it."""
        if stream_id not in self._open or stream_id in self._ended_here:
            return
        view = memoryview(data)
        while len(view) > _MAX_DATA_BYTES:
            self._send_data(stream_id, 0, view[:_MAX_DATA_BYTES])
            view = view[_MAX_DATA_BYTES:]
        self._send_data(stream_id, _FIN if finished else 0, view)
        if finished:
            self._ended_here.add(stream_id)
            self._forget_ended(stream_id)

    def reset(self, stream_id: int) -> None:
        """Break a stream off."""
        if stream_id in self._open:
            self._send_reset(stream_id, _PROTOCOL_ERROR)
            self._forget(stream_id)

    def go_away(self) -> None:
        """Say that no further stream will be accepted."""
        self._send_control(_GOAWAY, 0, struct.pack(">II", self._last_stream_id, 0))

    def outgoing(self) -> bytes:
        """Hand over the bytes that are to be sent, once."""
        data = bytes(self._outbox)
        self._outbox.clear()
        return data

    @property
    def open_streams(self) -> int:
        """How many streams at least one side still writes to."""
        return len(self._open)

    def _send_data(self, stream_id: int, flags: int, data: memoryview) -> None:
        self._outbox += struct.pack(">II", stream_id, flags << 24 | len(data))
        self._outbox += data

    def _send_control(self, kind: int, flags: int, payload: bytes) -> None:
        first = _CONTROL | _VERSION << 16 | kind
        self._outbox += struct.pack(">II", first, flags << 24 | len(payload)) + payload

    def _send_reset(self, stream_id: int, status: int) -> None:
        self._send_control(_RST_STREAM, 0, struct.pack(">II", stream_id, status))

    def _forget_ended(self, stream_id: int) -> None:
        if stream_id in self._ended_here and stream_id in self._ended_there:
            self._forget(stream_id)

    def _forget(self, stream_id: int) -> None:
        self._open.discard(stream_id)
        self._ended_here.discard(stream_id)
        self._ended_there.discard(stream_id)
