"""Protobuf messages as JSON."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampan.store.pb import rpc_pb2
from sampan.wire.json_proto import JsonError, dumps, from_json, read_values, to_json


def read(text: str) -> rpc_pb2.RangeRequest:
    (value,) = read_values(text.encode())
    return from_json(value, rpc_pb2.RangeRequest)


def test_writing() -> None:
    response = rpc_pb2.AlarmResponse()
    response.header.cluster_id = 2**64 - 1
    response.alarms.add(memberID=1, alarm=rpc_pb2.NOSPACE)
    assert dumps(response) == (
        b'{"header":{"cluster_id":"18446744073709551615"},'
        b'"alarms":[{"memberID":"1","alarm":"NOSPACE"}]}'
    )


def test_a_member_of_a_oneof_is_written_even_if_zero() -> None:
    assert to_json(rpc_pb2.Compare(version=0)) == {"version": "0"}


def test_an_unknown_enum_number_is_written_as_it_is() -> None:
    request = rpc_pb2.AlarmRequest()
    request.MergeFromString(b"\x18\x09")
    assert to_json(request) == {"alarm": 9}


@pytest.mark.parametrize(
    "text",
    [
        '{"key":"Pz8/","limit":"5","sort_order":"DESCEND","keys_only":true}',
        '{"key":"Pz8_","limit":5,"sortOrder":"DESCEND","keysOnly":true}',
        '{"key":"Pz8/","limit":5.0,"sort_order":2,"keys_only":true,"unknown":[1],"value":null}',
    ],
)
def test_reading_is_lenient_where_the_specification_is(text: str) -> None:
    expected = rpc_pb2.RangeRequest(key=b"???", limit=5, sort_order="DESCEND", keys_only=True)
    assert read(text) == expected


@pytest.mark.parametrize("text", ["Zg==", "Zg=", "Zg"])
def test_base64_needs_no_padding(text: str) -> None:
    assert read(json.dumps({"key": text})).key == b"f"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"limit":9223372036854775808}', "limit: 9223372036854775808 is not an int64"),
        ('{"limit":1.5}', "limit: 1.5 is not an int64"),
        ('{"limit":1e999}', "limit: Infinity is not an int64"),
        ('{"limit":true}', "limit: true is not an int64"),
        ('{"limit":"0x5"}', 'limit: "0x5" is not an int64'),
        ('{"serializable":"x"}', 'serializable: "x" is not a bool'),
        ('{"sort_order":"UP"}', 'sort_order: "UP" is not a name of the enum'),
        ('{"key":5}', "key: 5 is not a base64 string"),
        ('{"key":"a=b="}', 'key: "a=b=" is not a base64 string'),
        ('{"key":"Z"}', 'key: "Z" is not a base64 string'),
        ('{"key":"a","key":"b"}', 'duplicate field "key"'),
        ('{"sort_order":1,"sortOrder":1}', "sortOrder and sort_order cannot both be given"),
        ('{"limit":NaN}', "invalid value NaN"),
        ('{"limit":' + "9" * 5000 + "}", "syntax error"),
    ],
)
def test_wrong_values(text: str, message: str) -> None:
    with pytest.raises(JsonError) as error:
        read(text)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (
            {"compare": [{"version": 1, "value": ""}]},
            "compare[0].value and compare[0].version cannot both be given",
        ),
        ({"success": {}}, "success: {} is not an array"),
        ({"success": [[]]}, "success[0]: [] is not an object"),
        (
            {"success": [{"request_put": {"key": "!"}}]},
            'success[0].request_put.key: "!" is not a base64 string',
        ),
    ],
)
def test_an_error_names_the_field(value: Any, message: str) -> None:
    with pytest.raises(JsonError) as error:
        from_json(value, rpc_pb2.TxnRequest)
    assert message in str(error.value)


def test_an_empty_message_in_a_oneof_counts() -> None:
    request = from_json({"progress_request": {}}, rpc_pb2.WatchRequest)
    assert request.WhichOneof("request_union") == "progress_request"


def test_repeated_scalars() -> None:
    request = from_json({"peerURLs": ["http://a:1"]}, rpc_pb2.MemberAddRequest)
    assert list(request.peerURLs) == ["http://a:1"]
    with pytest.raises(JsonError, match=r"peerURLs\[0\]: 5 is not a string"):
        from_json({"peerURLs": [5]}, rpc_pb2.MemberAddRequest)
    with pytest.raises(JsonError, match="is not a string"):
        from_json({"peerURLs": ["\ud800"]}, rpc_pb2.MemberAddRequest)


def test_nesting_is_bounded() -> None:
    value: Any = {}
    for _ in range(200):
        value = {"success": [{"request_txn": value}]}
    with pytest.raises(JsonError, match="max recursion depth"):
        from_json(value, rpc_pb2.TxnRequest)
    with pytest.raises(JsonError, match="max recursion depth"):
        list(read_values(b"[" * 100_000))


def test_values_that_follow_one_another() -> None:
    assert list(read_values(b' {"a":1}{"b":2}\n[3] 4 ')) == [{"a": 1}, {"b": 2}, [3], 4]
    assert list(read_values(b" \n ")) == []


def test_values_before_a_syntax_error_are_delivered() -> None:
    values = read_values(b"{} {")
    assert next(values) == {}
    with pytest.raises(JsonError, match=r"syntax error \(line 1:5\)"):
        next(values)


@given(
    st.builds(
        rpc_pb2.PutRequest,
        key=st.binary(),
        value=st.binary(),
        lease=st.integers(-(2**63), 2**63 - 1),
        prev_kv=st.booleans(),
    )
)
def test_what_is_written_reads_back(request: rpc_pb2.PutRequest) -> None:
    (value,) = read_values(dumps(request))
    assert from_json(value, rpc_pb2.PutRequest) == request


@given(st.text())
def test_any_text_is_a_value_or_an_error(text: str) -> None:
    try:
        for value in read_values(text.encode("utf-8", "surrogatepass")):
            from_json(value, rpc_pb2.RangeRequest)
    except JsonError:
        pass
