"""The Lock RPCs: whose turn it is, and what becomes of those who leave the queue."""

from __future__ import annotations

import pytest
from tests.store.served import Call
from tests.store.streaming import Serving, serving

from sampan.store.pb.lock_pb2 import LockRequest, LockResponse, UnlockRequest, UnlockResponse
from sampan.wire.grpc.status import Code, RpcError

LOCK, UNLOCK = "/v3lockpb.Lock/Lock", "/v3lockpb.Lock/Unlock"


def lock(member: Serving, lease_id: int, name: bytes = b"n") -> Call:
    return member.start(LOCK, LockRequest(name=name, lease=lease_id))


async def locked(call: Call) -> LockResponse:
    return LockResponse.FromString(await call.outcome)


async def unlock(member: Serving, key: bytes) -> UnlockResponse:
    return await member.call(UNLOCK, UnlockRequest(key=key), UnlockResponse)


async def three_leases(member: Serving) -> None:
    for lease_id in (0x1F, 0x2F, 0x3F):
        await member.grant(lease_id)


@serving
async def test_the_key_is_the_name_and_the_lease(member: Serving) -> None:
    await member.grant(0xABC)
    response = await locked(lock(member, 0xABC))
    assert response.key == b"n/abc"
    record = (await member.get(b"n/abc")).kvs[0]
    assert record.lease == 0xABC
    assert record.create_revision == response.header.revision


@serving
async def test_the_lock_goes_from_one_to_the_next_in_order(member: Serving) -> None:
    await three_leases(member)
    first, second, third = (lock(member, lease_id) for lease_id in (0x1F, 0x2F, 0x3F))
    assert (await locked(first)).key == b"n/1f"
    await member.settle()
    assert not second.done
    await unlock(member, b"n/1f")
    assert (await locked(second)).key == b"n/2f"
    await member.settle()
    assert not third.done
    await member.revoke(0x2F)
    assert (await locked(third)).key == b"n/3f"


@serving
async def test_one_in_the_middle_gives_up_and_nobody_overtakes(member: Serving) -> None:
    await three_leases(member)
    first, second, third = (lock(member, lease_id) for lease_id in (0x1F, 0x2F, 0x3F))
    await locked(first)
    await member.settle()
    second.fail(Code.CANCELLED, "gone")
    second.outcome.exception()
    await member.settle()
    assert not (await member.get(b"n/2f")).kvs
    assert not third.done
    await unlock(member, b"n/1f")
    assert (await locked(third)).key == b"n/3f"
    assert member.context.hub.watcher_count == 0


@serving
async def test_the_same_lease_may_ask_again(member: Serving) -> None:
    await member.grant(5)
    one, two = await locked(lock(member, 5)), await locked(lock(member, 5))
    assert one.key == two.key


@serving
async def test_names_do_not_meet(member: Serving) -> None:
    await member.grant(5)
    await member.grant(6)
    await locked(lock(member, 5, b"n"))
    assert (await locked(lock(member, 6, b"n2"))).key == b"n2/6"


@serving
async def test_without_a_lease_one_is_granted(member: Serving) -> None:
    response = await locked(lock(member, 0))
    (lease,) = member.lessor.leases()
    assert lease.ttl_s == 60
    assert response.key == b"n/%x" % lease.lease_id


@serving
async def test_an_unknown_lease_is_no_owner(member: Serving) -> None:
    with pytest.raises(RpcError) as caught:
        await locked(lock(member, 404))
    assert (caught.value.code, caught.value.message) == (
        Code.UNKNOWN,
        "etcdserver: requested lease not found",
    )


@serving
async def test_who_loses_the_lease_while_waiting_gets_no_lock(member: Serving) -> None:
    await three_leases(member)
    first, second = lock(member, 0x1F), lock(member, 0x2F)
    await locked(first)
    await member.settle()
    await member.revoke(0x2F)
    await unlock(member, b"n/1f")
    with pytest.raises(RpcError, match="mutex: session is expired"):
        await locked(second)


@serving
async def test_unlocking(member: Serving) -> None:
    assert (await unlock(member, b"nothing")).header.revision == 1
    with pytest.raises(RpcError) as caught:
        await unlock(member, b"")
    assert (caught.value.code, caught.value.message) == (
        Code.UNKNOWN,
        "etcdserver: key is not provided",
    )


@serving
async def test_a_lock_takes_permission(member: Serving) -> None:
    await member.grant(5)
    await member.enable_auth()
    await member.add_user("ann", "pw")
    await member.login("ann", "pw")
    with pytest.raises(RpcError, match="permission denied"):
        await locked(lock(member, 5))
