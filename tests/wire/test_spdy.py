"""SPDY/3.1 sessions, driven by frames that the test builds from the draft's layouts."""

from __future__ import annotations

import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampan.base.errors import InvalidError, LimitError
from sampan.wire.spdy.header_block import DICTIONARY, Compressor, Decompressor
from sampan.wire.spdy.session import Data, Reset, Session, StreamOpened

names = st.text("abcdefghijklmnopqrstuvwxyz-", min_size=1, max_size=12)
values = st.text(max_size=40)


def control(kind: int, payload: bytes, flags: int = 0) -> bytes:
    return struct.pack(">II", 0x80030000 | kind, flags << 24 | len(payload)) + payload


def data(stream_id: int, body: bytes, *, last: bool = False) -> bytes:
    return struct.pack(">II", stream_id, int(last) << 24 | len(body)) + body


def opening(compressor: Compressor, stream_id: int, **headers: str) -> bytes:
    block = compressor.encode(headers)
    return control(1, struct.pack(">IIH", stream_id, 0, 0) + block)


def frames(sent: bytes) -> list[tuple[int, int, bytes]]:
    """First word, flags, payload of every frame."""
    found = []
    while sent:
        first, flags_length = struct.unpack_from(">II", sent)
        length = flags_length & 0xFFFFFF
        found.append((first, flags_length >> 24, sent[8 : 8 + length]))
        sent = sent[8 + length :]
    return found


def test_the_dictionary_is_the_drafts() -> None:
    assert len(DICTIONARY) == 1423
    assert zlib.adler32(DICTIONARY) == 0xE3C6A7C2


@given(st.lists(st.dictionaries(names, values, max_size=6), max_size=5))
def test_header_blocks_come_back_in_one_context(blocks: list[dict[str, str]]) -> None:
    compressor, decompressor = Compressor(), Decompressor()
    assert [decompressor.decode(compressor.encode(block)) for block in blocks] == blocks


def test_a_block_that_unfolds_too_far_is_refused() -> None:
    block = Compressor().encode({"bomb": "0" * 1_000_000})
    assert len(block) < 2_000
    with pytest.raises(LimitError):
        Decompressor().decode(block)


@pytest.mark.parametrize("block", [b"junk", zlib.compress(b"\0\0\0\1\0\0\0\1a")])
def test_a_malformed_block_is_refused(block: bytes) -> None:
    with pytest.raises(InvalidError):
        Decompressor().decode(block)


@given(st.lists(st.integers(1, 40), min_size=1, max_size=60))
def test_bytes_may_come_in_any_pieces(cuts: list[int]) -> None:
    compressor = Compressor()
    sent = opening(compressor, 1, streamtype="stdin") + data(1, b"hello" * 10)
    sent += data(1, b"", last=True) + opening(compressor, 3, streamtype="error")
    session = Session()
    events = []
    for cut in cuts:
        events += session.receive(sent[:cut])
        sent = sent[cut:]
    events += session.receive(sent)
    opened = [event for event in events if isinstance(event, StreamOpened)]
    assert [(event.stream_id, event.headers["streamtype"]) for event in opened] == [
        (1, "stdin"),
        (3, "error"),
    ]
    body = [event for event in events if isinstance(event, Data)]
    assert b"".join(event.data for event in body) == b"hello" * 10
    assert [event.finished for event in body].count(True) == 1


def test_a_stream_is_forgotten_when_both_sides_ended_it() -> None:
    session = Session()
    session.receive(opening(Compressor(), 1) + data(1, b"", last=True))
    session.reply(1)
    session.send(1, b"out")
    session.send(1, b"", finished=True)
    session.send(1, b"late")
    assert session.open_streams == 0
    kinds = frames(session.outgoing())
    assert [first for first, _, _ in kinds] == [0x80030002, 1, 1]
    assert kinds[-1] == (1, 1, b"")


def test_pings_are_answered_and_unknown_streams_reset() -> None:
    session = Session()
    session.receive(control(6, struct.pack(">I", 7)) + data(9, b"lost"))
    assert frames(session.outgoing()) == [
        (0x80030006, 0, struct.pack(">I", 7)),
        (0x80030003, 0, struct.pack(">II", 9, 2)),
    ]


def test_a_reset_ends_the_stream() -> None:
    session = Session()
    events = session.receive(opening(Compressor(), 1) + control(3, struct.pack(">II", 1, 5)))
    assert events[1:] == [Reset(1, 5)]
    assert session.open_streams == 0


@pytest.mark.parametrize(
    "sent",
    [
        control(1, b"short"),
        control(77, b""),
        struct.pack(">II", 0x80020006, 4) + b"\0\0\0\1",
        opening(Compressor(), 2),
    ],
    ids=["cut syn", "unknown type", "spdy 2", "even stream"],
)
def test_what_cannot_be_is_refused(sent: bytes) -> None:
    with pytest.raises(InvalidError):
        Session().receive(sent)


def test_a_control_frame_beyond_the_bound_is_refused_at_its_head() -> None:
    with pytest.raises(LimitError):
        Session().receive(struct.pack(">II", 0x80030001, 1 << 20))


def test_a_stranger_cannot_open_streams_without_end() -> None:
    session = Session()
    compressor = Compressor()
    for number in range(1030):
        session.receive(opening(compressor, 2 * number + 1))
    assert session.open_streams == 1024
