"""The server's side of a WebSocket (RFC 6455) as a state machine: bytes in, messages and bytes out.

The HTTP upgrade is the caller's; `accept_key` gives the value it has to answer with.
"""

from __future__ import annotations

import base64
import hashlib
import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from sampan.base.errors import InvalidError, LimitError

__all__ = ["Close", "CloseCode", "Event", "Message", "WebSocket", "accept_key"]

_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_CONTINUATION, _TEXT, _BINARY, _CLOSE, _PING, _PONG = 0, 1, 2, 8, 9, 10
_FIN: Final = 0x80
_MASKED: Final = 0x80


class CloseCode(IntEnum):
    """Why a connection ends (section 7.4.1)."""

    NORMAL = 1000
    GOING_AWAY = 1001
    PROTOCOL_ERROR = 1002
    TOO_BIG = 1009
    INTERNAL_ERROR = 1011


@dataclass(frozen=True, slots=True)
class Message:
    """One whole message; `text` tells which of the two kinds it was sent as."""

    data: bytes
    text: bool


@dataclass(frozen=True, slots=True)
class Close:
    """The other side ends the connection; 1005 when it gave no code."""

    code: int


Event = Message | Close


def accept_key(key: str) -> str:
    """Return the Sec-WebSocket-Accept for a client's Sec-WebSocket-Key (section 4.2.2)."""
    return base64.b64encode(hashlib.sha1(key.encode() + _GUID).digest()).decode()


class WebSocket:
    """A connection after its upgrade. `receive` returns events, `outgoing` the bytes to send.

    A message longer than `limit_bytes`, fragments added up, is refused.
    """

    def __init__(self, limit_bytes: int = 1 << 20) -> None:
        self._limit_bytes = limit_bytes
        self._inbox = bytearray()
        self._outbox = bytearray()
        self._fragments = bytearray()
        self._kind: int | None = None
        self._closing = False

    def receive(self, data: bytes) -> list[Event]:
        """Take bytes from the connection; return what they say.

        Raises InvalidError or LimitError when the connection cannot go on; a closing frame with
        the right code is then in `outgoing`.
        """
        self._inbox += data
        events: list[Event] = []
        try:
            while self._take_frame(events):
                pass
        except InvalidError:
            self.close(CloseCode.PROTOCOL_ERROR)
            raise
        except LimitError:
            self.close(CloseCode.TOO_BIG)
            raise
        return events

    def _take_frame(self, events: list[Event]) -> bool:
        inbox = self._inbox
        if len(inbox) < 2:
            return False
        first, second = inbox[0], inbox[1]
        if first & 0x70:
            raise InvalidError("WebSocket frame with reserved bits; no extension was agreed on")
        if not second & _MASKED:
            raise InvalidError("WebSocket frame of a client is not masked")
        kind, length, at = first & 0x0F, second & 0x7F, 2
        if length >= 126:
            layout = ">H" if length == 126 else ">Q"
            at += struct.calcsize(layout)
            if len(inbox) < at:
                return False
            (length,) = struct.unpack_from(layout, inbox, 2)
        if kind & 0x08 and (length > 125 or not first & _FIN):
            raise InvalidError("WebSocket control frame is too long or fragmented")
        if len(self._fragments) + length > self._limit_bytes:
            raise LimitError(f"WebSocket message of more than {self._limit_bytes} bytes")
        if len(inbox) < at + 4 + length:
            return False
        payload = _unmask(bytes(inbox[at : at + 4]), bytes(inbox[at + 4 : at + 4 + length]))
        del inbox[: at + 4 + length]
        self._frame(kind, bool(first & _FIN), payload, events)
        return True

    def _frame(self, kind: int, last: bool, payload: bytes, events: list[Event]) -> None:
        if kind in (_TEXT, _BINARY, _CONTINUATION):
            if (kind == _CONTINUATION) == (self._kind is None):
                raise InvalidError("WebSocket fragments out of order")
            self._kind = kind or self._kind
            self._fragments += payload
            if last:
                events.append(Message(bytes(self._fragments), self._kind == _TEXT))
                self._fragments.clear()
                self._kind = None
        elif kind == _CLOSE:
            code = struct.unpack_from(">H", payload)[0] if len(payload) >= 2 else 1005
            self.close(CloseCode.NORMAL)
            events.append(Close(code))
        elif kind == _PING:
            self._send(_PONG, payload)
        elif kind != _PONG:
            raise InvalidError(f"WebSocket frame of unknown kind {kind}")

    def send(self, data: bytes, *, text: bool = False) -> None:
        """Queue one message; nothing happens once the connection is closing."""
        self._send(_TEXT if text else _BINARY, data)

    def close(self, code: CloseCode, reason: str = "") -> None:
        """Queue the closing frame, once."""
        self._send(_CLOSE, struct.pack(">H", code) + reason.encode()[:123])
        self._closing = True

    def outgoing(self) -> bytes:
        """Hand over the bytes that are to be sent, once."""
        data = bytes(self._outbox)
        self._outbox.clear()
        return data

    def _send(self, kind: int, payload: bytes) -> None:
        if self._closing:
            return
        length = len(payload)
        if length < 126:
            self._outbox += struct.pack(">BB", _FIN | kind, length)
        elif length < 1 << 16:
            self._outbox += struct.pack(">BBH", _FIN | kind, 126, length)
        else:
            self._outbox += struct.pack(">BBQ", _FIN | kind, 127, length)
        self._outbox += payload


def _unmask(mask: bytes, payload: bytes) -> bytes:
    if not payload:
        return payload
    keys = (mask * (len(payload) // 4 + 1))[: len(payload)]
    mixed = int.from_bytes(payload, "little") ^ int.from_bytes(keys, "little")
    return mixed.to_bytes(len(payload), "little")
