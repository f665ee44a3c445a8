"""The Watch RPC: requests in, responses out, slow readers, permissions, the end of a stream."""

from __future__ import annotations

import pytest
from tests.store.streaming import Bidi, Serving, serving

from sampan.store.api import watch as watch_service
from sampan.store.core import watch as watch_module
from sampan.store.pb import rpc_pb2 as pb
from sampan.store.pb.auth_pb2 import Permission

PATH = "/etcdserverpb.Watch/Watch"


def create(**fields: object) -> pb.WatchRequest:
    return pb.WatchRequest(create_request=pb.WatchCreateRequest(**fields))  # type: ignore[arg-type]


async def opened(member: Serving, **fields: object) -> Bidi:
    stream = member.stream_of(PATH)
    stream.ask(create(**fields))
    response = await stream.next(pb.WatchResponse)
    assert response.created
    return stream


@serving
async def test_events_follow_the_announcement(member: Serving) -> None:
    stream = await opened(member, key=b"a")
    revision = await member.put(b"a", b"1")
    response = await stream.next(pb.WatchResponse)
    assert response.header.revision == revision
    assert [event.kv.value for event in response.events] == [b"1"]


@serving
async def test_the_past_is_caught_up_without_being_asked_again(member: Serving) -> None:
    for number in range(3):
        await member.put(b"a", b"%d" % number)
    stream = await opened(member, key=b"a", start_revision=1)
    response = await stream.next(pb.WatchResponse)
    assert [event.kv.value for event in response.events] == [b"0", b"1", b"2"]


@serving
async def test_a_client_that_closed_its_side_goes_on_watching(member: Serving) -> None:
    stream = await opened(member, key=b"a")
    stream.half_close()
    await member.settle()
    await member.put(b"a")
    assert len((await stream.next(pb.WatchResponse)).events) == 1


@serving
async def test_cancel_and_progress(member: Serving) -> None:
    stream = await opened(member, key=b"a")
    stream.ask(pb.WatchRequest(progress_request=pb.WatchProgressRequest()))
    assert (await stream.next(pb.WatchResponse)).watch_id == -1
    stream.ask(pb.WatchRequest(cancel_request=pb.WatchCancelRequest(watch_id=0)))
    assert (await stream.next(pb.WatchResponse)).canceled
    assert member.context.hub.watcher_count == 0


@serving
async def test_a_stream_that_ends_takes_its_watches_with_it(member: Serving) -> None:
    stream = await opened(member, key=b"a")
    assert member.context.hub.stream_count == 1
    await stream.cancel()
    assert member.context.hub.stream_count == member.context.hub.watcher_count == 0


@serving
async def test_a_message_that_is_none_ends_the_stream(member: Serving) -> None:
    stream = await opened(member, key=b"a")
    stream._inbound.put_nowait(b"\xff\xff")
    await member.settle()
    assert stream.done
    assert member.context.hub.watcher_count == 0
    stream.outcome.exception()


@pytest.mark.parametrize("writes", [3, 40])
def test_a_slow_reader_misses_nothing_and_holds_nobody_back(
    monkeypatch: pytest.MonkeyPatch, writes: int
) -> None:
    monkeypatch.setattr(watch_service, "BUFFER_BYTES", 200)

    @serving
    async def test(member: Serving) -> None:
        slow, fast = await opened(member, key=b"a"), await opened(member, key=b"a")
        slow.unread = True
        for number in range(writes):
            await member.put(b"a", b"%03d" % number)
        seen = [
            event.kv.value
            for _ in range(writes)
            for event in (await fast.next(pb.WatchResponse)).events
        ]
        assert seen == [b"%03d" % number for number in range(writes)]
        assert sum(map(len, slow.sent)) < 400
        slow.read()
        values: list[bytes] = []
        while len(values) < writes:
            values += [e.kv.value for e in (await slow.next(pb.WatchResponse)).events]
        assert values == seen
        assert member.context.hub.slow_watcher_count == 0

    test()


def test_catching_up_goes_on_after_a_slice_that_filled_the_stream(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nothing was refused to the watch then, so nothing but the hub's question marks the wait."""
    monkeypatch.setattr(watch_service, "BUFFER_BYTES", 200)
    monkeypatch.setattr(watch_module, "SLICE_REVS", 1)

    @serving
    async def test(member: Serving) -> None:
        for number in range(3):
            await member.put(b"a", b"%d" % number * 300)
        stream = member.stream_of(PATH)
        stream.unread = True
        stream.ask(create(key=b"a", start_revision=2))
        await member.settle()
        values: list[bytes] = []
        while len(values) < 3:
            stream.read()
            stream.unread = True
            response = await stream.next(pb.WatchResponse)
            values += [event.kv.value[:1] for event in response.events]
            await member.settle()
        assert values == [b"0", b"1", b"2"]

    test()


@serving
async def test_permission_is_needed_to_start_and_to_go_on(member: Serving) -> None:
    role = pb.AuthRoleAddRequest(name="reader")
    await member.ask("Auth/RoleAdd", role, pb.AuthRoleAddResponse)
    grant = pb.AuthRoleGrantPermissionRequest(
        name="reader", perm=Permission(permType=Permission.READ, key=b"a", range_end=b"c")
    )
    await member.ask("Auth/RoleGrantPermission", grant, pb.AuthRoleGrantPermissionResponse)
    await member.add_user("ann", "pw", "reader")
    await member.enable_auth()
    root = member.token
    await member.login("ann", "pw")
    stream = await opened(member, key=b"a", range_end=b"c")

    stream.ask(create(key=b"x"))
    refused = await stream.next(pb.WatchResponse)
    assert (refused.watch_id, refused.created, refused.canceled) == (-1, True, True)
    assert refused.cancel_reason == (
        "rpc error: code = PermissionDenied desc = etcdserver: permission denied"
    )

    member.token = root
    await member.put(b"a", b"seen")
    assert len((await stream.next(pb.WatchResponse)).events) == 1
    revoke = pb.AuthUserRevokeRoleRequest(name="ann", role="reader")
    await member.ask("Auth/UserRevokeRole", revoke, pb.AuthUserRevokeRoleResponse)
    await member.put(b"a", b"not seen")
    canceled = await stream.next(pb.WatchResponse)
    assert canceled.canceled
    assert "permission denied" in canceled.cancel_reason
    await member.settle()
    assert not any(b"not seen" in message for message in stream.sent)


@serving
async def test_without_a_token_nothing_is_watched_once_auth_is_on(member: Serving) -> None:
    await member.enable_auth()
    member.token = ""
    stream = await opened(member, key=b"a")
    assert pb.WatchResponse.FromString(stream.sent[0]).cancel_reason == (
        "rpc error: code = InvalidArgument desc = etcdserver: user name is empty"
    )


@serving
async def test_progress_is_reported_by_itself(member: Serving) -> None:
    member.context.config = type(member.context.config)(watch_progress_notify_interval_s=0.1)
    stream = await opened(member, key=b"a", progress_notify=True)
    response = await stream.next(pb.WatchResponse)
    assert (response.watch_id, len(response.events)) == (0, 0)
    assert response.header.revision == member.mvcc.revision
