"""Arbitrary bytes at the frame and header decoders: never an exception, never a difference.

A connection must take anything, end itself with the protocol's own error at worst, and must behave
the same however the bytes are cut into reads.
"""

from __future__ import annotations

import itertools
import struct

import pytest
from hpack import Decoder, Encoder
from hpack.exceptions import HPACKError
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sampan.wire.grpc.framing import MessageReader
from sampan.wire.grpc.status import RpcError
from sampan.wire.h2 import frames
from sampan.wire.h2.codes import PREFACE, ConnectionFault, ErrorCode
from sampan.wire.h2.connection import Connection
from sampan.wire.h2.headers import Head, HeaderDecoder, Kind, encode_headers
from sampan.wire.h2.hpack_decoder import HpackDecoder, HpackFault
from sampan.wire.h2.sender import Sender, Stream
from sampan.wire.h2.settings import Limits

REQUEST = [
    (":method", "POST"),
    (":scheme", "http"),
    (":path", "/a.B/C"),
    (":authority", "x"),
    ("content-type", "application/grpc"),
]


def nothing() -> None:
    """Wake nobody."""


class Trace(Stream):
    """Writes down what happened, independent of how bodies are cut."""

    def __init__(self, log: list[object], link: Sender, stream_id: int, head: Head) -> None:
        super().__init__(link, stream_id, head)
        self.log = log
        self.entry: list[object] = [stream_id, head.path, b"", "open"]
        log.append(self.entry)

    def on_data(self, data: bytes, end_stream: bool) -> None:
        self.entry[2] = bytes(self.entry[2]) + data  # type: ignore[call-overload]
        self.credit(len(data))
        if end_stream:
            self.answer()

    def on_head(self, end_stream: bool) -> None:
        if end_stream:
            self.answer()

    def on_trailers(self, trailers: Head) -> None:
        self.entry.append(trailers.headers)
        self.answer()

    def answer(self) -> None:
        self.entry[3] = "answered"
        self.send_headers(encode_headers([(":status", "200")]))
        self.send_data(b"answer", end_stream=True)

    def on_reset(self, code: ErrorCode, reason: str) -> None:
        self.entry[3] = f"reset {code.name}"


def play(pieces: list[bytes]) -> tuple[list[object], ErrorCode | None]:
    """Feed `pieces` to a server connection; return its streams' history and its end."""
    log: list[object] = []
    connection = Connection(
        Limits(max_concurrent_streams=10, glitch_burst=100),
        accept=lambda link, stream_id, head: Trace(log, link, stream_id, head),
        wake=nothing,
        clock=lambda: 0.0,
    )
    connection.start()
    for piece in pieces:
        connection.receive(piece)
        connection.take_output()
    return log, connection.fault.code if connection.fault else None


def frame(kind: int, flags: int, stream_id: int, payload: bytes) -> bytes:
    return struct.pack(">IBI", len(payload) << 8 | kind, flags, stream_id) + payload


BLOCKS = st.one_of(
    st.binary(max_size=40),
    st.just(encode_headers(REQUEST)),
    st.just(encode_headers([*REQUEST, ("content-length", "3")])),
    st.just(encode_headers([("x-trailer", "1")])),
    st.just(Encoder().encode(REQUEST)),
)
NUMBERS = st.integers(0, 2**32 - 1)
PAYLOADS = st.one_of(
    st.binary(max_size=40),
    BLOCKS,
    NUMBERS.map(lambda n: struct.pack(">I", n)),
    st.tuples(st.integers(0, 7), NUMBERS).map(lambda pair: struct.pack(">HI", *pair)),
)
KINDS = st.one_of(st.sampled_from([0, 0, 1, 1, 9]), st.integers(0, 12))
FLAGS = st.sampled_from([0, 1, 4, 4, 5, 5, 8, 0x20, 0x2D])
IDS = st.sampled_from([0, 1, 1, 3, 3, 5, 7, 2, 2**31 - 1])
RANDOM_FRAMES = st.builds(frame, KINDS, FLAGS, IDS, PAYLOADS)
CALLS = st.builds(
    lambda stream_id, block, body: frame(1, 4, stream_id, block) + frame(0, 1, stream_id, body),
    st.sampled_from([1, 3, 5, 7, 9]),
    BLOCKS,
    st.binary(max_size=20),
)
TRAFFIC = st.lists(st.one_of(RANDOM_FRAMES, CALLS), max_size=30).map(b"".join)
OPENING = PREFACE + frames.settings([])


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300))
def test_garbage_instead_of_a_preface(data: bytes) -> None:
    play([data])
    play([OPENING + data])


@settings(max_examples=400, deadline=None)
@given(TRAFFIC, st.lists(st.integers(0, 2000), max_size=8))
@example(frame(1, 4, 1, encode_headers(REQUEST)) + frame(3, 0, 1, b"\0\0\0\x08"), [3])
def test_split_anywhere_equals_whole(traffic: bytes, cuts: list[int]) -> None:
    data = OPENING + traffic
    positions = sorted({min(cut, len(data)) for cut in cuts} | {0, len(data)})
    pieces = [data[a:b] for a, b in itertools.pairwise(positions)]
    whole = play([data])
    assert play(pieces) == whole
    assert play([data[n : n + 1] for n in range(len(data))]) == whole


@settings(max_examples=300, deadline=None)
@given(TRAFFIC)
def test_a_client_takes_anything_from_a_server(traffic: bytes) -> None:
    connection = Connection(Limits(), accept=None, wake=nothing, clock=lambda: 0.0)
    connection.start()
    for _ in range(3):
        connection.open(Stream(connection, 0, None), encode_headers(REQUEST), end_stream=True)
    connection.receive(frames.settings([]) + traffic)
    connection.take_output()


REPRESENTATIONS = st.one_of(
    st.binary(min_size=1, max_size=12),
    st.integers(0x80, 0xFF).map(lambda n: bytes([n])),
    st.builds(
        lambda first, name, value: bytes([first, len(name)]) + name + bytes([len(value)]) + value,
        st.sampled_from([0x00, 0x10, 0x40, 0x40]),
        st.binary(min_size=1, max_size=5),
        st.binary(max_size=40),
    ),
    st.builds(lambda n: bytes([0x3F, n & 127 | 128, n >> 7]), st.integers(0, 5_000)),
)


@settings(max_examples=500, deadline=None)
@given(st.lists(st.lists(REPRESENTATIONS, max_size=8).map(b"".join), max_size=6))
def test_our_decoder_agrees_with_another_one(blocks: list[bytes]) -> None:
    ours, theirs = HpackDecoder(64 * 1024), Decoder()
    for block in blocks:
        try:
            expected = [(bytes(n), bytes(v)) for n, v in theirs.decode(block, raw=True)]
        except HPACKError:
            with pytest.raises(HpackFault):
                ours.decode(block)
            return
        assert ours.decode(block) == expected


TIMEOUTS = st.sampled_from(["1S", "2S", "5000000u", "bad", "1 S"])


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(TIMEOUTS, st.integers(0, 6), st.booleans()), max_size=8))
def test_a_header_that_varies_is_validated_like_any_other(
    requests: list[tuple[str, int, bool]],
) -> None:
    encoder, remembering = Encoder(), HeaderDecoder(64 * 1024)
    for timeout, place, twice in requests:
        fields = list(REQUEST)
        fields.insert(min(place, len(fields)), ("grpc-timeout", timeout))
        fields += [("grpc-timeout", timeout)] * twice
        head = remembering.decode(encoder.encode(fields))
        fresh = HeaderDecoder(64 * 1024).decode(encode_headers(fields))
        assert (head.kind, sorted(head.headers)) == (fresh.kind, sorted(fresh.headers))
        assert (head.kind is Kind.REQUEST) == (place >= 4)


NAMES = st.text("abcxyz-0", min_size=1, max_size=12)
VALUES = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=30)
FIELDS = st.lists(st.tuples(NAMES, VALUES), max_size=8)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.binary(max_size=60), max_size=6))
def test_header_blocks_of_garbage(blocks: list[bytes]) -> None:
    decoder = HeaderDecoder(1000)
    try:
        for block in blocks:
            decoder.decode(block)
    except ConnectionFault as fault:
        assert fault.code in (ErrorCode.COMPRESSION_ERROR, ErrorCode.ENHANCE_YOUR_CALM)


@settings(max_examples=200, deadline=None)
@given(st.lists(FIELDS, max_size=8), st.lists(st.booleans(), min_size=8, max_size=8))
def test_the_memo_never_shows(lists: list[list[tuple[str, str]]], again: list[bool]) -> None:
    """Another implementation's encoder, indexing what it likes, repeats and changes its headers."""
    encoder, decoder = Encoder(), HeaderDecoder(64 * 1024)
    previous: list[tuple[str, str]] = []
    for fields, repeat in zip(lists, again, strict=False):
        fields = previous if repeat else fields
        previous = fields
        for _ in range(3):
            head = decoder.decode(encoder.encode(fields))
            assert head.kind is Kind.TRAILERS and list(head.headers) == fields


@settings(max_examples=100, deadline=None)
@given(st.lists(FIELDS, min_size=1, max_size=5), st.sampled_from([0, 50, 4096]))
def test_a_table_that_changes_its_size(lists: list[list[tuple[str, str]]], size: int) -> None:
    encoder, decoder = Encoder(), HeaderDecoder(64 * 1024)
    for number, fields in enumerate(lists * 2):
        if number == len(lists):
            encoder.header_table_size = size
        assert list(decoder.decode(encoder.encode(fields)).headers) == fields


@settings(max_examples=200, deadline=None)
@given(FIELDS)
def test_our_blocks_are_read_by_both_decoders(fields: list[tuple[str, str]]) -> None:
    block = encode_headers(fields)
    assert [(str(n), str(v)) for n, v in Decoder().decode(block)] == fields
    assert list(HeaderDecoder(64 * 1024).decode(block).headers) == fields


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200), st.integers(1, 20), st.booleans())
def test_message_framing_split_anywhere(data: bytes, step: int, gzip: bool) -> None:
    def read(size: int) -> tuple[list[bytes], str]:
        reader, messages = MessageReader(100, gzip), []
        try:
            for start in range(0, len(data), size):
                messages += reader.feed(data[start : start + size])
        except RpcError as error:
            return messages, error.message
        return messages, ""

    whole, cut = read(len(data) or 1), read(step)
    assert whole[1] == cut[1]
    # The messages before a broken one may have been handed over or not.
    assert cut[0][: len(whole[0])] == whole[0]
