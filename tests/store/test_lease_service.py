"""The Lease RPCs."""

from __future__ import annotations

import pytest
from tests.store.streaming import Serving, serving

from sampan.store.core.entry import Kind
from sampan.store.pb import rpc_pb2 as pb
from sampan.wire.grpc.status import Code, RpcError

KEEP_ALIVE = "/etcdserverpb.Lease/LeaseKeepAlive"


async def time_to_live(
    member: Serving, lease_id: int, keys: bool = False
) -> pb.LeaseTimeToLiveResponse:
    request = pb.LeaseTimeToLiveRequest(ID=lease_id, keys=keys)
    return await member.ask("Lease/LeaseTimeToLive", request, pb.LeaseTimeToLiveResponse)


async def renew(member: Serving, lease_id: int) -> pb.LeaseKeepAliveResponse:
    stream = member.stream_of(KEEP_ALIVE)
    stream.ask(pb.LeaseKeepAliveRequest(ID=lease_id))
    return await stream.next(pb.LeaseKeepAliveResponse)


async def apply_due(member: Serving) -> None:
    """Do what the node's timer does."""
    for lease_id in member.lessor.expired(500):
        await member.revoke(lease_id)
    for lease_id, remaining_s in member.lessor.due_checkpoints():
        checkpoint = pb.LeaseCheckpoint(ID=lease_id, remaining_TTL=remaining_s)
        request = pb.LeaseCheckpointRequest(checkpoints=[checkpoint])
        await member.context.execute(Kind.LEASE_CHECKPOINT, request.SerializeToString())


@serving
async def test_an_id_is_made_up_when_none_is_given(member: Serving) -> None:
    first, second = await member.grant(0, 10), await member.grant(0, 10)
    assert 0 < first.ID < 1 << 63
    assert first.ID != second.ID
    assert (first.TTL, first.error) == (10, "")


@serving
async def test_granting_an_id_twice_fails(member: Serving) -> None:
    await member.grant(5)
    with pytest.raises(RpcError) as caught:
        await member.grant(5)
    assert (caught.value.code, caught.value.message) == (
        Code.FAILED_PRECONDITION,
        "etcdserver: lease already exists",
    )


@serving
async def test_time_to_live_and_its_keys(member: Serving) -> None:
    await member.grant(5, 60)
    for key in (b"b", b"a"):
        await member.put(key, lease_id=5)
    member.clock.now_s += 0.5
    response = await time_to_live(member, 5, keys=True)
    assert (response.ID, response.TTL, response.grantedTTL) == (5, 59, 60)
    assert list(response.keys) == [b"a", b"b"]
    assert not (await time_to_live(member, 5)).keys
    assert (await time_to_live(member, 404)).TTL == -1


@serving
async def test_leases_are_listed_by_their_remaining_time(member: Serving) -> None:
    for lease_id, ttl_s in ((1, 50), (2, 10), (3, 30)):
        await member.grant(lease_id, ttl_s)
    response = await member.ask(
        "Lease/LeaseLeases", pb.LeaseLeasesRequest(), pb.LeaseLeasesResponse
    )
    assert [lease.ID for lease in response.leases] == [2, 3, 1]


@serving
async def test_keepalives_on_one_stream(member: Serving) -> None:
    await member.grant(5, 60)
    stream = member.stream_of(KEEP_ALIVE)
    for lease_id in (5, 404, 5):
        stream.ask(pb.LeaseKeepAliveRequest(ID=lease_id))
    stream.half_close()
    answers = [await stream.next(pb.LeaseKeepAliveResponse) for _ in range(3)]
    assert [(answer.ID, answer.TTL) for answer in answers] == [(5, 60), (404, 0), (5, 60)]
    assert await stream.outcome == b""


@serving
async def test_a_lease_runs_out_with_its_keys_unless_kept_alive(member: Serving) -> None:
    await member.grant(5, 10)
    await member.put(b"k", lease_id=5)
    member.clock.now_s += 9
    assert (await renew(member, 5)).TTL == 10
    member.clock.now_s += 9
    await apply_due(member)
    assert len((await member.get(b"k")).kvs) == 1
    member.clock.now_s += 1
    await apply_due(member)
    assert not (await member.get(b"k")).kvs
    assert (await time_to_live(member, 5)).TTL == -1


@serving
async def test_a_late_keepalive_is_answered_when_the_keys_are_gone(member: Serving) -> None:
    await member.grant(5, 10)
    await member.put(b"k", lease_id=5)
    member.clock.now_s += 10
    stream = member.stream_of(KEEP_ALIVE)
    stream.ask(pb.LeaseKeepAliveRequest(ID=5))
    await member.settle()
    assert stream.sent == []
    await apply_due(member)
    assert (await stream.next(pb.LeaseKeepAliveResponse)).TTL == 0
    assert not (await member.get(b"k")).kvs


@serving
async def test_a_keepalive_takes_a_checkpoint_back_through_the_log(member: Serving) -> None:
    await member.grant(5, 1000)
    member.clock.now_s += 301
    await apply_due(member)
    assert member.lessor.checkpointed(5)
    entries = len(member.log.entries)
    assert (await renew(member, 5)).TTL == 1000
    assert not member.lessor.checkpointed(5)
    await renew(member, 5)
    assert len(member.log.entries) == entries + 1


@serving
async def test_revoking_what_is_not_there(member: Serving) -> None:
    with pytest.raises(RpcError, match="requested lease not found"):
        await member.revoke(404)


@serving
async def test_a_lease_takes_a_known_user(member: Serving) -> None:
    await member.enable_auth()
    await member.grant(5)
    member.token = ""
    with pytest.raises(RpcError, match="user name is empty"):
        await member.grant(6)
    with pytest.raises(RpcError, match="user name is empty"):
        await time_to_live(member, 5)


@serving
async def test_a_lease_is_kept_by_those_who_may_write_its_keys(member: Serving) -> None:
    await member.add_user("ann", "pw")
    await member.enable_auth()
    await member.grant(5)
    await member.grant(6)
    await member.put(b"k", lease_id=5)
    await member.login("ann", "pw")
    assert (await renew(member, 6)).TTL == 60
    stream = member.stream_of(KEEP_ALIVE)
    stream.ask(pb.LeaseKeepAliveRequest(ID=5))
    with pytest.raises(RpcError, match="permission denied"):
        await stream.outcome
    with pytest.raises(RpcError, match="permission denied"):
        await member.ask("Lease/LeaseLeases", pb.LeaseLeasesRequest(), pb.LeaseLeasesResponse)
