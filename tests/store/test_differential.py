"""The same random operations against a real etcd and ours: every answer is compared by field."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest
from tests import real
from tests.servers import PEERS, SAMPAN, Flavour, Server
from tests.store.differential import Call, Draw, Outcome, Player, same

from sampan.store.pb import rpc_pb2 as pb

pytestmark = pytest.mark.real

OPERATIONS = 400


@pytest.fixture(scope="module", params=PEERS)
def peer(request: pytest.FixtureRequest) -> Flavour:
    return PEERS[request.param](real.require(request.param))


@contextmanager
def pair(peer: Flavour, place: Path) -> Iterator[tuple[Player, Player]]:
    other = os.environ.get("SAMPAN_SUBJECT")
    subject = SAMPAN if other is None else Flavour("subject", (other,))
    with Server(peer, place / "peer") as theirs, Server(subject, place / "ours") as ours:
        players = Player(theirs.address), Player(ours.address)
        try:
            yield players
        finally:
            for player in players:
                player.close()


def describe(seed: int, number: int, call: Call, expected: Outcome, got: Outcome) -> str:
    return (
        f"seed {seed}, operation {number}: {call.method}\n{call.request}\n"
        f"--- etcd: {expected.error or expected.response}\n--- ours: {got.error or got.response}"
    )


def replay(seed: int, peer: Flavour, place: Path, operations: int) -> None:
    with pair(peer, place) as (theirs, ours):
        draw, reached = Draw(seed), 1
        for number in range(operations):
            call = draw.call(reached)
            expected, got = theirs.send(call), ours.send(call)
            assert same(expected, got, peer.name), describe(seed, number, call, expected, got)
            if expected.response is not None:
                reached = max(reached, expected.response.header.revision)
        everything = Call("/etcdserverpb.KV/Range", pb.RangeRequest(key=b"\0", range_end=b"\0"))
        assert same(theirs.send(everything), ours.send(everything), peer.name)
        assert watched(theirs, reached) == watched(ours, reached)


def watched(player: Player, reached: int) -> list[str]:
    """Every event that a watch from each revision delivers up to `reached`, or the cancellation."""
    seen = []
    method = player.channel.stream_stream(
        "/etcdserverpb.Watch/Watch",
        request_serializer=pb.WatchRequest.SerializeToString,
        response_deserializer=pb.WatchResponse.FromString,
    )
    last = pb.PutRequest(key=b"last", value=b"")
    assert player.send(Call("/etcdserverpb.KV/Put", last)).error is None
    for back in (2, 10, 30, 60):
        create = pb.WatchCreateRequest(
            key=b"\0", range_end=b"\0", start_revision=max(1, reached - back), prev_kv=back == 30
        )
        stream = method(iter([pb.WatchRequest(create_request=create)]), timeout=20)
        seen.append(f"from {create.start_revision}")
        try:
            seen += until_last(stream, with_previous=back == 30)
        finally:
            stream.cancel()
    return seen


def until_last(stream: Iterator[pb.WatchResponse], with_previous: bool) -> Iterator[str]:
    for answer in stream:
        if answer.canceled:
            yield f"canceled at {answer.compact_revision}: {answer.cancel_reason}"
            return
        for event in answer.events:
            yield f"{event}"
            if event.kv.key == b"last":
                return


@pytest.mark.parametrize("seed", range(2))
def test_answers_are_those_of_etcd(seed: int, peer: Flavour, tmp_path: Path) -> None:
    replay(seed, peer, tmp_path, OPERATIONS)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", range(100, 140))
def test_answers_are_those_of_etcd_for_long(seed: int, peer: Flavour, tmp_path: Path) -> None:
    replay(seed, peer, tmp_path, 2000)


def stream_of(player: Player, *requests: pb.WatchRequest) -> grpc.Call:
    method = player.channel.stream_stream(
        "/etcdserverpb.Watch/Watch",
        request_serializer=pb.WatchRequest.SerializeToString,
        response_deserializer=pb.WatchResponse.FromString,
    )
    return method(iter(requests), timeout=10)


@pytest.mark.parametrize(
    "create",
    [
        pytest.param(pb.WatchCreateRequest(key=b"a", start_revision=3), id="compacted"),
        pytest.param(pb.WatchCreateRequest(key=b"a", watch_id=7), id="own-id"),
        pytest.param(pb.WatchCreateRequest(key=b"b", range_end=b"a"), id="empty-range"),
        pytest.param(pb.WatchCreateRequest(key=b"a", start_revision=1000), id="future"),
        pytest.param(pb.WatchCreateRequest(key=b"", range_end=b""), id="empty-key"),
    ],
)
def test_the_first_answers_of_a_watch_are_those_of_etcd(
    create: pb.WatchCreateRequest, peer: Flavour, tmp_path: Path
) -> None:
    with pair(peer, tmp_path) as players:
        answers = []
        for player in players:
            for number in range(6):
                put = pb.PutRequest(key=b"a", value=b"%d" % number)
                assert player.send(Call("/etcdserverpb.KV/Put", put)).error is None
            compact = pb.CompactionRequest(revision=5, physical=True)
            assert player.send(Call("/etcdserverpb.KV/Compact", compact)).error is None
            stream = stream_of(player, pb.WatchRequest(create_request=create))
            first = []
            for answer in stream:
                answer.header.ClearField("cluster_id")
                answer.header.ClearField("member_id")
                answer.header.ClearField("raft_term")
                first.append(str(answer))
                if answer.canceled or create.start_revision != 3:
                    break
            stream.cancel()
            answers.append(first)
        assert answers[0] == answers[1]
