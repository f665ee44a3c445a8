"""Timeouts, status messages, metadata and compressed messages as they travel."""

from __future__ import annotations

import gzip

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampan.wire.grpc.compression import compress, decompress
from sampan.wire.grpc.framing import MessageReader, pack
from sampan.wire.grpc.metadata import (
    decode_message,
    decode_metadata,
    encode_message,
    encode_metadata,
    parse_timeout_s,
)
from sampan.wire.grpc.status import Code, RpcError


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("1H", 3600), ("2M", 120), ("3S", 3), ("4m", 0.004), ("5u", 5e-6), ("99999999n", 0.099999999)],
)
def test_timeouts(text: str, seconds: float) -> None:
    assert parse_timeout_s(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "S", "1", "1x", "-1S", "1.5S", "123456789S", " 1S", "1S "])
def test_malformed_timeouts(text: str) -> None:
    with pytest.raises(RpcError) as caught:
        parse_timeout_s(text)
    assert caught.value.code is Code.INTERNAL


def test_messages_are_percent_encoded() -> None:
    assert encode_message("plain text, as it is!") == "plain text, as it is!"
    assert encode_message("50% é\n") == "50%25 %C3%A9%0A"
    assert decode_message("broken %zz and %E9") == "broken %zz and \N{REPLACEMENT CHARACTER}"


@given(st.text())
def test_every_message_comes_back(text: str) -> None:
    encoded = encode_message(text)
    assert encoded.isascii() and all(" " <= c <= "~" for c in encoded)
    assert decode_message(encoded) == text.encode("utf-8", "replace").decode()


@given(st.lists(st.binary(max_size=20)))
def test_binary_metadata_with_and_without_padding(values: list[bytes]) -> None:
    fields = encode_metadata([("a-bin", value) for value in values])
    assert decode_metadata(fields) == tuple(("a-bin", value) for value in values)
    padded = [(name, value + "=" * (-len(value) % 4)) for name, value in fields]
    assert decode_metadata(padded) == tuple(("a-bin", value) for value in values)


def test_joined_binary_metadata_is_several_values() -> None:
    assert decode_metadata([("a-bin", "YQ,Yg==")]) == (("a-bin", b"a"), ("a-bin", b"b"))


def test_reserved_headers_are_no_metadata() -> None:
    headers = [("te", "trailers"), ("grpc-timeout", "1S"), ("user-agent", "x"), ("own", "y")]
    assert decode_metadata(headers) == (("user-agent", "x"), ("own", "y"))


@pytest.mark.parametrize("value", ["*", "a", "YQ==="[:1]])
def test_binary_metadata_that_is_no_base64(value: str) -> None:
    with pytest.raises(RpcError):
        decode_metadata([("a-bin", value)])


@pytest.mark.parametrize("value", ["line\nbreak", "é"])
def test_text_metadata_outside_printable_ascii_is_refused(value: str) -> None:
    with pytest.raises(ValueError, match="printable"):
        encode_metadata([("a", value)])


@given(st.binary(max_size=2000))
def test_gzip_comes_back(data: bytes) -> None:
    assert decompress(compress(data), len(data)) == data
    assert gzip.decompress(compress(data)) == data
    assert MessageReader(2000, True).feed(pack(data, gzip=True)) == [data]


def test_gzip_of_several_members() -> None:
    assert decompress(gzip.compress(b"one") + gzip.compress(b"two"), 100) == b"onetwo"


def test_gzip_above_the_limit() -> None:
    with pytest.raises(RpcError) as caught:
        decompress(gzip.compress(b"x" * 101), 100)
    assert caught.value.code is Code.RESOURCE_EXHAUSTED


@pytest.mark.parametrize("data", [b"", b"junk", gzip.compress(b"x" * 100)[:-3]])
def test_gzip_that_is_broken(data: bytes) -> None:
    if not data:
        assert decompress(data, 100) == b""
        return
    with pytest.raises(RpcError) as caught:
        decompress(data, 1000)
    assert caught.value.code is Code.INTERNAL
