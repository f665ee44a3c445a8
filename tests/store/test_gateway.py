"""The JSON gateway: translation, statuses and streams, on a small real service."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import aclosing
from typing import Any

import pytest
from tests.store.echo_service import EchoService

from sampan.base.log import Logger
from sampan.loop.rpc_stats import RpcStats
from sampan.store.api.gateway import Gateway
from sampan.store.api.gateway_routes import ROUTES, SERVICE_FILES
from sampan.wire.grpc.service import HttpRequest, HttpResponse, Peer
from sampan.wire.grpc.status import Code

KEY = base64.b64encode(b"foo").decode()


def request(
    path: str, body: bytes | object = b"", method: str = "POST", **headers: str
) -> HttpRequest:
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    pairs = [(name.replace("_", "-"), value) for name, value in headers.items()]
    return HttpRequest(method, path, pairs, text, Peer("127.0.0.1:9", "client-cn"))


def run(
    scenario: Callable[[Gateway, EchoService], Coroutine[Any, Any, None]],
) -> list[str]:
    """Run a scenario in a fresh loop and return the log lines it caused."""
    lines: list[str] = []

    async def main() -> None:
        service = EchoService()
        gateway = Gateway(service.methods(), Logger(lines.append, lambda: 0.0))
        await asyncio.wait_for(scenario(gateway, service), 10)

    asyncio.run(main())
    return lines


def ask(made: HttpRequest) -> tuple[int, Any]:
    """Return the status and the JSON of a unary request."""
    answers: list[tuple[int, Any]] = []

    async def scenario(gateway: Gateway, _: EchoService) -> None:
        response = await gateway(made)
        assert isinstance(response.body, bytes)
        answers.append((response.status, json.loads(response.body)))

    run(scenario)
    return answers[0]


def stream(response: HttpResponse) -> AsyncIterator[bytes]:
    assert response.status == 200, response.body
    assert not isinstance(response.body, bytes)
    return response.body


async def lines_of(response: HttpResponse) -> list[Any]:
    return [json.loads(line) async for line in stream(response)]


def test_a_message_is_answered_with_proto_names_and_no_zero_fields() -> None:
    status, answer = ask(request("/v3/kv/range", {"key": KEY, "rangeEnd": "YmFy", "limit": "3"}))
    assert status == 200
    assert answer == {
        "header": {"revision": str(2**62)},
        "kvs": [{"key": KEY, "value": "YmFy", "mod_revision": "7"}],
        "count": "3",
    }


def test_a_response_names_its_content() -> None:
    async def scenario(gateway: Gateway, _: EchoService) -> None:
        response = await gateway(request("/v3/kv/range?x=1", {"key": KEY}))
        assert ("content-type", "application/json") in response.headers

    run(scenario)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"key": "Zm9', "proto: syntax error (line 1:9): unterminated string starting at"),
        (b"\n  nope", "proto: syntax error (line 2:3): expecting value"),
        (b"[1]", "proto: invalid value for RangeRequest: [1] is not an object"),
        (b'{"key": "Zm9!"}', 'proto: invalid value for key: "Zm9!" is not a base64 string'),
        (b'{"limit": "many"}', 'proto: invalid value for limit: "many" is not an int64'),
        (b"\xff", "proto: invalid UTF-8 at byte 0"),
    ],
)
def test_bad_json_says_where(body: bytes, message: str) -> None:
    status, answer = ask(request("/v3/kv/range", body))
    assert (status, answer) == (400, {"error": message, "code": 3, "message": message})


def test_an_empty_body_is_an_empty_message_and_the_services_error_is_passed_on() -> None:
    message = "etcdserver: key is not provided"
    expected = (400, {"error": message, "code": 3, "message": message})
    assert ask(request("/v3/kv/range")) == expected
    assert ask(request("/v3/kv/range", b" {} trailing")) == expected


@pytest.mark.parametrize(
    ("code", "status"),
    [
        (Code.CANCELLED, 499),
        (Code.UNKNOWN, 500),
        (Code.DEADLINE_EXCEEDED, 504),
        (Code.NOT_FOUND, 404),
        (Code.PERMISSION_DENIED, 403),
        (Code.UNAUTHENTICATED, 401),
        (Code.RESOURCE_EXHAUSTED, 429),
        (Code.FAILED_PRECONDITION, 400),
        (Code.OUT_OF_RANGE, 400),
        (Code.UNAVAILABLE, 503),
    ],
)
def test_a_grpc_status_becomes_an_http_status(code: Code, status: int) -> None:
    got = ask(request("/v3/kv/put", {"lease": int(code), "value": "d2h5"}))
    assert got == (status, {"error": "why", "code": int(code), "message": "why"})


@pytest.mark.parametrize(
    ("made", "status", "code"),
    [
        (request("/v3/kv/range", method="GET"), 501, Code.UNIMPLEMENTED),
        (request("/v3/kv/nope"), 404, Code.NOT_FOUND),
        (request("/v3/auth/enable"), 501, Code.UNIMPLEMENTED),
    ],
)
def test_wrong_paths_and_methods(made: HttpRequest, status: int, code: Code) -> None:
    got_status, answer = ask(made)
    assert (got_status, answer["code"]) == (status, code)


def test_a_crash_is_logged_and_not_shown() -> None:
    async def scenario(gateway: Gateway, _: EchoService) -> None:
        response = await gateway(request("/v3/kv/compaction", {}))
        assert response.status == 500
        assert isinstance(response.body, bytes) and b"oops" not in response.body

    assert "oops" in "".join(run(scenario))


def test_headers_become_metadata() -> None:
    async def scenario(gateway: Gateway, service: EchoService) -> None:
        made = request(
            "/v3/kv/range",
            {"key": KEY},
            authorization="tok.1",
            grpc_metadata_hasleader="true",
            grpc_timeout="5S",
            accept="x",
        )
        await gateway(made)
        assert dict(service.metadata) == {
            "authorization": "tok.1",
            "token": "tok.1",
            "hasleader": "true",
        }
        assert service.timeout_s == 5.0
        assert service.common_name is None, "a certificate's name does not log in here"

    run(scenario)


def test_a_timeout_ends_the_call() -> None:
    async def scenario(gateway: Gateway, service: EchoService) -> None:
        response = await gateway(request("/v3/kv/deleterange", {}, grpc_timeout="1m"))
        assert response.status == 504
        await service.ended.wait()
        bad = await gateway(request("/v3/kv/deleterange", {}, grpc_timeout="soon"))
        assert bad.status == 400

    run(scenario)


def test_a_client_that_leaves_cancels_its_call() -> None:
    async def scenario(gateway: Gateway, service: EchoService) -> None:
        task = asyncio.ensure_future(gateway(request("/v3/kv/deleterange", {})))
        await asyncio.sleep(0)
        task.cancel()
        await service.ended.wait()

    run(scenario)


def test_a_watch_answers_several_requests_and_stays_open_until_its_reader_leaves() -> None:
    async def scenario(gateway: Gateway, service: EchoService) -> None:
        body = b'{"create_request":{"key":"Zm9v"}}\n{"create_request":{"watch_id":"7"}}'
        response = await gateway(request("/v3/watch", body))
        async with aclosing(stream(response)) as lines:  # type: ignore[type-var]
            assert await anext(lines) == b'{"result":{"created":true}}\n'
            assert await anext(lines) == b'{"result":{"watch_id":"7","created":true}}\n'
            assert not service.ended.is_set()
        await service.ended.wait()

    run(scenario)


def test_an_error_in_the_middle_of_a_stream_is_a_line() -> None:
    async def scenario(gateway: Gateway, _: EchoService) -> None:
        body = b'{"create_request":{"watch_id":1}}{"cancel_request":{}}'
        first, last = await lines_of(await gateway(request("/v3/watch", body)))
        assert first == {"result": {"watch_id": "1", "created": True}}
        assert last["error"] == {
            "code": 14,
            "message": "etcdserver: no leader",
            "grpc_code": 14,
            "http_code": 503,
            "http_status": "Service Unavailable",
        }

    run(scenario)


def test_an_error_before_the_first_response_is_the_status() -> None:
    async def scenario(gateway: Gateway, _: EchoService) -> None:
        response = await gateway(request("/v3/lease/keepalive", {"ID": -1}))
        assert response.status == 404
        assert isinstance(response.body, bytes)
        assert json.loads(response.body)["error"]["message"].endswith("lease not found")
        bad = await gateway(request("/v3/lease/keepalive", b"{"))
        assert bad.status == 400

    run(scenario)


def test_keepalive_ends_after_its_requests() -> None:
    async def scenario(gateway: Gateway, _: EchoService) -> None:
        response = await gateway(request("/v3/lease/keepalive", b'{"ID":"12"} {"ID":13}'))
        assert await lines_of(response) == [
            {"result": {"ID": "12", "TTL": "5"}},
            {"result": {"ID": "13", "TTL": "5"}},
        ]

    run(scenario)


def test_a_stream_does_not_run_ahead_of_its_reader() -> None:
    async def scenario(gateway: Gateway, service: EchoService) -> None:
        response = await gateway(request("/v3/maintenance/snapshot", {}))
        for _ in range(10):
            await asyncio.sleep(0)
        assert service.snapshot_chunks_sent < 8
        assert len(await lines_of(response)) == 100

    run(scenario)


def test_every_rpc_has_a_path() -> None:
    reached = {route.full_name for route in ROUTES.values()}
    offered = {
        f"/{service.full_name}/{method.name}"
        for file in SERVICE_FILES
        for service in file.services_by_name.values()
        for method in service.methods
    }
    assert reached == offered


def test_calls_are_counted_where_asked() -> None:
    async def scenario(_: Gateway, service: EchoService) -> None:
        stats = RpcStats()
        gateway = Gateway(service.methods(), Logger(lambda _: 0, lambda: 0.0), lambda: stats)
        await gateway(request("/v3/kv/range", {"key": KEY}))
        await gateway(request("/v3/kv/range", {}))
        await lines_of(await gateway(request("/v3/lease/keepalive", b'{"ID":1} {"ID":2}')))
        ranges = stats.methods["/etcdserverpb.KV/Range"]
        assert (ranges.started, ranges.handled[0], ranges.handled[3]) == (2, 1, 1)
        renewals = stats.methods["/etcdserverpb.Lease/LeaseKeepAlive"]
        assert (renewals.msg_received, renewals.msg_sent, renewals.active) == (2, 2, 0)

    run(scenario)
