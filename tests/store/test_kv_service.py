"""The KV service where its answers hang on more than the key space: limits and alarms."""

from __future__ import annotations

import pytest
from tests.store.streaming import Serving, serving

from sampan.store.core import errors
from sampan.store.pb import rpc_pb2 as pb
from sampan.wire.grpc.status import RpcError

LIMIT_BYTES = 1_572_864
LOG_ENTRY_BYTES = 19  # what etcd adds to a request before it holds it against the limit


@serving
async def test_the_largest_request_is_the_one_whose_log_entry_is_within_the_limit(
    member: Serving,
) -> None:
    framing = len(pb.PutRequest(key=b"k", value=b"v" * LIMIT_BYTES).SerializeToString())
    room = LIMIT_BYTES - LOG_ENTRY_BYTES - (framing - LIMIT_BYTES)
    await member.put(b"k", b"v" * room)
    with pytest.raises(RpcError) as raised:
        await member.put(b"k", b"v" * (room + 1))
    assert raised.value.message == errors.REQUEST_TOO_LARGE.message


@serving
async def test_a_corrupt_member_still_reads(member: Serving) -> None:
    await member.put(b"a", b"1")
    alarm = pb.AlarmRequest(action=pb.AlarmRequest.ACTIVATE, alarm=pb.CORRUPT, memberID=7)
    await member.ask("Maintenance/Alarm", alarm, pb.AlarmResponse)
    assert [kv.value for kv in (await member.get(b"a")).kvs] == [b"1"]
    read = pb.TxnRequest(success=[pb.RequestOp(request_range=pb.RangeRequest(key=b"a"))])
    assert (await member.ask("KV/Txn", read, pb.TxnResponse)).succeeded
    for refused in (
        member.put(b"a", b"2"),
        member.delete(b"a"),
        member.grant(5),
        member.ask("KV/Compact", pb.CompactionRequest(revision=2), pb.CompactionResponse),
    ):
        with pytest.raises(RpcError) as raised:
            await refused
        assert raised.value.message == "etcdserver: corrupt cluster"
    await member.add_user("ann", "pw")


@serving
async def test_compaction_is_for_administrators(member: Serving) -> None:
    await member.add_user("ann", "pw")
    await member.enable_auth()
    request = pb.CompactionRequest(revision=1)
    await member.ask("KV/Compact", request, pb.CompactionResponse)
    await member.login("ann", "pw")
    with pytest.raises(RpcError, match="permission denied"):
        await member.ask("KV/Compact", request, pb.CompactionResponse)
