"""Bad input and bad surroundings: etcd's own errors, clear words, and nobody else is harmed."""

from __future__ import annotations

import json
import os
import random
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from tests import real
from tests.servers import SAMPAN, Server, StartError, debian_etcd
from tests.store.differential import Call, Outcome, Player

from sampan.store.pb import rpc_pb2 as pb

REQUEST_BYTES = 1572864
PUT = "/etcdserverpb.KV/Put"
RANGE = "/etcdserverpb.KV/Range"
TXN = "/etcdserverpb.KV/Txn"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(SAMPAN, tmp_path_factory.mktemp("faults") / "data") as running:
        yield running


@pytest.fixture
def player(server: Server) -> Iterator[Player]:
    player = Player(server.address)
    yield player
    player.close()


def put(key: bytes, value: bytes) -> Call:
    return Call(PUT, pb.PutRequest(key=key, value=value))


def works(player: Player) -> bool:
    """Whether a write and a read of it succeed."""
    value = b"%d" % random.getrandbits(64)
    player.send(put(b"works", value))
    outcome = player.send(Call(RANGE, pb.RangeRequest(key=b"works")))
    return outcome.response is not None and outcome.response.kvs[0].value == value


LARGE = [
    pytest.param(put(b"k", b"x" * (REQUEST_BYTES - 100)), id="just-fits"),
    pytest.param(put(b"k", b"x" * REQUEST_BYTES), id="too-large"),
    pytest.param(put(b"k" * REQUEST_BYTES, b""), id="key-too-large"),
    pytest.param(put(b"k", b"x" * (REQUEST_BYTES + 600_000)), id="larger-than-a-message"),
    pytest.param(
        Call(
            TXN,
            pb.TxnRequest(
                success=[
                    pb.RequestOp(request_put=pb.PutRequest(key=b"%d" % i, value=b"x" * 400_000))
                    for i in range(4)
                ]
            ),
        ),
        id="transaction",
    ),
]


@pytest.mark.real
@pytest.mark.parametrize("call", LARGE)
def test_large_requests_are_answered_as_by_etcd(call: Call, player: Player, tmp_path: Path) -> None:
    with Server(debian_etcd(real.require("etcd")), tmp_path / "peer") as peer:
        theirs = Player(peer.address)
        expected, got = theirs.send(call), player.send(call)
        theirs.close()
    assert got.error == expected.error
    assert works(player)


def test_a_put_cannot_keep_what_its_transaction_deleted(player: Player) -> None:
    """A real etcd crashes on this."""
    player.send(put(b"kept", b"1"))
    delete = pb.DeleteRangeRequest(key=b"k", range_end=b"\0")
    again = pb.PutRequest(key=b"kept", ignore_value=True)
    ops = [pb.RequestOp(request_delete_range=delete), pb.RequestOp(request_put=again)]
    outcome = player.send(Call(TXN, pb.TxnRequest(success=ops)))
    assert outcome == Outcome(None, ("INVALID_ARGUMENT", "etcdserver: key not found"))
    found = player.send(Call(RANGE, pb.RangeRequest(key=b"kept"))).response
    assert found.kvs[0].value == b"1"


@pytest.mark.parametrize("seed", range(5))
def test_garbage_on_the_port_harms_nobody_else(seed: int, server: Server, player: Player) -> None:
    dice = random.Random(seed)
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    openings = [
        b"",
        preface,
        preface + b"\0\0\0\4\0\0\0\0\0",
        b"GET / HTTP/1.1\r\n",
        b"\x16\x03\x01",
    ]
    for opening in openings:
        with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
            try:
                connection.sendall(opening + dice.randbytes(dice.randrange(1, 5000)))
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(65536):
                    pass
            except ConnectionError:
                pass  # refused with a reset is fine, too
        assert works(player)


@pytest.mark.parametrize("body", [b"\xff" * 20, b"\x0a\xff\xff\xff\xff\x0f", b"\x08"])
@pytest.mark.parametrize("method", [PUT, RANGE, TXN])
def test_bytes_that_are_no_message_are_an_error(
    method: str, body: bytes, server: Server, player: Player
) -> None:
    with grpc.insecure_channel(server.address) as channel:
        with pytest.raises(grpc.RpcError) as caught:
            channel.unary_unary(method)(body, timeout=10)
        assert caught.value.code() in (grpc.StatusCode.INTERNAL, grpc.StatusCode.INVALID_ARGUMENT)
    assert works(player)


# ---- the data directory


def refused(server: Server) -> str:
    """What a server says that must not start."""
    with pytest.raises(StartError):
        server.start()
    return server.text()


def test_a_data_directory_in_use_is_refused(server: Server) -> None:
    text = refused(Server(SAMPAN, server.data_dir))
    assert str(server.data_dir) in text and "Traceback" not in text


def test_a_newer_format_is_refused(tmp_path: Path) -> None:
    with Server(SAMPAN, tmp_path / "data"):
        pass
    file = tmp_path / "data" / "format.json"
    content = json.loads(file.read_text())
    newer = {
        key: value + 1000 if isinstance(value, int) else value for key, value in content.items()
    }
    file.write_text(json.dumps(newer))
    text = refused(Server(SAMPAN, tmp_path / "data"))
    assert "format" in text and "Traceback" not in text


def test_the_log_of_another_cluster_is_refused(tmp_path: Path) -> None:
    for name in ("one", "two"):
        flags = [f"--initial-cluster-token={name}"]
        with Server(SAMPAN, tmp_path / name, flags) as server:
            player = Player(server.address)
            player.send(put(b"k", name.encode()))
            player.close()
    for path in (tmp_path / "one").rglob("*.wal"):
        path.unlink()
    for path in (tmp_path / "two").rglob("*.wal"):
        path.rename(tmp_path / "one" / path.relative_to(tmp_path / "two"))
    text = refused(Server(SAMPAN, tmp_path / "one"))
    assert "cluster" in text and "Traceback" not in text


def test_damage_in_the_middle_is_refused_by_file_and_offset_and_can_be_repaired(
    tmp_path: Path,
) -> None:
    data = tmp_path / "data"
    with Server(SAMPAN, data) as server:
        player = Player(server.address)
        for number in range(200):
            player.send(put(b"k%d" % number, b"v" * 100))
        player.close()
    (segment,) = data.rglob("*.wal")
    content = bytearray(segment.read_bytes())
    used = len(bytes(content).rstrip(b"\0"))
    content[used // 2] ^= 0xFF
    segment.write_bytes(content)
    text = refused(Server(SAMPAN, data))
    assert str(segment) in text and "offset" in text and "repair" in text
    argv = [*SAMPAN.command, "repair", f"--data-dir={data}", f"--to={tmp_path / 'saved'}"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    with Server(SAMPAN, tmp_path / "saved") as server:
        player = Player(server.address)
        assert works(player)
        player.close()


# ---- disk full


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 MiB."""
    place = tmp_path / "disk"
    place.mkdir()
    if os.geteuid() != 0:
        pytest.skip("needs root to mount a small file system")
    mount = ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(place)]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"cannot mount a small file system: {done.stderr.strip()}")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_full_disk_stops_writes_and_nothing_else(small_disk: Path) -> None:
    ballast = small_disk / "ballast"
    ballast.write_bytes(b"x" * (44 << 20))
    with Server(SAMPAN, small_disk / "data") as server:
        player = Player(server.address)
        acknowledged, error = fill_up(player)
        assert error == ("RESOURCE_EXHAUSTED", "etcdserver: mvcc: database space exceeded"), (
            server.text()
        )
        assert "free space" in server.until("NOSPACE")
        expect(player, acknowledged)
        ballast.unlink()
        disarm(server)
        assert works(player)
        player.close()
        server.kill()
        server.start()
        player = Player(server.address)
        expect(player, acknowledged)
        assert works(player)
        player.close()


def fill_up(player: Player) -> tuple[dict[bytes, bytes], tuple[str, str] | None]:
    """Put until it fails; returns what was acknowledged and the error."""
    acknowledged: dict[bytes, bytes] = {}
    for number in range(200):
        key, value = b"full%03d" % number, random.Random(number).randbytes(300_000)
        outcome = player.send(put(key, value))
        if outcome.error:
            return acknowledged, outcome.error
        acknowledged[key] = value
    raise AssertionError("60 MB went onto a disk with 20 MiB free")


def expect(player: Player, acknowledged: dict[bytes, bytes]) -> None:
    for key, value in acknowledged.items():
        found = player.send(Call(RANGE, pb.RangeRequest(key=key)))
        assert found.error is None
        assert [kv.value for kv in found.response.kvs] == [value]


def disarm(server: Server) -> None:
    """Disarm the alarm; there is none when not even that fitted on the disk."""
    with grpc.insecure_channel(server.address) as channel:
        alarm = channel.unary_unary(
            "/etcdserverpb.Maintenance/Alarm",
            request_serializer=pb.AlarmRequest.SerializeToString,
            response_deserializer=pb.AlarmResponse.FromString,
        )
        for raised in alarm(pb.AlarmRequest(action=pb.AlarmRequest.GET), timeout=10).alarms:
            assert raised.alarm == pb.NOSPACE
            request = pb.AlarmRequest(
                action=pb.AlarmRequest.DEACTIVATE, alarm=pb.NOSPACE, memberID=raised.memberID
            )
            assert len(alarm(request, timeout=10).alarms) == 1
