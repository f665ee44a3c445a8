"""The Election RPCs."""

from __future__ import annotations

import pytest
from google.protobuf.message import Message
from tests.store.served import Call
from tests.store.streaming import Bidi, Serving, serving

from sampan.store.pb import election_pb2 as pb
from sampan.wire.grpc.status import Code, RpcError

PATH = "/v3electionpb.Election/"


def campaign(member: Serving, lease_id: int, value: bytes = b"") -> Call:
    request = pb.CampaignRequest(name=b"e", lease=lease_id, value=value)
    return member.start(PATH + "Campaign", request)


async def elected(call: Call) -> pb.LeaderKey:
    return pb.CampaignResponse.FromString(await call.outcome).leader


async def leader(member: Serving) -> pb.LeaderResponse:
    return await member.call(PATH + "Leader", pb.LeaderRequest(name=b"e"), pb.LeaderResponse)


async def resign(member: Serving, key: pb.LeaderKey) -> pb.ResignResponse:
    return await member.call(PATH + "Resign", pb.ResignRequest(leader=key), pb.ResignResponse)


async def proclaim(member: Serving, key: pb.LeaderKey, value: bytes) -> pb.ProclaimResponse:
    request = pb.ProclaimRequest(leader=key, value=value)
    return await member.call(PATH + "Proclaim", request, pb.ProclaimResponse)


def observe(member: Serving) -> Bidi:
    stream = member.stream_of(PATH + "Observe")
    stream.ask(pb.LeaderRequest(name=b"e"))
    stream.half_close()
    return stream


async def two_leases(member: Serving) -> None:
    for lease_id in (0x1F, 0x2F):
        await member.grant(lease_id)


@serving
async def test_the_first_to_campaign_leads(member: Serving) -> None:
    await two_leases(member)
    key = await elected(campaign(member, 0x1F, b"v"))
    assert (key.name, key.key, key.lease) == (b"e", b"e/1f", 0x1F)
    found = await leader(member)
    assert (found.kv.key, found.kv.value, found.kv.create_revision) == (b"e/1f", b"v", key.rev)


@serving
async def test_the_next_leads_after_a_resignation(member: Serving) -> None:
    await two_leases(member)
    first, second = campaign(member, 0x1F, b"1"), campaign(member, 0x2F, b"2")
    key = await elected(first)
    await member.settle()
    assert not second.done
    await resign(member, key)
    assert (await elected(second)).key == b"e/2f"
    assert (await leader(member)).kv.value == b"2"


@serving
async def test_campaigning_again_changes_the_value_and_keeps_the_place(member: Serving) -> None:
    await two_leases(member)
    one = await elected(campaign(member, 0x1F, b"v"))
    two = await elected(campaign(member, 0x1F, b"w"))
    assert one.rev == two.rev
    assert (await leader(member)).kv.value == b"w"


@serving
async def test_a_campaign_that_is_given_up_leaves_no_key(member: Serving) -> None:
    await two_leases(member)
    await elected(campaign(member, 0x1F))
    second = campaign(member, 0x2F)
    await member.settle()
    assert (await member.get(b"e/2f")).count == 1
    second.fail(Code.CANCELLED, "gone")
    second.outcome.exception()
    await member.settle()
    assert (await member.get(b"e/2f")).count == 0


@serving
async def test_only_the_leadership_that_is_named_counts(member: Serving) -> None:
    await two_leases(member)
    key = await elected(campaign(member, 0x1F, b"v"))
    stale = pb.LeaderKey()
    stale.CopyFrom(key)
    stale.rev -= 1
    with pytest.raises(RpcError) as caught:
        await proclaim(member, stale, b"w")
    assert (caught.value.code, caught.value.message) == (Code.UNKNOWN, "election: not leader")
    await resign(member, stale)
    assert (await leader(member)).kv.value == b"v"
    await proclaim(member, key, b"w")
    assert (await leader(member)).kv.value == b"w"


@pytest.mark.parametrize("verb", ["Proclaim", "Resign"])
def test_the_leader_has_to_be_named(verb: str) -> None:
    @serving
    async def test(member: Serving) -> None:
        request: Message = pb.ProclaimRequest() if verb == "Proclaim" else pb.ResignRequest()
        with pytest.raises(RpcError) as caught:
            await member.start(PATH + verb, request).outcome
        assert caught.value.message == '"leader" field must be provided'

    test()


@serving
async def test_nobody_leads(member: Serving) -> None:
    with pytest.raises(RpcError) as caught:
        await leader(member)
    assert (caught.value.code, caught.value.message) == (Code.UNKNOWN, "election: no leader")


@serving
async def test_an_unknown_lease_cannot_campaign(member: Serving) -> None:
    with pytest.raises(RpcError, match="requested lease not found"):
        await elected(campaign(member, 404))


@serving
async def test_observing_sees_leaders_and_what_they_proclaim(member: Serving) -> None:
    await two_leases(member)
    stream = observe(member)
    await member.settle()
    key = await elected(campaign(member, 0x1F, b"1"))
    assert (await stream.next(pb.LeaderResponse)).kv.value == b"1"
    await member.settle()
    header = (await proclaim(member, key, b"1b")).header
    seen = await stream.next(pb.LeaderResponse)
    assert (seen.kv.value, seen.header.revision) == (b"1b", header.revision)
    second = campaign(member, 0x2F, b"2")
    await member.settle()
    await member.revoke(0x1F)
    await elected(second)
    assert (await stream.next(pb.LeaderResponse)).kv.value == b"2"


@serving
async def test_observing_starts_with_who_leads_already(member: Serving) -> None:
    await two_leases(member)
    await elected(campaign(member, 0x1F, b"1"))
    stream = observe(member)
    assert (await stream.next(pb.LeaderResponse)).kv.value == b"1"
    await stream.cancel()
    assert member.context.hub.stream_count == 0
