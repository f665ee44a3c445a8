"""Peers that mean harm: each is bounded and ended with the right code, the others go on."""

from __future__ import annotations

import resource
import socket
import struct
import threading
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest
from tests.wire.echo_service import EchoServer, serve
from tests.wire.h2_socket import RawClient, frame, grpc_headers, message

from sampan.loop.server_limits import ServerLimits
from sampan.wire.h2 import frames
from sampan.wire.h2.codes import PREFACE, ErrorCode
from sampan.wire.h2.headers import encode_headers
from sampan.wire.h2.settings import Limits

WAIT_S = 20
CALM = ErrorCode.ENHANCE_YOUR_CALM
OPENING = PREFACE + frames.settings([])


@pytest.fixture
def server() -> Iterator[EchoServer]:
    """A server with an innocent client on it, which must not notice anything."""
    with serve() as running:
        with grpc.insecure_channel(running.address) as channel:
            echo = channel.unary_unary("/test.Echo/Echo")
            assert echo(b"before", timeout=WAIT_S) == b"before"
            yield running
            assert echo(b"after", timeout=WAIT_S) == b"after"


def open_id(number: int) -> int:
    return 2 * number + 1


HOLD = grpc_headers("Hold")
FLOODS: dict[str, Callable[[int], bytes]] = {
    "rapid reset": lambda n: (
        frame(1, 4, open_id(n), HOLD)
        + frame(0, 1, open_id(n), message(b""))
        + frame(3, 0, open_id(n), struct.pack(">I", 8))
    ),
    "ping": lambda n: frame(6, 0, 0, struct.pack(">Q", n)),
    "settings": lambda n: frame(4, 0, 0, struct.pack(">HI", 4, 65_535 + n)),
    "settings ack": lambda n: frame(4, 1, 0),
    "priority": lambda n: frame(2, 0, 1, struct.pack(">IB", 3, 0)),
    "unknown frames": lambda n: frame(0xEE, 0, 0, b"?"),
    "malformed requests": lambda n: frame(1, 5, open_id(n), encode_headers([("x", "y")])),
}


@pytest.mark.parametrize("name", FLOODS)
def test_a_flood_of_cheap_frames_is_ended(server: EchoServer, name: str) -> None:
    with RawClient(server) as client:
        end = client.flood(FLOODS[name], 100_000)
    # A peer that goes on sending may lose the GOAWAY to a TCP reset; the server knows.
    assert end is None or end[0] is CALM
    assert server.server.stats.faults == {"ENHANCE_YOUR_CALM": 1}
    assert all(call.done for call in server.held)


def test_a_flood_of_empty_data_is_ended(server: EchoServer) -> None:
    with RawClient(server) as client:
        client.send(frame(1, 4, 1, grpc_headers("Join")))
        end = client.flood(lambda n: frame(0, 0, 1), 100_000)
    assert end is None or end[0] is CALM
    assert server.server.stats.faults == {"ENHANCE_YOUR_CALM": 1}


def test_an_endless_header_block_is_ended(server: EchoServer) -> None:
    part = b"\x00\x01a" + b"\x7f\x81\x7d" + b"b" * 16_000
    with RawClient(server) as client:
        client.send(frame(1, 1, 1, grpc_headers("Echo")))
        end = client.flood(lambda n: frame(9, 0, 1, part), 1_000)
    assert end is None or end[0] is CALM
    assert server.server.stats.faults == {"ENHANCE_YOUR_CALM": 1}


def test_a_header_block_in_tiny_continuations_is_ended(server: EchoServer) -> None:
    with RawClient(server) as client:
        client.send(frame(1, 1, 1, grpc_headers("Echo")))
        end = client.flood(lambda n: frame(9, 0, 1), 100_000)
    assert end is None or end[0] is CALM
    assert server.server.stats.faults == {"ENHANCE_YOUR_CALM": 1}


def test_an_hpack_bomb_is_ended(server: EchoServer) -> None:
    """One large header goes into the table, a few bytes then name it thousands of times."""
    value = b"v" * 3_000
    entry = (
        b"\x40\x01a" + b"\x7f" + bytes([(len(value) - 127) & 127 | 128, (len(value) - 127) >> 7])
    )
    with RawClient(server) as client:
        client.send(frame(1, 5, 1, entry + value))
        client.send(frame(1, 5, 3, grpc_headers("Echo") + b"\xbe" * 10_000))
        end = client.goaway()
    assert end is not None and end[0] is CALM


def test_a_large_header_list_is_refused_and_the_connection_goes_on(server: EchoServer) -> None:
    large = grpc_headers("Echo", *((f"h{n}", "x" * 1_000) for n in range(100)))
    with RawClient(server) as client:
        client.send(frames.headers(1, large, True, 16_384))
        client.call(3, "Echo", b"still here")
        statuses: dict[int, bytes] = {}
        while 3 not in statuses:
            item = client.read_frame()
            assert item is not None
            if item[0] == 1:
                statuses.setdefault(item[2], item[3])
    assert statuses[1] == encode_headers([(":status", "431")])


def test_compressed_messages_that_unfold_are_refused(server: EchoServer) -> None:
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    bomb = packer.compress(b"\0" * 100_000_000) + packer.flush()
    body = struct.pack(">BI", 1, len(bomb)) + bomb
    with RawClient(server) as client:
        client.send(frame(1, 4, 1, grpc_headers("Echo", ("grpc-encoding", "gzip"))))
        for start in range(0, len(body), 16_384):
            part = body[start : start + 16_384]
            client.send(frame(0, int(start + 16_384 >= len(body)), 1, part))
        while True:
            item = client.read_frame()
            assert item is not None
            if item[0] == 1:
                break
    assert encode_headers([("grpc-status", "8")]) in item[3]


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"\x00\x01\x02 garbage that is no protocol at all", ErrorCode.PROTOCOL_ERROR),
        (PREFACE + b"\xff" * 100, ErrorCode.FRAME_SIZE_ERROR),
        (PREFACE + frame(6, 0, 0, b"\0" * 8), ErrorCode.PROTOCOL_ERROR),
        (OPENING + frame(1, 5, 1, b"\xff\xff\xff\xff"), ErrorCode.COMPRESSION_ERROR),
        (OPENING + frame(0, 0, 5, b"x"), ErrorCode.PROTOCOL_ERROR),
        (OPENING + frame(8, 0, 0, struct.pack(">I", 2**31 - 1)), ErrorCode.FLOW_CONTROL_ERROR),
        (OPENING + b"\x01\x00\x00\x00\x00", None),
    ],
)
def test_garbage_gets_the_protocols_own_error(
    server: EchoServer, data: bytes, code: ErrorCode | None
) -> None:
    with RawClient(server, data) as client:
        client.socket.shutdown(socket.SHUT_WR)
        end = client.goaway()
    assert (end[0] if end else None) is code


@pytest.mark.parametrize("method", ["Chat", "Echo", "Nope"])
def test_a_call_that_begins_in_the_read_that_ends_its_connection(
    server: EchoServer, method: str
) -> None:
    head = grpc_headers(method)
    with RawClient(server) as client:
        client.send(frame(1, 4, 1, head) + frame(0, 1, 1, message(b"")))
        while (item := client.read_frame()) is not None and item[0] != 1:
            pass
        client.send(frame(1, 4, 3, head) + frame(6, 0, 0, b"short"))
        end = client.goaway()
    assert end is not None and end[0] is ErrorCode.FRAME_SIZE_ERROR
    assert sum(stats.active for stats in server.server.stats.methods.values()) == 0


def test_truncated_requests_end_with_their_connection(server: EchoServer) -> None:
    whole = frame(1, 4, 1, grpc_headers("Echo")) + frame(0, 1, 1, message(b"hello"))
    for size in range(len(whole)):
        with RawClient(server, OPENING + whole[:size]):
            pass
    peak_until_closed(server, left=1)
    assert server.server.stats.methods["/test.Echo/Echo"].active == 0


@pytest.mark.parametrize("data", [b"", PREFACE[:10], PREFACE, OPENING + b"\0\0\x05\x01"])
def test_half_open_connections_time_out(data: bytes) -> None:
    with serve(ServerLimits(handshake_timeout_s=0.2, partial_timeout_s=0.2)) as server:
        with RawClient(server, data) as client:
            end = client.goaway()
        # Without a preface there is nobody to talk HTTP/2 to.
        assert end is None or end[0] is CALM
        assert (end is None) == (len(data) < len(PREFACE))
        peak_until_closed(server)


def test_a_slowly_dripping_frame_times_out() -> None:
    with serve(ServerLimits(partial_timeout_s=0.3)) as server:
        with RawClient(server) as client:
            client.send(b"\0\x10\0\0\0\0\0\0\x01")
            client.socket.settimeout(0.05)
            ended = False
            for _ in range(200):
                try:
                    client.send(b"x")
                    ended = client.read_frame() is None
                except TimeoutError:
                    continue
                except OSError:
                    ended = True
                if ended:
                    break
        assert ended and server.server.stats.faults == {"ENHANCE_YOUR_CALM": 1}


def memory_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def peak_until_closed(server: EchoServer, left: int = 0) -> int:
    """Wait until all but `left` connections are gone; return the most memory seen meanwhile."""
    peak, tick = memory_bytes(), threading.Event()
    while server.call(lambda: server.server.stats.open_connections) > left:
        tick.wait(0.01)
        peak = max(peak, memory_bytes())
    return peak


def test_a_reader_of_nothing_is_bounded_by_its_windows(server: EchoServer) -> None:
    """Default windows, never widened: answers wait, further streams are refused."""
    limits = ServerLimits(http2=Limits(queued_bytes=8 * 1024 * 1024))
    with serve(limits) as small, RawClient(small) as client:
        before = memory_bytes()
        refused = 0
        for number in range(100):
            client.call(open_id(number), "Blob", b"1000000")
        client.send(frame(6, 0, 0, b"lastping"))
        while (item := client.read_frame()) is not None and item[0] != 6:
            refused += item[0] == 3 and item[3] == struct.pack(">I", ErrorCode.REFUSED_STREAM)
        assert refused >= 90
        assert memory_bytes() - before < 64 * 1024 * 1024


def test_a_reader_of_nothing_with_open_windows_is_cut_off() -> None:
    """Windows of 2 GiB, nothing read: the socket fills, answers wait, the server gives up."""
    limits = ServerLimits(http2=Limits(queued_bytes=8 * 1024 * 1024), stall_timeout_s=0.5)
    opening = PREFACE + frames.settings([(4, 2**31 - 1)]) + frames.window_update(0, 2**30)
    with serve(limits) as server, RawClient(server, opening) as client:
        before = memory_bytes()
        for number in range(200):
            client.call(open_id(number), "Blob", b"1000000")
        assert peak_until_closed(server) - before < 64 * 1024 * 1024


def test_a_stream_to_a_reader_of_nothing_waits_and_is_cut_off() -> None:
    limits = ServerLimits(stall_timeout_s=0.5)
    opening = PREFACE + frames.settings([(4, 2**31 - 1)]) + frames.window_update(0, 2**30)
    with serve(limits) as server, RawClient(server, opening) as client:
        before = memory_bytes()
        client.call(1, "Flood", b"")
        assert peak_until_closed(server) - before < 64 * 1024 * 1024


def test_a_last_word_to_a_reader_of_nothing_is_not_waited_for() -> None:
    limits = ServerLimits(handshake_timeout_s=0.3)
    opening = PREFACE + frames.settings([(4, 2**31 - 1)]) + frames.window_update(0, 2**30)
    with serve(limits) as server, RawClient(server, opening) as client:
        client.call(1, "Flood", b"")
        client.send(frame(0, 0, 0, b"x"))
        peak_until_closed(server)
        assert server.server.stats.faults == {"PROTOCOL_ERROR": 1}


def test_incomplete_requests_are_bounded_together() -> None:
    limits = ServerLimits(partial_request_bytes=1_000_000)
    with serve(limits) as server, RawClient(server) as client:
        part = struct.pack(">BI", 0, 1_000_000) + b"x" * 16_000
        refused = 0
        for number, method in zip(range(100), ["Echo", "Unread"] * 50, strict=True):
            client.send(frame(1, 4, open_id(number), grpc_headers(method)))
            client.send(frame(0, 0, open_id(number), part))
        client.call(201, "Echo", b"through")
        while (item := client.read_frame()) is not None and item[0] != 0:
            refused += item[0] == 1 and encode_headers([("grpc-status", "8")]) in item[3]
        assert item is not None and item[3] == message(b"through")
        assert refused == 100 - 62
        held = [server.server.stats.methods[method].active for method in METHODS]
        assert sum(held) == 62


METHODS = ["/test.Echo/Echo", "/test.Echo/Unread"]


def test_a_reader_of_nothing_cannot_make_the_server_collect_ping_answers() -> None:
    """Work between the pings makes them free of charge; the socket's bound holds all the same."""
    limits = ServerLimits(control_buffer_bytes=100_000, socket_buffer_bytes=64 * 1024)
    with serve(limits) as server, RawClient(server) as client:
        ping = frame(6, 0, 0, b"\0" * 8)
        with pytest.raises(OSError):
            number = 0
            while True:
                client.send(b"".join(ping + frames.window_update(0, 1) for _ in range(1_000)))
                number += 1
                assert number < 10_000
        peak_until_closed(server)


def test_unread_messages_stop_their_sender(server: EchoServer) -> None:
    """A handler that does not read holds a window's worth, and not the connection's others."""
    window = Limits().stream_window_bytes
    with RawClient(server) as client:
        client.send(frame(1, 4, 1, grpc_headers("Unread")))
        piece = message(b"x" * 10_000)
        for _ in range(window // len(piece)):
            client.send(frame(0, 0, 1, piece))
        client.call(3, "Echo", b"through")
        credited = 0
        while True:
            item = client.read_frame()
            assert item is not None
            if item[0] == 8 and item[2] == 1:
                credited += struct.unpack(">I", item[3])[0]
            if item[0] == 0 and item[2] == 3:
                break
        assert item[3] == message(b"through")
        assert credited <= window


def test_pings_more_often_than_allowed_are_ended() -> None:
    with serve(ServerLimits(keepalive_min_time_s=60)) as server, RawClient(server) as client:
        client.call(1, "Hold", b"")
        for number in range(5):
            client.send(frame(6, 0, 0, struct.pack(">Q", number)))
        assert client.goaway() == (CALM, "too_many_pings")


def test_a_ping_with_every_message_received_is_allowed() -> None:
    """As Go clients probe the bandwidth; a window given back hides no message."""
    said = message(b"hello")
    with serve(ServerLimits(keepalive_min_time_s=60)) as server, RawClient(server) as client:
        client.send(frame(1, 4, 1, grpc_headers("Chat")))
        for _ in range(10):
            client.send(frame(0, 0, 1, said))
            while (item := client.read_frame()) is not None and item[0] != 0:
                assert item[0] != 7, "GOAWAY"
            client.send(frames.window_update(0, len(said)) + frame(6, 0, 0, b"probing "))
            while (item := client.read_frame()) is not None and item[0] != 6:
                assert item[0] != 7, "GOAWAY"
            assert item is not None


def test_a_silent_client_is_pinged_and_dropped() -> None:
    limits = ServerLimits(keepalive_interval_s=0.1, keepalive_timeout_s=0.2)
    with serve(limits) as server, RawClient(server) as client:
        pings = 0
        while (item := client.read_frame()) is not None:
            pings += item[0] == 6
        assert pings == 1


def test_a_client_that_answers_pings_stays() -> None:
    limits = ServerLimits(keepalive_interval_s=0.1, keepalive_timeout_s=5)
    with serve(limits) as server, RawClient(server) as client:
        for _ in range(5):
            while (item := client.read_frame()) is not None and item[0] != 6:
                pass
            assert item is not None
            client.send(frame(6, 1, 0, item[3]))
        client.call(1, "Echo", b"alive")
        while (item := client.read_frame()) is not None and item[0] != 0:
            pass
        assert item is not None and item[3] == message(b"alive")
