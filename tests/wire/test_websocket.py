"""WebSocket connections, driven by client frames that the test builds from RFC 6455."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampan.base.errors import InvalidError, LimitError
from sampan.wire.websocket import Close, Message, WebSocket, accept_key

MASK = b"\x37\xfa\x21\x3d"


def frame(kind: int, payload: bytes, *, last: bool = True) -> bytes:
    head = bytes([(0x80 if last else 0) | kind])
    if len(payload) < 126:
        head += bytes([0x80 | len(payload)])
    elif len(payload) < 1 << 16:
        head += b"\xfe" + struct.pack(">H", len(payload))
    else:
        head += b"\xff" + struct.pack(">Q", len(payload))
    masked = bytes(byte ^ MASK[at % 4] for at, byte in enumerate(payload))
    return head + MASK + masked


def test_the_accept_key_of_the_specifications_example() -> None:
    assert accept_key("dGhlIHNhbXBsZSBub25jZQ==") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


@given(st.lists(st.binary(max_size=400), max_size=8), st.integers(1, 50))
def test_messages_arrive_whole_however_the_bytes_come(bodies: list[bytes], piece: int) -> None:
    sent = b"".join(frame(2, body) for body in bodies)
    socket = WebSocket()
    events = []
    for at in range(0, len(sent), piece):
        events += socket.receive(sent[at : at + piece])
    assert events == [Message(body, text=False) for body in bodies]


def test_fragments_make_one_message_and_a_ping_may_come_between() -> None:
    socket = WebSocket()
    sent = frame(1, b"Hel", last=False) + frame(9, b"?") + frame(0, b"lo")
    assert socket.receive(sent) == [Message(b"Hello", text=True)]
    assert socket.outgoing() == b"\x8a\x01?"


@pytest.mark.parametrize("size", [0, 125, 126, 65535, 65536])
def test_lengths_are_written_in_their_shortest_form(size: int) -> None:
    socket = WebSocket()
    socket.send(bytes(size))
    head = {0: 2, 125: 2, 126: 4, 65535: 4, 65536: 10}[size]
    sent = socket.outgoing()
    assert len(sent) == head + size
    assert sent[0] == 0x82


def test_a_close_is_answered_once_and_nothing_follows_it() -> None:
    socket = WebSocket()
    assert socket.receive(frame(8, struct.pack(">H", 1001))) == [Close(1001)]
    socket.send(b"late")
    assert socket.outgoing() == b"\x88\x02" + struct.pack(">H", 1000)


@pytest.mark.parametrize(
    "sent",
    [b"\x82\x01x", b"\xc2\x80" + MASK, frame(0, b"x"), frame(9, b"x" * 126), frame(5, b"")],
    ids=["not masked", "reserved bit", "stray continuation", "long ping", "unknown kind"],
)
def test_what_cannot_be_ends_the_connection(sent: bytes) -> None:
    socket = WebSocket()
    with pytest.raises(InvalidError):
        socket.receive(sent)
    assert socket.outgoing() == b"\x88\x02" + struct.pack(">H", 1002)


def test_a_long_message_is_refused_at_its_head() -> None:
    socket = WebSocket(limit_bytes=1000)
    socket.receive(frame(2, bytes(600), last=False))
    with pytest.raises(LimitError):
        socket.receive(frame(0, bytes(600))[:8])
    assert socket.outgoing() == b"\x88\x02" + struct.pack(">H", 1009)
