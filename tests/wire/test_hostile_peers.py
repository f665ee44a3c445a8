"""Strangers at the peer port: each is refused with a reason, and the members go on."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterator
from typing import TypeVar

import pytest
from tests.cluster import Cluster, call
from tests.wire.cluster_ctl import PACE

from sampan.loop.channel import Channel, ClientStream
from sampan.store.core.greeting import Identity, greet
from sampan.store.pb import peer_pb2 as pb
from sampan.store.pb import rpc_pb2
from sampan.wire.grpc.status import Code, RpcError

MESSAGES, SNAPSHOT = "/sampan.peer.v1.Peer/Messages", "/sampan.peer.v1.Peer/Snapshot"
NOW_MS = 1_700_000_000_000
T = TypeVar("T")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with Cluster(tmp_path_factory.mktemp("hostile"), PACE) as three:
        assert put(three)
        yield three


@pytest.fixture(autouse=True)
def still_served(cluster: Cluster) -> Iterator[None]:
    """Whatever a test did, the same members serve as before, under the same leader."""
    before = status(cluster)
    yield
    assert put(cluster)
    after = status(cluster)
    assert (after.leader, after.raftTerm) == (before.leader, before.raftTerm)


def put(cluster: Cluster) -> bool:
    request = rpc_pb2.PutRequest(key=b"k", value=b"v")
    return call(cluster.address(0), "KV/Put", request, rpc_pb2.PutResponse, 20) is not None


def status(cluster: Cluster) -> rpc_pb2.StatusResponse:
    request = rpc_pb2.StatusRequest()
    found = call(cluster.address(0), "Maintenance/Status", request, rpc_pb2.StatusResponse)
    assert found is not None
    return found


def peer_address(cluster: Cluster) -> str:
    return cluster.founders.split(",")[0].partition("://")[2]


def me(cluster: Cluster) -> Identity:
    header = status(cluster).header
    return Identity(header.cluster_id, header.member_id)


def talk(cluster: Cluster, path: str, dialogue: Callable[[ClientStream], Awaitable[T]]) -> T:
    """Open a stream to the first member's peer port and talk."""

    async def run() -> T:
        channel = Channel(peer_address(cluster))
        try:
            async with asyncio.timeout(20):
                return await dialogue(channel.stream(path))
        finally:
            await channel.close()

    return asyncio.run(run())


def refused(cluster: Cluster, path: str, *pieces: pb.Packet | pb.SnapshotPiece | bytes) -> RpcError:
    """What a stream ends with that sends these pieces."""

    async def dialogue(stream: ClientStream) -> RpcError:
        for piece in pieces:
            stream.send(piece if isinstance(piece, bytes) else piece.SerializeToString())
        try:
            while await stream.receive() is not None:
                pass
        except RpcError as error:
            return error
        raise AssertionError("it was not refused")

    return talk(cluster, path, dialogue)


def greeting(three: Cluster, **changes: int) -> pb.Greeting:
    """A right greeting of one that calls itself member 5, but for the changes."""
    found = greet(Identity(me(three).cluster_id, 5), me(three).member_id, NOW_MS)
    for name, value in changes.items():
        setattr(found, name, value)
    return found


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"cluster": 7}, "cluster ID mismatch: the sender is of cluster 7"),
        ({"receiver": 9}, "member ID mismatch: meant for 9"),
        ({"oldest": 8, "newest": 9}, "speaks versions 8 to 9"),
    ],
)
def test_whom_a_member_does_not_speak_to(
    cluster: Cluster, change: dict[str, int], reason: str
) -> None:
    wrong = greeting(cluster, **change)
    error = refused(cluster, MESSAGES, pb.Packet(greeting=wrong))
    assert error.code is Code.FAILED_PRECONDITION and reason in error.message
    error = refused(cluster, SNAPSHOT, pb.SnapshotPiece(greeting=wrong))
    assert error.code is Code.FAILED_PRECONDITION and reason in error.message


def test_frames_that_no_member_sends(cluster: Cluster) -> None:
    hello, mine = pb.Packet(greeting=greeting(cluster)), me(cluster).member_id
    long = pb.Run(term=1, first_index=1, type=0, lengths=[1 << 30], data=b"x")
    cases: dict[str, bytes] = {
        "not a Packet": b"\xff\xff",
        "a message for 63": frame(pb.Message(type=9, to=99)),
        "message type 200": frame(pb.Message(type=200, to=mine)),
        "a message of 6 came from 5": frame(pb.Message(type=2, to=mine, sender=6)),
        "do not add up": frame(pb.Message(type=2, to=mine, runs=[long])),
    }
    for reason, data in cases.items():
        error = refused(cluster, MESSAGES, hello, data)
        assert error.code is Code.INVALID_ARGUMENT, error
        assert reason in error.message


def frame(message: pb.Message) -> bytes:
    return pb.Packet(frame=pb.Frame(messages=[message])).SerializeToString()


def test_a_frame_beyond_all_bounds_is_refused_before_it_is_there(cluster: Cluster) -> None:
    """Its length alone is enough: nothing of it is kept."""

    async def dialogue(stream: ClientStream) -> RpcError:
        stream.send(pb.Packet(greeting=greeting(cluster)).SerializeToString())
        assert await stream.receive() is not None
        stream.send(bytes(200 << 20))
        with pytest.raises(RpcError) as caught:
            await stream.receive()
        return caught.value

    assert talk(cluster, MESSAGES, dialogue).code is Code.RESOURCE_EXHAUSTED


def test_old_and_foreign_messages_change_nothing(cluster: Cluster) -> None:
    """Of earlier terms, of members that are none; answered or not, they must not disturb."""

    async def dialogue(stream: ClientStream) -> None:
        stream.send(pb.Packet(greeting=greeting(cluster)).SerializeToString())
        assert await stream.receive() is not None
        mine = me(cluster).member_id
        for kind in range(2, 15):
            if kind != 8:  # a snapshot has a call of its own
                stream.send(frame(pb.Message(type=kind, to=mine, sender=5, term=1, index=1 << 60)))
        stream.close_send()
        assert await stream.receive() is None

    talk(cluster, MESSAGES, dialogue)


def test_a_snapshot_that_is_cut_off_or_damaged_leaves_nothing(cluster: Cluster) -> None:
    mark = pb.SnapshotMark(index=1 << 40, term=1, conf_state=pb.ConfState(voters=[5]))
    message = pb.Message(type=8, to=me(cluster).member_id, sender=5, term=1, snapshot=mark)
    begin = (
        pb.SnapshotPiece(greeting=greeting(cluster)),
        pb.SnapshotPiece(message=message),
        pb.SnapshotPiece(block=b"not a database" * 1000),
    )
    error = refused(cluster, SNAPSHOT, *begin, pb.SnapshotPiece(sha256=bytes(32)))
    assert error.code is Code.DATA_LOSS

    async def cut(stream: ClientStream) -> None:
        for piece in begin:
            stream.send(piece.SerializeToString())
        stream.close_send()
        with pytest.raises(RpcError, match="ended too early"):
            await stream.receive()

    talk(cluster, SNAPSHOT, cut)
    left = [path.name for path in (cluster.servers[0].data_dir / "member").rglob("incoming*")]
    assert left == []


@pytest.mark.parametrize(
    "noise", [b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\x00\x01", bytes(100_000)]
)
def test_what_is_no_conversation_of_members_is_ended(cluster: Cluster, noise: bytes) -> None:
    host, _, port = peer_address(cluster).rpartition(":")
    with socket.create_connection((host, int(port)), timeout=20) as stranger:
        stranger.sendall(noise)
        stranger.shutdown(socket.SHUT_WR)
        while stranger.recv(65536):
            pass
