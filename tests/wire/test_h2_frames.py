"""A server connection fed frame by frame: windows, padding, settings, errors."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import pytest
from hpack import Decoder

from sampan.wire.h2 import frames
from sampan.wire.h2.codes import PREFACE, ErrorCode
from sampan.wire.h2.connection import Connection
from sampan.wire.h2.headers import Head, encode_headers
from sampan.wire.h2.sender import Sender, Stream
from sampan.wire.h2.settings import Limits

FIELDS = [(":method", "POST"), (":scheme", "http"), (":path", "/"), (":authority", "x")]
REQUEST = encode_headers(FIELDS)
RESPONSE = encode_headers([(":status", "200")])
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8


def nothing() -> None:
    """Wake nobody."""


def frame(kind: int, flags: int, stream_id: int, payload: bytes = b"") -> bytes:
    return struct.pack(">IBI", len(payload) << 8 | kind, flags, stream_id) + payload


class Held(Stream):
    """Keeps the request and answers when the test says so."""

    def __init__(self, link: Sender, stream_id: int, head: Head) -> None:
        super().__init__(link, stream_id, head)
        self.body = b""
        self.reset_code: ErrorCode | None = None

    def on_data(self, data: bytes, end_stream: bool) -> None:
        self.body += data

    def on_reset(self, code: ErrorCode, reason: str) -> None:
        self.reset_code = code


class Peer:
    """The frames of a client, by hand, and what the server answers."""

    def __init__(self, limits: Limits | None = None, *settings: tuple[int, int]) -> None:
        self.streams: dict[int, Held] = {}
        self.connection = Connection(
            limits or Limits(), accept=self._accept, wake=nothing, clock=lambda: 0.0
        )
        self.connection.start()
        self.send(PREFACE + frames.settings(settings))

    def _accept(self, link: Sender, stream_id: int, head: Head) -> Held:
        stream = self.streams[stream_id] = Held(link, stream_id, head)
        return stream

    def send(self, data: bytes) -> list[tuple[int, int, int, bytes]]:
        self.connection.receive(data)
        return self.read()

    def read(self) -> list[tuple[int, int, int, bytes]]:
        return list(self._frames())

    def _frames(self) -> Iterator[tuple[int, int, int, bytes]]:
        data = b""
        while more := self.connection.take_output():
            data += more
        while data:
            word, flags, stream_id = struct.unpack_from(">IBI", data)
            stop = 9 + (word >> 8)
            yield word & 0xFF, flags, stream_id, data[9:stop]
            data = data[stop:]

    def request(self, stream_id: int = 1) -> Held:
        self.send(frame(HEADERS, 4 | 1, stream_id, REQUEST))
        return self.streams[stream_id]

    def sent_bytes(self) -> int:
        return sum(len(payload) for kind, _, _, payload in self.read() if kind == DATA)


def window(increment: int, stream_id: int = 0) -> bytes:
    return frame(WINDOW_UPDATE, 0, stream_id, struct.pack(">I", increment))


def test_an_answer_stops_at_the_stream_window_and_goes_on() -> None:
    peer = Peer(None, (4, 1_000))
    peer.request().send_data(b"x" * 5_000, end_stream=True)
    assert peer.sent_bytes() == 1_000
    peer.connection.receive(window(500, 1))
    assert peer.sent_bytes() == 500
    peer.connection.receive(window(10_000, 1))
    assert peer.sent_bytes() == 3_500 and not peer.connection.streams


def test_an_answer_stops_at_the_connection_window_and_goes_on() -> None:
    peer = Peer(None, (4, 1_000_000))
    for stream in [peer.request(stream_id) for stream_id in (1, 3)]:
        stream.send_data(b"x" * 50_000, end_stream=True)
    assert peer.sent_bytes() == 65_535
    peer.connection.receive(window(100_000))
    assert peer.sent_bytes() == 100_000 - 65_535 and not peer.connection.streams


def test_a_window_made_negative_in_mid_stream() -> None:
    peer = Peer(None, (4, 10_000))
    peer.request().send_data(b"x" * 50_000, end_stream=True)
    assert peer.sent_bytes() == 10_000
    peer.connection.receive(frames.settings([(4, 4_000)]))
    peer.connection.receive(window(6_000, 1))
    assert peer.sent_bytes() == 0
    peer.connection.receive(window(1, 1))
    assert peer.sent_bytes() == 1
    peer.connection.receive(frames.settings([(4, 44_000)]))
    assert peer.sent_bytes() == 39_999


def test_settings_are_acknowledged_before_data_that_they_allow() -> None:
    peer = Peer(None, (4, 0))
    peer.request().send_data(b"x" * 10)
    assert [kind for kind, *_ in peer.send(frames.settings([(4, 5)]))] == [SETTINGS, DATA]


def test_trailers_wait_behind_data_and_need_no_window() -> None:
    peer = Peer(None, (4, 10))
    stream = peer.request()
    stream.send_headers(RESPONSE)
    stream.send_data(b"x" * 10)
    stream.send_headers(encode_headers([("a", "b")]), end_stream=True)
    assert [kind for kind, *_ in peer.read()] == [HEADERS, DATA, HEADERS]


def test_waiting_streams_take_turns() -> None:
    peer = Peer(None, (4, 1_000_000))
    streams = [peer.request(stream_id) for stream_id in (1, 3, 5)]
    peer.connection.pause()
    for stream in streams:
        stream.send_data(b"x" * 20_000)
    assert peer.sent_bytes() == 0
    peer.connection.resume()
    order = [stream_id for kind, _, stream_id, _ in peer.read() if kind == DATA]
    assert order[:3] == [1, 3, 5]


def test_a_larger_frame_size_is_used_when_allowed() -> None:
    peer = Peer(None, (5, 60_000))
    peer.request().send_data(b"x" * 50_000)
    assert [len(payload) for kind, _, _, payload in peer.read() if kind == DATA] == [50_000]


def test_padding_counts_for_flow_control_and_is_dropped() -> None:
    peer = Peer(Limits(stream_window_bytes=65_535))
    peer.send(frame(HEADERS, 4 | 8, 1, b"\x05" + REQUEST + b"\0" * 5))
    credited = 0
    for _ in range(300):
        for kind, _, stream_id, payload in peer.send(frame(DATA, 8, 1, b"\xff" + b"\0" * 255)):
            if kind == WINDOW_UPDATE and stream_id == 1:
                credited += struct.unpack(">I", payload)[0]
    assert peer.streams[1].body == b"" and credited > 300 * 256 - 65_535


def test_a_stream_window_is_enforced() -> None:
    peer = Peer(Limits(stream_window_bytes=65_535))
    peer.send(frame(HEADERS, 4, 1, REQUEST))
    answers = []
    for _ in range(5):
        answers += peer.send(frame(DATA, 0, 1, b"x" * 16_000))
    code = struct.pack(">I", ErrorCode.FLOW_CONTROL_ERROR)
    assert (RST_STREAM, 0, 1, code) in answers
    assert peer.streams[1].reset_code is ErrorCode.FLOW_CONTROL_ERROR
    assert not peer.connection.dead


def test_a_peer_that_shrinks_the_table_is_told_first() -> None:
    """Its decoder insists on a size update at the start of the next block (RFC 7541, 4.2)."""
    peer = Peer(None, (1, 0))
    decoder = Decoder()
    decoder.header_table_size = 0
    decoder.max_allowed_table_size = 0
    peer.request().send_headers(RESPONSE, end_stream=True)
    blocks = [payload for kind, _, _, payload in peer.read() if kind == HEADERS]
    assert blocks[0][:1] == b"\x20"
    assert [(str(n), str(v)) for n, v in decoder.decode(blocks[0])] == [(":status", "200")]


def test_frames_that_cross_our_reset_are_no_error() -> None:
    peer = Peer()
    peer.send(frame(HEADERS, 4, 1, REQUEST))
    peer.streams[1].reset(ErrorCode.CANCEL)
    peer.read()
    crossing = frame(DATA, 0, 1, b"x") + window(5, 1) + frame(HEADERS, 5, 1, REQUEST)
    assert peer.send(crossing + frame(RST_STREAM, 0, 1, b"\0\0\0\x08")) == []
    assert not peer.connection.dead


def test_an_early_answer_asks_for_no_more_of_the_request() -> None:
    peer = Peer()
    peer.send(frame(HEADERS, 4, 1, REQUEST))
    peer.streams[1].send_headers(RESPONSE, end_stream=True)
    assert peer.read()[-1] == (RST_STREAM, 0, 1, struct.pack(">I", ErrorCode.NO_ERROR))
    assert not peer.connection.streams


@pytest.mark.parametrize(
    "extra",
    [
        [("content-length", "4")],
        [("content-length", "x")],
        [("connection", "close")],
        [("te", "gzip")],
        [("UPPER", "x")],
        [("a", "line\nbreak")],
        [("a", " padded")],
        [(":path", "/again")],
        [(":late", "x")],
    ],
)
def test_malformed_requests_are_refused_alone(extra: list[tuple[str, str]]) -> None:
    peer = Peer()
    block = encode_headers([*FIELDS, *extra])
    answers = peer.send(frame(HEADERS, 4, 1, block) + frame(DATA, 1, 1, b"abc"))
    assert (RST_STREAM, 0, 1, struct.pack(">I", ErrorCode.PROTOCOL_ERROR)) in answers
    assert not peer.connection.dead and not peer.connection.streams


def test_the_short_way_checks_the_declared_length_too() -> None:
    """The block is known from the first request, so the second one takes the short way."""
    peer = Peer()
    block = encode_headers([*FIELDS, ("content-length", "3")])
    for stream_id, body in ((1, b"abc"), (3, b"abc"), (5, b"abcd")):
        answers = peer.send(frame(HEADERS, 4, stream_id, block) + frame(DATA, 1, stream_id, body))
    assert [peer.streams[n].body for n in (1, 3)] == [b"abc", b"abc"]
    assert (RST_STREAM, 0, 5, struct.pack(">I", ErrorCode.PROTOCOL_ERROR)) in answers


def test_pings_and_settings_are_answered() -> None:
    peer = Peer()
    assert peer.send(frame(PING, 0, 0, b"12345678")) == [(PING, 1, 0, b"12345678")]
    assert peer.send(frames.settings([(99, 1)])) == [(SETTINGS, 1, 0, b"")]


def test_streams_after_the_final_goaway_are_not_opened() -> None:
    peer = Peer()
    peer.request(1)
    peer.connection.shut_down()
    assert [kind for kind, *_ in peer.read()] == [GOAWAY, PING]
    assert peer.request(3) is peer.streams[3]
    answers = peer.send(frame(PING, 1, 0, b"shutdown"))
    assert [(kind, payload[:4]) for kind, _, _, payload in answers] == [(GOAWAY, b"\0\0\0\x03")]
    peer.send(frame(HEADERS, 5, 5, REQUEST))
    assert 5 not in peer.streams and not peer.connection.finished
    for stream in list(peer.streams.values()):
        stream.send_headers(RESPONSE, end_stream=True)
    assert peer.connection.finished


def test_a_dead_connection_takes_and_says_nothing_more() -> None:
    peer = Peer()
    peer.request(1)
    answers = peer.send(frame(DATA, 0, 0, b"x") + frame(PING, 0, 0, b"12345678"))
    assert [kind for kind, *_ in answers] == [GOAWAY]
    assert peer.connection.dead and peer.streams[1].reset_code is ErrorCode.PROTOCOL_ERROR
    assert peer.send(frame(PING, 0, 0, b"12345678")) == []
