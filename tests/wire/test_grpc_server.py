"""Google's own client against our server: every shape of call, and every way a call can end."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import grpc
import pytest
from tests.wire.echo_service import EchoServer, serve

from sampan.loop.server_limits import ServerLimits
from sampan.wire.h2.settings import Limits

pytestmark = pytest.mark.real
WAIT_S = 20


@pytest.fixture
def server() -> Iterator[EchoServer]:
    with serve() as running:
        yield running


@pytest.fixture
def channel(server: EchoServer) -> Iterator[grpc.Channel]:
    options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    with grpc.insecure_channel(server.address, options) as channel:
        yield channel


def failure(call: grpc.RpcError) -> tuple[grpc.StatusCode, str]:
    return call.code(), call.details()


@pytest.mark.parametrize("size", [0, 1, 5, 16_379, 16_384, 65_536, 1_500_000])
def test_unary_echo_of_any_size(channel: grpc.Channel, size: int) -> None:
    message = bytes(range(256)) * (size // 256 + 1)
    assert channel.unary_unary("/test.Echo/Echo")(message[:size], timeout=WAIT_S) == message[:size]


def test_many_unary_calls_at_once(server: EchoServer, channel: grpc.Channel) -> None:
    echo = channel.unary_unary("/test.Echo/Echo")
    calls = [(b"%d" % n, echo.future(b"%d" % n, timeout=WAIT_S)) for n in range(300)]
    assert all(call.result() == expected for expected, call in calls)
    stats = server.server.stats.methods["/test.Echo/Echo"]
    assert (stats.started, stats.handled[0], stats.active) == (300, 300, 0)


def test_a_large_answer_passes_flow_control(channel: grpc.Channel) -> None:
    answer = channel.unary_unary("/test.Echo/Blob")(b"20000000", timeout=WAIT_S)
    assert answer == b"b" * 20_000_000


def test_server_streaming_with_initial_metadata(channel: grpc.Channel) -> None:
    call = channel.unary_stream("/test.Echo/Count")(b"500", timeout=WAIT_S)
    assert ("initial", "yes") in [tuple(pair) for pair in call.initial_metadata()]
    assert list(call) == [b"%d" % number for number in range(500)]
    assert call.code() is grpc.StatusCode.OK


def test_client_streaming(channel: grpc.Channel) -> None:
    parts = [b"%d," % number for number in range(500)]
    assert channel.stream_unary("/test.Echo/Join")(iter(parts), timeout=WAIT_S) == b"".join(parts)


def test_client_streaming_of_large_messages(channel: grpc.Channel) -> None:
    parts = [b"p" * 400_000] * 10
    joined = channel.stream_unary("/test.Echo/Join")(iter(parts), timeout=WAIT_S)
    assert joined == b"".join(parts)


def test_bidirectional_streaming_in_lockstep(channel: grpc.Channel) -> None:
    turn = threading.Semaphore(1)

    def requests() -> Iterator[bytes]:
        for number in range(50):
            assert turn.acquire(timeout=WAIT_S)
            yield b"%d" % number

    answers = []
    for answer in channel.stream_stream("/test.Echo/Chat")(requests(), timeout=WAIT_S):
        answers.append(answer)
        turn.release()
    assert answers == [b"%d" % number for number in range(50)]


def test_status_message_and_trailers_arrive_as_sent(channel: grpc.Channel) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary("/test.Echo/Fail")(b"", timeout=WAIT_S)
    assert failure(caught.value) == (
        grpc.StatusCode.FAILED_PRECONDITION,
        "100% né, zeile\nzwei",
    )
    trailers = [tuple(pair) for pair in caught.value.trailing_metadata()]
    assert ("why", "x") in trailers and ("raw-bin", b"\x00\xff") in trailers


def test_a_stream_may_fail_after_messages(channel: grpc.Channel) -> None:
    call = channel.stream_stream("/test.Echo/Chat")(iter([b"a", b"fail", b"b"]), timeout=WAIT_S)
    received = []
    with pytest.raises(grpc.RpcError) as caught:
        received.extend(call)
        received.extend(call)
    assert failure(caught.value) == (grpc.StatusCode.ABORTED, "as you wish")


def test_a_crashing_handler_is_an_internal_error(channel: grpc.Channel) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary("/test.Echo/Crash")(b"", timeout=WAIT_S)
    assert caught.value.code() is grpc.StatusCode.INTERNAL
    assert channel.unary_unary("/test.Echo/Echo")(b"ok", timeout=WAIT_S) == b"ok"


@pytest.mark.parametrize(
    ("path", "details"),
    [
        ("/test.Echo/Nope", "unknown method Nope for service test.Echo"),
        ("/test.Nope/Echo", "unknown service test.Nope"),
    ],
)
def test_unknown_methods(channel: grpc.Channel, path: str, details: str) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary(path)(b"", timeout=WAIT_S)
    assert failure(caught.value) == (grpc.StatusCode.UNIMPLEMENTED, details)


def test_metadata_reaches_the_handler(server: EchoServer, channel: grpc.Channel) -> None:
    sent = [("token", "t/1 2"), ("blob-bin", bytes(range(256))), ("twice", "a"), ("twice", "b")]
    channel.unary_unary("/test.Echo/Echo")(b"", metadata=sent, timeout=WAIT_S)
    seen = [pair for pair in server.seen_metadata if pair[0] != "user-agent"]
    assert seen == sent


def test_the_server_ends_a_call_at_its_deadline(server: EchoServer, channel: grpc.Channel) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary("/test.Echo/Hold")(b"", timeout=0.1)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert server.ended.wait(WAIT_S) and server.held[0].done


def test_a_cancelled_unary_call_is_told(server: EchoServer, channel: grpc.Channel) -> None:
    call = channel.unary_unary("/test.Echo/Hold").future(b"", timeout=WAIT_S)
    assert server.started.wait(WAIT_S)
    call.cancel()
    assert server.ended.wait(WAIT_S) and server.held[0].done


def test_a_cancelled_stream_cancels_its_handler(server: EchoServer, channel: grpc.Channel) -> None:
    feeding = threading.Event()

    def requests() -> Iterator[bytes]:
        yield b"one"
        feeding.wait(WAIT_S)

    call = channel.stream_stream("/test.Echo/Chat")(requests(), timeout=WAIT_S)
    assert next(call) == b"one"
    call.cancel()
    feeding.set()
    assert server.ended.wait(WAIT_S)


def test_a_lost_connection_ends_its_calls(server: EchoServer) -> None:
    with grpc.insecure_channel(server.address) as channel:
        call = channel.unary_unary("/test.Echo/Hold").future(b"", timeout=WAIT_S)
        assert server.started.wait(WAIT_S)
    assert server.ended.wait(WAIT_S)
    assert call.code() is grpc.StatusCode.CANCELLED


def test_compressed_requests_get_compressed_answers(server: EchoServer) -> None:
    message = b"squeeze me " * 100_000
    with grpc.insecure_channel(server.address, compression=grpc.Compression.Gzip) as channel:
        assert channel.unary_unary("/test.Echo/Echo")(message, timeout=WAIT_S) == message
        parts = [message, b"", b"short"]
        chat = channel.stream_stream("/test.Echo/Chat")
        assert list(chat(iter(parts), timeout=WAIT_S)) == parts
    assert server.server.stats.bytes_received < len(message) // 10
    assert server.server.stats.bytes_sent < len(message) // 10


def test_a_compression_bomb_is_refused(server: EchoServer) -> None:
    options = [("grpc.max_send_message_length", -1)]
    with grpc.insecure_channel(
        server.address, options, compression=grpc.Compression.Gzip
    ) as channel:
        with pytest.raises(grpc.RpcError) as caught:
            channel.unary_unary("/test.Echo/Echo")(b"\0" * 50_000_000, timeout=WAIT_S)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_too_large_a_message_is_refused_with_both_sizes(channel: grpc.Channel) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary("/test.Echo/Echo")(b"x" * 2_097_153, timeout=WAIT_S)
    assert failure(caught.value) == (
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        "grpc: received message larger than max (2097153 vs. 2097152)",
    )


def test_more_calls_than_streams_wait_their_turn() -> None:
    with serve(ServerLimits(http2=Limits(max_concurrent_streams=5))) as server:
        with grpc.insecure_channel(server.address) as channel:
            echo = channel.unary_unary("/test.Echo/Echo")
            calls = [echo.future(b"x", timeout=WAIT_S) for _ in range(100)]
            assert all(call.result() == b"x" for call in calls)


def test_a_graceful_close_finishes_open_calls(server: EchoServer, channel: grpc.Channel) -> None:
    call = channel.unary_unary("/test.Echo/Hold").future(b"", timeout=WAIT_S)
    assert server.started.wait(WAIT_S)
    closing = threading.Thread(target=server.stop, args=(WAIT_S,))
    closing.start()
    server.loop.call_soon_threadsafe(lambda: server.held[0].reply(b"in time"))
    assert call.result() == b"in time"
    closing.join(WAIT_S)
    assert not closing.is_alive()
