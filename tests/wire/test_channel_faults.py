"""The channel against a server that misbehaves on purpose: refusals, GOAWAY, silence, garbage."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager

import pytest
from tests.wire.h2_peer import HEAD, OK, Peer, Request, listening, run

from sampan.loop.channel import Channel, NotProcessedError
from sampan.wire.grpc.framing import pack
from sampan.wire.grpc.status import Code, RpcError
from sampan.wire.h2 import frames
from sampan.wire.h2.codes import ErrorCode
from sampan.wire.h2.headers import encode_headers
from sampan.wire.h2.settings import Limits


@asynccontextmanager
async def serving(peer: Peer, **options: object) -> AsyncIterator[Channel]:
    async with listening(peer) as target:
        channel = Channel(target, **options)  # type: ignore[arg-type]
        try:
            yield channel
        finally:
            await channel.close()


async def error_of(call: Awaitable[bytes]) -> RpcError:
    with pytest.raises(RpcError) as caught:
        await call
    return caught.value


def test_calls_beyond_the_stream_limit_wait_for_their_turn() -> None:
    async def main() -> None:
        def answer_later(request: Request) -> None:
            asyncio.get_running_loop().call_soon(request.answer, request.body[5:])

        peer = Peer(answer_later, Limits(max_concurrent_streams=3))
        async with serving(peer) as channel:
            sent = [b"%d" % number for number in range(50)]
            got = await asyncio.gather(*(channel.unary("/a/b", one) for one in sent))
            assert got == sent
            assert len(peer.sockets) == 1
            assert peer.sockets[0].most_streams == 3

    run(main())


def test_a_waiting_call_that_is_cancelled_is_never_sent() -> None:
    async def main() -> None:
        arrived = asyncio.Event()
        peer = Peer(lambda request: arrived.set(), Limits(max_concurrent_streams=1))
        async with serving(peer) as channel:
            first = asyncio.create_task(channel.unary("/a/b", b"first"))
            await arrived.wait()
            error = await error_of(channel.unary("/a/b", b"second", timeout_s=0.05))
            assert error.code is Code.DEADLINE_EXCEEDED
            peer.script = lambda request: request.answer(request.body[5:])
            peer.open_requests[0].answer(b"1")
            assert await first == b"1"
            assert await channel.unary("/a/b", b"third") == b"third"
            assert [request.body[5:] for request in peer.open_requests] == [b"first", b"third"]

    run(main())


def test_a_refused_stream_is_safe_to_repeat() -> None:
    async def main() -> None:
        peer = Peer(lambda request: request.reset(ErrorCode.REFUSED_STREAM))
        async with serving(peer) as channel:
            error = await error_of(channel.unary("/a/b", b""))
            assert isinstance(error, NotProcessedError)
            assert error.code is Code.UNAVAILABLE

    run(main())


@pytest.mark.parametrize(
    ("reset", "code"),
    [
        (ErrorCode.CANCEL, Code.CANCELLED),
        (ErrorCode.ENHANCE_YOUR_CALM, Code.RESOURCE_EXHAUSTED),
        (ErrorCode.INADEQUATE_SECURITY, Code.PERMISSION_DENIED),
        (ErrorCode.INTERNAL_ERROR, Code.INTERNAL),
        (ErrorCode.NO_ERROR, Code.INTERNAL),
    ],
)
def test_a_reset_maps_to_a_status(reset: ErrorCode, code: Code) -> None:
    async def main() -> None:
        async with serving(Peer(lambda request: request.reset(reset))) as channel:
            error = await error_of(channel.unary("/a/b", b""))
            assert error.code is code
            assert not isinstance(error, NotProcessedError)

    run(main())


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ([(":status", "503")], Code.UNAVAILABLE),
        ([(":status", "404"), ("content-type", "text/plain")], Code.UNIMPLEMENTED),
        ([(":status", "401")], Code.UNAUTHENTICATED),
        ([(":status", "200"), ("content-type", "text/html")], Code.UNKNOWN),
        ([(":status", "200"), ("content-type", "application/grpc")], Code.UNKNOWN),
        (
            [(":status", "200"), ("content-type", "application/grpc"), ("grpc-status", "5")],
            Code.NOT_FOUND,
        ),
        (
            [(":status", "200"), ("content-type", "application/grpc"), ("grpc-status", "99")],
            Code.UNKNOWN,
        ),
    ],
)
def test_a_response_of_headers_alone(fields: list[tuple[str, str]], code: Code) -> None:
    async def main() -> None:
        block = encode_headers(fields)
        peer = Peer(lambda request: request.send_headers(block, end_stream=True))
        async with serving(peer) as channel:
            assert (await error_of(channel.unary("/a/b", b""))).code is code

    run(main())


def test_half_a_message_or_no_trailers_is_an_error() -> None:
    async def main() -> None:
        def cut_message(request: Request) -> None:
            request.send_headers(HEAD)
            request.send_data(pack(b"hello")[:-1])
            request.send_headers(OK, end_stream=True)

        def no_trailers(request: Request) -> None:
            request.send_headers(HEAD)
            request.send_data(pack(b"hello"), end_stream=True)

        def two_messages(request: Request) -> None:
            request.send_headers(HEAD)
            request.send_data(pack(b"hello") * 2)
            request.send_headers(OK, end_stream=True)

        peer = Peer(cut_message)
        async with serving(peer) as channel:
            for script in (cut_message, no_trailers, two_messages):
                peer.script = script
                assert (await error_of(channel.unary("/a/b", b""))).code is Code.INTERNAL

    run(main())


def test_goaway_lets_old_calls_finish_refuses_later_ones_and_moves_on() -> None:
    async def main() -> None:
        both = asyncio.Event()

        def hold(request: Request) -> None:
            if len(peer.open_requests) == 2:
                both.set()

        peer = Peer(hold)
        async with serving(peer) as channel:
            calls = [asyncio.create_task(channel.unary("/a/b", b"%d" % n)) for n in range(2)]
            await both.wait()
            old = peer.open_requests[0]
            peer.sockets[0].write(frames.goaway(old.stream_id, ErrorCode.NO_ERROR))
            error = await error_of(calls[1])
            assert isinstance(error, NotProcessedError)
            peer.script = Request.answer
            assert await channel.unary("/a/b", b"new") == b"ok"
            assert len(peer.sockets) == 2
            old.answer(b"late")
            assert await calls[0] == b"late"
            await peer.sockets[0].lost.wait()
            assert channel.connections == 1

    run(main())


def test_a_cut_connection_is_unavailable_but_not_safe_to_repeat() -> None:
    async def main() -> None:
        peer = Peer(lambda request: peer.sockets[-1].close())
        async with serving(peer) as channel:
            error = await error_of(channel.unary("/a/b", b""))
            assert error.code is Code.UNAVAILABLE
            assert not isinstance(error, NotProcessedError)
            peer.script = Request.answer
            assert await channel.unary("/a/b", b"") == b"ok"

    run(main())


def test_a_dead_peer_is_found_by_keepalive() -> None:
    async def main() -> None:
        def go_deaf(request: Request) -> None:
            peer.sockets[-1].deaf = True

        peer = Peer(go_deaf)
        async with serving(peer, keepalive_time_s=0.05, keepalive_timeout_s=0.05) as channel:
            error = await error_of(channel.unary("/a/b", b""))
            assert error.code is Code.UNAVAILABLE
            assert "keepalive" in error.message

    run(main())


def test_a_living_but_silent_peer_is_left_alone_by_keepalive() -> None:
    async def main() -> None:
        pinged = asyncio.Event()
        pings = 0

        def count() -> None:
            nonlocal pings
            pings += 1
            if pings == 3:
                pinged.set()

        def hold(request: Request) -> None:
            peer.sockets[-1].connection.on_ping = count

        peer = Peer(hold)
        async with serving(peer, keepalive_time_s=0.03, keepalive_timeout_s=5.0) as channel:
            call = asyncio.create_task(channel.unary("/a/b", b""))
            await pinged.wait()
            peer.open_requests[0].answer(b"still here")
            assert await call == b"still here"

    run(main())


def test_a_server_that_says_nothing_fails_the_connect_timeout() -> None:
    async def main() -> None:
        async def swallow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read()
            writer.close()

        server = await asyncio.start_server(swallow, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        channel = Channel(f"127.0.0.1:{port}", connect_timeout_s=0.1)
        assert isinstance(await error_of(channel.unary("/a/b", b"")), NotProcessedError)
        await channel.close()
        server.close()

    run(main())


def test_a_peer_that_is_no_http2_server() -> None:
    async def main() -> None:
        async def garbage(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n")
            await reader.read()
            writer.close()

        server = await asyncio.start_server(garbage, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        channel = Channel(f"127.0.0.1:{port}")
        assert (await error_of(channel.unary("/a/b", b""))).code is Code.UNAVAILABLE
        await channel.close()
        server.close()

    run(main())


def test_a_fast_server_is_held_back_by_a_reader_that_does_not_read() -> None:
    async def main() -> None:
        total = 8 * 1024 * 1024

        def flood(request: Request) -> None:
            request.send_headers(HEAD)
            for _ in range(total // 8192):
                request.send_data(pack(bytes(8192)))
            request.send_headers(OK, end_stream=True)

        peer = Peer(flood)
        async with serving(peer) as channel:
            stream = channel.stream("/a/b")
            stream.send(b"")
            stream.close_send()
            assert await stream.receive() == bytes(8192)
            # A second call goes through while the first one's data waits at the server.
            peer.script = Request.answer
            assert await channel.unary("/a/b", b"") == b"ok"
            assert peer.open_requests[0].queued_bytes > total // 2
            rest = [message async for message in stream]
            assert len(rest) == total // 8192 - 1

    run(main())
