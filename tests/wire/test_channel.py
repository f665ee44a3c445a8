"""The channel against a grpcio server: every kind of call, errors, limits, TLS."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent import futures
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import grpc
import pytest
from tests.wire.h2_peer import run

from sampan.loop.channel import Channel, NotProcessedError
from sampan.wire.grpc.status import Code, RpcError

pytestmark = pytest.mark.real

Handler = Callable[..., object]


class Peer(grpc.GenericRpcHandler):  # type: ignore[misc]
    """A grpcio server whose methods are named for what they do."""

    def __init__(self) -> None:
        self.cancelled = threading.Event()
        self.started = threading.Event()
        self.release = threading.Event()

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        name = details.method.rpartition("/")[2]
        handlers = {
            "Echo": grpc.unary_unary_rpc_method_handler(self.echo),
            "Fail": grpc.unary_unary_rpc_method_handler(self.fail),
            "Metadata": grpc.unary_unary_rpc_method_handler(self.metadata),
            "Hang": grpc.unary_unary_rpc_method_handler(self.hang),
            "Remaining": grpc.unary_unary_rpc_method_handler(self.remaining),
            "Repeat": grpc.unary_stream_rpc_method_handler(self.repeat),
            "Sum": grpc.stream_unary_rpc_method_handler(self.total),
            "Chat": grpc.stream_stream_rpc_method_handler(self.chat),
            "Break": grpc.stream_stream_rpc_method_handler(self.break_off),
        }
        return handlers.get(name)

    def echo(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        return request

    def fail(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        context.set_trailing_metadata((("why", "because"), ("raw-bin", b"\x00\xff")))
        context.abort(grpc.StatusCode.FAILED_PRECONDITION, request.decode())
        return b""

    def metadata(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        return repr(
            [pair for pair in context.invocation_metadata() if pair[0] != "user-agent"]
        ).encode()

    def hang(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        context.add_callback(self.cancelled.set)
        self.started.set()
        self.release.wait(20)
        return b""

    def remaining(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        return str(context.time_remaining()).encode()

    def repeat(self, request: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
        for number in range(int(request)):
            yield b"%d" % number * 1000

    def total(self, requests: Iterator[bytes], context: grpc.ServicerContext) -> bytes:
        return b"%d" % sum(len(request) for request in requests)

    def chat(self, requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        for request in requests:
            yield request.upper()

    def break_off(
        self, requests: Iterator[bytes], context: grpc.ServicerContext
    ) -> Iterator[bytes]:
        yield next(requests)
        context.abort(grpc.StatusCode.DATA_LOSS, "half way")


@asynccontextmanager
async def serving(
    peer: Peer,
    *,
    address: str = "127.0.0.1:0",
    options: tuple[tuple[str, int], ...] = (),
    compression: grpc.Compression | None = None,
    credentials: grpc.ServerCredentials | None = None,
) -> AsyncIterator[str]:
    server = grpc.server(
        futures.ThreadPoolExecutor(max_workers=8), options=options, compression=compression
    )
    server.add_generic_rpc_handlers((peer,))
    if credentials is None:
        port = server.add_insecure_port(address)
    else:
        port = server.add_secure_port(address, credentials)
    server.start()
    try:
        yield address if address.startswith("unix:") else f"127.0.0.1:{port}"
    finally:
        peer.release.set()
        stopped = server.stop(0)
        await asyncio.to_thread(stopped.wait)


@asynccontextmanager
async def connected(target: str, **options: object) -> AsyncIterator[Channel]:
    channel = Channel(target, **options)  # type: ignore[arg-type]
    try:
        yield channel
    finally:
        await channel.close()


def test_a_unary_call_returns_the_answer() -> None:
    async def main() -> None:
        async with serving(Peer()) as target, connected(target) as channel:
            assert await channel.unary("/t.T/Echo", b"hello") == b"hello"
            assert await channel.unary("/t.T/Echo", b"") == b""

    run(main())


def test_many_calls_share_one_connection() -> None:
    async def main() -> None:
        async with serving(Peer()) as target, connected(target) as channel:
            sent = [b"%d" % number for number in range(200)]
            got = await asyncio.gather(*(channel.unary("/t.T/Echo", one) for one in sent))
            assert got == sent
            assert channel.connections == 1

    run(main())


def test_a_unix_socket_works_like_a_port(tmp_path: Path) -> None:
    async def main() -> None:
        async with serving(Peer(), address=f"unix:{tmp_path}/s") as target:
            async with connected(target) as channel:
                assert await channel.unary("/t.T/Echo", b"hello") == b"hello"

    run(main())


def test_an_error_carries_code_message_and_trailers() -> None:
    async def main() -> None:
        async with serving(Peer()) as target, connected(target) as channel:
            with pytest.raises(RpcError) as caught:
                await channel.unary("/t.T/Fail", "nicht möglich: 100%".encode())
            assert caught.value.code is Code.FAILED_PRECONDITION
            assert caught.value.message == "nicht möglich: 100%"
            assert ("why", "because") in caught.value.metadata
            assert ("raw-bin", b"\x00\xff") in caught.value.metadata
            with pytest.raises(RpcError) as caught:
                await channel.unary("/t.T/Missing", b"")
            assert caught.value.code is Code.UNIMPLEMENTED

    run(main())


def test_metadata_arrives_text_and_binary() -> None:
    async def main() -> None:
        async with serving(Peer()) as target, connected(target) as channel:
            sent = (("token", "abc"), ("token", "def"), ("blob-bin", b"\x01\x02\xfe"))
            got = await channel.unary("/t.T/Metadata", b"", metadata=sent)
            for name, value in sent:
                assert repr(name) in got.decode()
                assert repr(value) in got.decode()

    run(main())


def test_the_deadline_is_enforced_here_and_told_to_the_server() -> None:
    async def main() -> None:
        peer = Peer()
        async with serving(peer) as target, connected(target) as channel:
            left_s = float(await channel.unary("/t.T/Remaining", b"", timeout_s=7.0))
            assert 0 < left_s <= 7.1
            with pytest.raises(RpcError) as caught:
                await channel.unary("/t.T/Hang", b"", timeout_s=0.2)
            assert caught.value.code is Code.DEADLINE_EXCEEDED
            assert await asyncio.to_thread(peer.cancelled.wait, 10)

    run(main())


def test_cancelling_the_caller_cancels_the_call() -> None:
    async def main() -> None:
        peer = Peer()
        async with serving(peer) as target, connected(target) as channel:
            call = asyncio.create_task(channel.unary("/t.T/Hang", b""))
            assert await asyncio.to_thread(peer.started.wait, 10)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            assert await asyncio.to_thread(peer.cancelled.wait, 10)
            assert await channel.unary("/t.T/Echo", b"on") == b"on"

    run(main())


def test_server_streaming_with_a_slow_reader_delivers_everything_in_order() -> None:
    async def main() -> None:
        async with serving(Peer()) as target, connected(target) as channel:
            stream = channel.stream("/t.T/Repeat")
            stream.send(b"3000")
            stream.close_send()
            got = [message async for message in stream]
            assert got == [b"%d" % number * 1000 for number in range(3000)]
            assert await stream.receive() is None

    run(main())


def test_client_streaming_beyond_the_flow_control_window() -> None:
    async def main() -> None:
        async with serving(Peer()) as target, connected(target) as channel:
            stream = channel.stream("/t.T/Sum")
            for _ in range(100):
                stream.send(bytes(100_000))
                await stream.drain()
            stream.close_send()
            assert await stream.receive() == b"10000000"
            assert await stream.receive() is None

    run(main())


def test_bidirectional_streaming_answers_message_by_message() -> None:
    async def main() -> None:
        async with serving(Peer()) as target, connected(target) as channel:
            stream = channel.stream("/t.T/Chat")
            for word in (b"one", b"two", b"three"):
                stream.send(word)
                assert await stream.receive() == word.upper()
            stream.close_send()
            assert await stream.receive() is None

    run(main())


def test_a_stream_that_breaks_off_gives_its_messages_then_the_error() -> None:
    async def main() -> None:
        async with serving(Peer()) as target, connected(target) as channel:
            stream = channel.stream("/t.T/Break")
            stream.send(b"first")
            assert await stream.receive() == b"first"
            for _ in range(2):
                with pytest.raises(RpcError) as caught:
                    await stream.receive()
                assert (caught.value.code, caught.value.message) == (Code.DATA_LOSS, "half way")

    run(main())


def test_a_cancelled_stream_raises_and_a_stream_obeys_its_deadline() -> None:
    async def main() -> None:
        async with serving(Peer()) as target, connected(target) as channel:
            stream = channel.stream("/t.T/Chat")
            stream.send(b"x")
            assert await stream.receive() == b"X"
            stream.cancel()
            with pytest.raises(RpcError) as caught:
                await stream.receive()
            assert caught.value.code is Code.CANCELLED
            stream = channel.stream("/t.T/Chat", timeout_s=0.1)
            with pytest.raises(RpcError) as caught:
                await stream.receive()
            assert caught.value.code is Code.DEADLINE_EXCEEDED

    run(main())


def test_a_cancelled_receive_loses_no_message() -> None:
    async def main() -> None:
        async with serving(Peer()) as target, connected(target) as channel:
            stream = channel.stream("/t.T/Chat")
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await stream.receive()
            stream.send(b"later")
            assert await stream.receive() == b"LATER"

    run(main())


def test_large_messages_in_both_directions() -> None:
    async def main() -> None:
        options = (("grpc.max_receive_message_length", -1),)
        async with serving(Peer(), options=options) as target, connected(target) as channel:
            message = bytes(range(256)) * 20_000
            assert await channel.unary("/t.T/Echo", message) == message

    run(main())


def test_a_gzip_answer_is_unpacked_and_its_unpacked_size_is_limited() -> None:
    async def main() -> None:
        async with serving(Peer(), compression=grpc.Compression.Gzip) as target:
            async with connected(target, max_receive_bytes=50_000) as channel:
                assert await channel.unary("/t.T/Echo", bytes(40_000)) == bytes(40_000)
                with pytest.raises(RpcError) as caught:
                    await channel.unary("/t.T/Echo", bytes(60_000))
                assert caught.value.code is Code.RESOURCE_EXHAUSTED

    run(main())


def test_a_message_over_the_limit_is_refused() -> None:
    async def main() -> None:
        async with serving(Peer()) as target:
            async with connected(target, max_receive_bytes=1000) as channel:
                with pytest.raises(RpcError) as caught:
                    await channel.unary("/t.T/Echo", bytes(1001))
                assert caught.value.code is Code.RESOURCE_EXHAUSTED
                assert await channel.unary("/t.T/Echo", bytes(1000)) == bytes(1000)

    run(main())


def test_no_server_is_unavailable_and_safe_to_repeat() -> None:
    async def main() -> None:
        async with serving(Peer()) as target:
            pass
        async with connected(target) as channel:
            with pytest.raises(NotProcessedError) as caught:
                await channel.unary("/t.T/Echo", b"")
            assert caught.value.code is Code.UNAVAILABLE
            stream = channel.stream("/t.T/Chat")
            with pytest.raises(NotProcessedError):
                await stream.receive()

    run(main())


def test_the_next_call_after_a_restart_connects_anew() -> None:
    async def main() -> None:
        async with AsyncExitStack() as stack:
            async with serving(Peer()) as target:
                channel = await stack.enter_async_context(connected(target))
                stream = channel.stream("/t.T/Chat")
                stream.send(b"x")
                assert await stream.receive() == b"X"
            with pytest.raises(RpcError):
                await stream.receive()
            await stack.enter_async_context(serving(Peer(), address=target))
            assert await channel.unary("/t.T/Echo", b"2") == b"2"

    run(main())


def test_a_closed_channel_ends_its_calls_and_takes_no_more() -> None:
    async def main() -> None:
        async with serving(Peer()) as target, connected(target) as channel:
            stream = channel.stream("/t.T/Chat")
            stream.send(b"x")
            assert await stream.receive() == b"X"
            await channel.close()
            with pytest.raises(RpcError) as caught:
                await stream.receive()
            assert caught.value.code is Code.CANCELLED
            with pytest.raises(RpcError) as caught:
                await channel.unary("/t.T/Echo", b"")
            assert caught.value.code is Code.CANCELLED

    run(main())
