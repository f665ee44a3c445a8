"""What the client decides about a call: where it goes, when it is repeated, what it asks for."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.wire.h2_peer import Peer, Request, listening, run

from sampan.loop.channel import NotProcessedError
from sampan.store.client import ALL_KEYS, Client, Code, RpcError, ops, prefix_end
from sampan.store.client.endpoint import Endpoint, parse_endpoint
from sampan.store.client.retry import Rotation, Verdict, judge
from sampan.store.pb import rpc_pb2
from sampan.wire.h2.codes import ErrorCode

UNAVAILABLE = RpcError(Code.UNAVAILABLE, "etcdserver: leader changed")


@given(st.binary(), st.binary())
def test_a_prefix_covers_exactly_what_starts_with_it(prefix: bytes, key: bytes) -> None:
    end = prefix_end(prefix)
    inside = key >= prefix and (end == ALL_KEYS or key < end)
    assert inside == key.startswith(prefix)


@pytest.mark.parametrize(
    ("url", "endpoint"),
    [
        ("127.0.0.1:2379", Endpoint("127.0.0.1:2379", "127.0.0.1:2379", None)),
        ("http://a:1", Endpoint("http://a:1", "a:1", False)),
        ("https://a/", Endpoint("https://a/", "a:2379", True)),
        ("http://[::1]:99", Endpoint("http://[::1]:99", "[::1]:99", False)),
        ("http://[::1]", Endpoint("http://[::1]", "[::1]:2379", False)),
        ("unix:/run/s", Endpoint("unix:/run/s", "unix:/run/s", False)),
        ("unix:///run/s", Endpoint("unix:///run/s", "unix:/run/s", False)),
        ("unixs:///run/s", Endpoint("unixs:///run/s", "unix:/run/s", True)),
    ],
)
def test_endpoints_as_users_write_them(url: str, endpoint: Endpoint) -> None:
    assert parse_endpoint(url) == endpoint


@pytest.mark.parametrize("url", ["ftp://a:1", "http://", ":2379", "http://a:b"])
def test_an_endpoint_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="endpoint"):
        parse_endpoint(url)


@pytest.mark.parametrize(
    ("error", "read", "write"),
    [
        (NotProcessedError("no connection"), Verdict.RETRY, Verdict.RETRY),
        (UNAVAILABLE, Verdict.RETRY, Verdict.FAIL),
        (RpcError(Code.UNAVAILABLE, "connection lost"), Verdict.RETRY, Verdict.FAIL),
        (RpcError(Code.DEADLINE_EXCEEDED, "late"), Verdict.FAIL, Verdict.FAIL),
        (RpcError(Code.NOT_FOUND, "no"), Verdict.FAIL, Verdict.FAIL),
        (
            RpcError(Code.UNAUTHENTICATED, "etcdserver: invalid auth token"),
            Verdict.REFRESH_TOKEN,
            Verdict.REFRESH_TOKEN,
        ),
        (
            RpcError(Code.INVALID_ARGUMENT, "etcdserver: revision of auth store is old"),
            Verdict.REFRESH_TOKEN,
            Verdict.REFRESH_TOKEN,
        ),
    ],
)
def test_a_write_is_repeated_only_when_it_surely_had_no_effect(
    error: RpcError, read: Verdict, write: Verdict
) -> None:
    assert judge(error, repeatable=True) is read
    assert judge(error, repeatable=False) is write


def test_endpoints_are_tried_in_a_circle_from_the_last_good_one() -> None:
    rotation = Rotation(3)
    assert list(rotation.round()) == [0, 1, 2]
    rotation.succeeded(1)
    assert list(rotation.round()) == [1, 2, 0]
    rotation.failed(1)
    rotation.failed(1)
    assert list(rotation.round()) == [2, 0, 1]


def test_a_transaction_that_can_write_is_no_read() -> None:
    reads = [ops.get("a"), ops.txn(then=[ops.get("b")])]
    assert ops.is_read_only(ops.txn(then=reads, otherwise=reads).request_txn)
    for write in (ops.put("a"), ops.delete("a"), ops.txn(otherwise=[ops.put("a")])):
        assert not ops.is_read_only(ops.txn(then=reads, otherwise=[write]).request_txn)


def test_conditions_are_spelled_as_comparisons() -> None:
    compare = ops.value("k") != "v"
    assert (compare.target, compare.result) == (ops.Compare.VALUE, ops.Compare.NOT_EQUAL)
    assert (compare.key, compare.value) == (b"k", b"v")
    compare = ops.mod_revision("k") > 7
    assert (compare.result, compare.mod_revision) == (ops.Compare.GREATER, 7)
    compare = ops.lease("k") == 9
    assert (compare.target, compare.lease) == (ops.Compare.LEASE, 9)
    with pytest.raises(TypeError):
        assert ops.version("k") == "1"
    with pytest.raises(TypeError):
        assert ops.value("k") == 1


def answer_range(request: Request) -> None:
    request.answer(rpc_pb2.RangeResponse(count=1).SerializeToString())


def test_a_write_whose_connection_broke_is_not_repeated_and_a_read_is() -> None:
    async def main() -> None:
        first, second = Peer(lambda request: None), Peer(answer_range)
        first.script = lambda request: first.sockets[-1].close()
        async with listening(first) as one, listening(second) as two:
            async with Client([one, two]) as client:
                with pytest.raises(RpcError) as caught:
                    await client.put("k", "v")
                assert caught.value.code is Code.UNAVAILABLE
                assert not second.open_requests
            async with Client([one, two]) as client:
                assert (await client.range("k")).count == 1

    run(main())


def test_a_refused_write_goes_to_the_next_endpoint() -> None:
    async def main() -> None:
        def accept(request: Request) -> None:
            request.answer(rpc_pb2.PutResponse().SerializeToString())

        busy, free = Peer(lambda request: request.reset(ErrorCode.REFUSED_STREAM)), Peer(accept)
        async with listening(busy) as one, listening(free) as two, Client([one, two]) as client:
            await client.put("k", "v")
            assert len(busy.open_requests) == 1
            # The next call starts with the endpoint that worked.
            await client.put("k", "v")
            assert len(busy.open_requests) == 1
            assert len(free.open_requests) == 2

    run(main())


def test_a_read_waits_for_a_server_to_come_back_within_its_deadline() -> None:
    async def main() -> None:
        tries = 0

        def third_time(request: Request) -> None:
            nonlocal tries
            tries += 1
            if tries < 3:
                request.fail(14, "etcdserver: no leader")
            else:
                answer_range(request)

        async with listening(Peer(third_time)) as target, Client([target]) as client:
            assert (await client.range("k")).count == 1
            assert tries == 3

    run(main())


def test_the_deadline_ends_the_tries() -> None:
    async def main() -> None:
        peer = Peer(lambda request: request.fail(14, "etcdserver: no leader"))
        async with listening(peer) as target, Client([target], retry_rounds=10**6) as client:
            began = asyncio.get_running_loop().time()
            with pytest.raises(RpcError) as caught:
                await client.get("k", timeout_s=0.3)
            assert caught.value.message == "etcdserver: no leader"
            assert asyncio.get_running_loop().time() - began < 5
            assert len(peer.open_requests) > 1

    run(main())


def test_one_token_serves_all_calls_and_a_stale_one_is_replaced_once() -> None:
    async def main() -> None:
        tokens = 0

        def script(request: Request) -> None:
            nonlocal tokens
            assert request.head is not None
            if request.head.path.endswith("Authenticate"):
                tokens += 1
                reply = rpc_pb2.AuthenticateResponse(token=f"t{tokens}")
                request.answer(reply.SerializeToString())
            elif request.head.get("token") in stale:
                request.fail(16, "etcdserver: invalid auth token")
            else:
                answer_range(request)

        stale: set[str] = set()
        async with listening(Peer(script)) as target:
            async with Client([target], username="u", password="p") as client:
                await asyncio.gather(*(client.range("k") for _ in range(10)))
                assert tokens == 1
                stale.add("t1")
                await asyncio.gather(*(client.range("k") for _ in range(10)))
                assert tokens == 2
                stale |= {"t2", "t3"}
                with pytest.raises(RpcError) as caught:
                    await client.range("k")
                assert caught.value.code is Code.UNAUTHENTICATED
                assert tokens == 3

    run(main())
