"""Two of our own connections, a client and a server, joined in memory."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from sampan.wire.h2.codes import ErrorCode
from sampan.wire.h2.connection import Connection
from sampan.wire.h2.headers import Head, encode_headers
from sampan.wire.h2.sender import Sender, Stream
from sampan.wire.h2.settings import Limits

REQUEST = encode_headers(
    [(":method", "POST"), (":scheme", "http"), (":path", "/a.B/C"), (":authority", "x")]
)
RESPONSE = encode_headers([(":status", "200")])
TRAILERS = encode_headers([("grpc-status", "0")])


def nothing() -> None:
    """Wake nobody: the tests move the bytes themselves."""


class Recorder(Stream):
    """Keeps what happened to a stream."""

    def __init__(self, link: Sender, stream_id: int, head: Head | None) -> None:
        super().__init__(link, stream_id, head)
        self.body = bytearray()
        self.ended = False
        self.heads = 0
        self.trailers: Head | None = None
        self.reset_code: ErrorCode | None = None
        self.drained = 0
        self.auto_credit = True

    def on_head(self, end_stream: bool) -> None:
        self.heads += 1
        self.ended = end_stream

    def on_data(self, data: bytes, end_stream: bool) -> None:
        self.body += data
        self.ended = end_stream
        if self.auto_credit:
            self.credit(len(data))

    def on_trailers(self, trailers: Head) -> None:
        self.trailers = trailers
        self.ended = True

    def on_reset(self, code: ErrorCode, reason: str) -> None:
        self.reset_code = code

    def on_drain(self) -> None:
        self.drained += 1


class Pair:
    """A client and a server connection with a wire between them."""

    def __init__(self, limits: Limits | None = None, client_limits: Limits | None = None) -> None:
        self.accepted: list[Recorder] = []
        clock: Callable[[], float] = lambda: 0.0  # noqa: E731
        self.server = Connection(limits or Limits(), accept=self._accept, wake=nothing, clock=clock)
        self.client = Connection(client_limits or Limits(), accept=None, wake=nothing, clock=clock)
        self.server.start()
        self.client.start()
        self.move()

    def _accept(self, link: Sender, stream_id: int, head: Head) -> Recorder:
        stream = Recorder(link, stream_id, head)
        self.accepted.append(stream)
        return stream

    def move(self) -> None:
        """Carry bytes both ways until there are none."""
        while True:
            up, down = self.client.take_output(), self.server.take_output()
            if not up and not down:
                return
            self.server.receive(up)
            self.client.receive(down)

    def call(self, body: bytes, end_stream: bool = True) -> tuple[Recorder, Recorder]:
        stream = Recorder(self.client, 0, None)
        self.client.open(stream, REQUEST)
        stream.send_data(body, end_stream)
        self.move()
        return stream, self.accepted[-1]


def test_a_small_call_goes_there_and_back() -> None:
    pair = Pair()
    for number in range(3):
        request, response = pair.call(b"ping%d" % number)
        assert bytes(response.body) == b"ping%d" % number
        response.send_headers(RESPONSE)
        response.send_data(b"pong")
        response.send_headers(TRAILERS, end_stream=True)
        pair.move()
        assert bytes(request.body) == b"pong"
        assert request.trailers is not None and request.trailers.get("grpc-status") == "0"
        assert not pair.client.streams and not pair.server.streams


@pytest.mark.parametrize("size", [70_000, 3_000_000])
def test_large_bodies_pass_both_windows_in_both_directions(size: int) -> None:
    pair = Pair()
    body = bytes(range(256)) * (size // 256)
    request, response = pair.call(body)
    assert bytes(response.body) == body and response.ended
    response.send_headers(RESPONSE)
    response.send_data(body)
    response.send_headers(TRAILERS, end_stream=True)
    pair.move()
    assert bytes(request.body) == body and request.ended


def test_frames_are_as_large_as_the_receiver_allows() -> None:
    pair = Pair(Limits(stream_window_bytes=1 << 20, max_frame_bytes=100_000))
    body = bytes(200_001)
    request = Recorder(pair.client, 0, None)
    pair.client.open(request, REQUEST)
    pair.move()
    request.send_data(body, True)
    sent = pair.client.take_output()
    lengths, at = [], 0
    while at < len(sent):
        lengths.append(int.from_bytes(sent[at : at + 3], "big"))
        at += 9 + lengths[-1]
    assert lengths == [100_000, 100_000, 1]
    pair.server.receive(sent)
    assert bytes(pair.accepted[-1].body) == body and pair.accepted[-1].ended


def test_a_frame_larger_than_allowed_ends_the_connection() -> None:
    pair = Pair(Limits(max_frame_bytes=20_000))
    pair.server.receive((20_001).to_bytes(3, "big") + bytes(6))
    assert pair.server.dead and pair.server.fault is not None
    assert "frame too large" in pair.server.fault.reason


def test_data_waits_until_the_reader_gives_credit() -> None:
    pair = Pair(client_limits=Limits(stream_window_bytes=65_535))
    request, response = pair.call(b"x")
    request.auto_credit = False
    response.send_headers(RESPONSE)
    response.wants_drain = True
    response.send_data(b"y" * 200_000)
    pair.move()
    assert len(request.body) == 65_535 and response.queued_bytes == 200_000 - 65_535
    assert response.drained == 0
    request.auto_credit = True
    request.credit(65_535)
    pair.move()
    assert len(request.body) == 200_000 and response.queued_bytes == 0
    assert response.drained == 1


def test_one_shut_stream_does_not_hold_others_back() -> None:
    pair = Pair(client_limits=Limits(stream_window_bytes=65_535))
    shut, shut_response = pair.call(b"x")
    shut.auto_credit = False
    shut_response.send_headers(RESPONSE)
    shut_response.send_data(b"y" * 100_000)
    pair.move()
    other, other_response = pair.call(b"x")
    other_response.send_headers(RESPONSE)
    other_response.send_data(b"z" * 60_000)
    pair.move()
    assert len(other.body) == 60_000


def test_a_reset_reaches_the_other_side_and_frees_the_stream() -> None:
    pair = Pair()
    request, response = pair.call(b"x", end_stream=False)
    request.reset(ErrorCode.CANCEL)
    pair.move()
    assert response.reset_code is ErrorCode.CANCEL
    assert not pair.server.streams and not pair.client.streams


def test_a_stream_above_the_limit_is_refused() -> None:
    pair = Pair(Limits(max_concurrent_streams=1))
    pair.call(b"x", end_stream=False)
    refused = Recorder(pair.client, 0, None)
    pair.client.open(refused, REQUEST)
    pair.move()
    assert refused.reset_code is ErrorCode.REFUSED_STREAM
    assert not pair.server.dead


def test_a_graceful_end_lets_open_streams_finish() -> None:
    pair = Pair()
    request, response = pair.call(b"x")
    pair.server.shut_down()
    pair.move()
    assert pair.client.peer_going_away and not pair.server.finished
    response.send_headers(RESPONSE)
    response.send_headers(TRAILERS, end_stream=True)
    pair.move()
    assert request.ended and pair.server.finished
