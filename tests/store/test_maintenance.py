"""The Maintenance and Cluster services as a client sees them."""

from __future__ import annotations

from collections.abc import Awaitable
from hashlib import sha256

import pytest
from google.protobuf.message import Message
from tests.store.served import FILE, MEMBER, PEER_URL, Member, with_member

from sampan.store.core import errors
from sampan.store.core.entry import Kind
from sampan.store.core.errors import StoreError
from sampan.store.pb import rpc_pb2 as rpc
from sampan.wire.grpc.status import Code, RpcError


async def refused(error: StoreError, answer: Awaitable[object]) -> None:
    with pytest.raises(RpcError) as caught:
        await answer
    assert error.matches(caught.value), caught.value


async def put(member: Member, key: bytes) -> None:
    request = rpc.PutRequest(key=key, value=b"v")
    await member.context.execute(Kind.PUT, request.SerializeToString(), member.auth.root_identity())


def nospace(action: rpc.AlarmRequest.AlarmAction) -> rpc.AlarmRequest:
    return rpc.AlarmRequest(action=action, memberID=MEMBER, alarm=rpc.NOSPACE)


# -- alarms and status


def test_status_tells_of_the_member_and_its_alarms() -> None:
    async def check(member: Member) -> None:
        member.backend.size_bytes, member.backend.size_in_use_bytes = 4096, 1024
        await put(member, b"k")
        await member.ask("Maintenance/Alarm", nospace(rpc.AlarmRequest.ACTIVATE), rpc.AlarmResponse)
        status = await member.ask("Maintenance/Status", rpc.StatusRequest(), rpc.StatusResponse)
        assert status.version.startswith("3.6.")
        assert (status.dbSize, status.dbSizeInUse) == (4096, 1024)
        assert status.leader == status.header.member_id == MEMBER
        assert status.header.revision == 2
        assert (status.raftIndex, status.raftAppliedIndex, status.raftTerm) == (2, 2, 1)
        assert list(status.errors) == [f"memberID:{MEMBER} alarm:NOSPACE "]
        assert status.storageVersion == "3.6.0"
        assert status.dbSizeQuota == 2 << 30
        assert status.HasField("downgradeInfo") and not status.downgradeInfo.enabled

    with_member(check)


def test_an_alarm_stops_what_grows_until_it_is_disarmed() -> None:
    async def check(member: Member) -> None:
        raised = await member.ask(
            "Maintenance/Alarm", nospace(rpc.AlarmRequest.ACTIVATE), rpc.AlarmResponse
        )
        assert [alarm.alarm for alarm in raised.alarms] == [rpc.NOSPACE]
        await refused(errors.NO_SPACE, put(member, b"k"))
        written = member.log.last_index
        listed = await member.ask("Maintenance/Alarm", rpc.AlarmRequest(), rpc.AlarmResponse)
        assert [alarm.memberID for alarm in listed.alarms] == [MEMBER]
        assert member.log.last_index == written
        await member.ask(
            "Maintenance/Alarm", nospace(rpc.AlarmRequest.DEACTIVATE), rpc.AlarmResponse
        )
        await put(member, b"k")

    with_member(check)


# -- hashes


def test_equal_histories_have_equal_hashes() -> None:
    found: list[tuple[int, int, int]] = []

    async def check(member: Member) -> None:
        await put(member, b"a")
        at_two = await member.ask("Maintenance/HashKV", rpc.HashKVRequest(), rpc.HashKVResponse)
        await put(member, b"b")
        now = await member.ask("Maintenance/HashKV", rpc.HashKVRequest(), rpc.HashKVResponse)
        then = await member.ask(
            "Maintenance/HashKV", rpc.HashKVRequest(revision=2), rpc.HashKVResponse
        )
        assert now.hash != then.hash == at_two.hash
        assert (now.hash_revision, then.hash_revision) == (3, 2)
        assert now.compact_revision == -1
        whole = await member.ask("Maintenance/Hash", rpc.HashRequest(), rpc.HashResponse)
        found.append((now.hash, then.hash, whole.hash))
        await refused(
            errors.FUTURE_REV,
            member.raw("Maintenance/HashKV", rpc.HashKVRequest(revision=9).SerializeToString()),
        )

    with_member(check)
    with_member(check)
    assert found[0] == found[1]


def test_the_whole_hash_ignores_what_only_the_log_knows() -> None:
    async def check(member: Member) -> None:
        async def whole() -> int:
            answer = await member.ask("Maintenance/Hash", rpc.HashRequest(), rpc.HashResponse)
            return answer.hash

        before = await whole()
        member.backend.put("meta", b"consistent_index", b"\0" * 8)
        member.backend.put("meta", b"storageVersion", b"3.7.0")
        assert await whole() == before
        member.backend.put("meta", b"confState", b"{}")
        assert await whole() != before

    with_member(check)


# -- files


def test_a_snapshot_comes_in_chunks_and_ends_with_its_digest() -> None:
    async def check(member: Member) -> None:
        sent = await member.stream("Maintenance/Snapshot", rpc.SnapshotRequest())
        chunks = [rpc.SnapshotResponse.FromString(message) for message in sent]
        assert [len(chunk.blob) for chunk in chunks] == [32768, 32768, len(FILE) - 65536, 32]
        assert [chunk.remaining_bytes for chunk in chunks] == [
            len(FILE) - 32768,
            len(FILE) - 65536,
            0,
            0,
        ]
        assert b"".join(chunk.blob for chunk in chunks[:-1]) == FILE
        assert chunks[-1].blob == sha256(FILE).digest()
        assert {chunk.version for chunk in chunks} == {"3.6.0"}
        assert member.files.open == 0

    with_member(check)


def test_defragmenting_is_left_to_the_storage() -> None:
    async def check(member: Member) -> None:
        await member.ask("Maintenance/Defragment", rpc.DefragmentRequest(), rpc.DefragmentResponse)
        assert member.files.defragmented == 1

    with_member(check)


# -- leadership and versions


def test_leadership_can_only_stay() -> None:
    async def check(member: Member) -> None:
        await member.ask(
            "Maintenance/MoveLeader",
            rpc.MoveLeaderRequest(targetID=MEMBER),
            rpc.MoveLeaderResponse,
        )
        other = rpc.MoveLeaderRequest(targetID=1).SerializeToString()
        await refused(errors.BAD_LEADER_TRANSFEREE, member.raw("Maintenance/MoveLeader", other))

    with_member(check)


@pytest.mark.parametrize(
    ("action", "version", "error"),
    [
        (rpc.DowngradeRequest.VALIDATE, "3.5.0", None),
        (rpc.DowngradeRequest.VALIDATE, "3.5", None),
        (rpc.DowngradeRequest.VALIDATE, "3.5.7", None),
        (rpc.DowngradeRequest.VALIDATE, "3.6.0", errors.INVALID_DOWNGRADE_TARGET_VERSION),
        (rpc.DowngradeRequest.VALIDATE, "3.4.0", errors.INVALID_DOWNGRADE_TARGET_VERSION),
        (rpc.DowngradeRequest.VALIDATE, "soon", errors.WRONG_DOWNGRADE_VERSION_FORMAT),
        (rpc.DowngradeRequest.VALIDATE, "", errors.WRONG_DOWNGRADE_VERSION_FORMAT),
        (rpc.DowngradeRequest.ENABLE, "3", errors.WRONG_DOWNGRADE_VERSION_FORMAT),
        (rpc.DowngradeRequest.ENABLE, "3.6.0", errors.INVALID_DOWNGRADE_TARGET_VERSION),
        (rpc.DowngradeRequest.ENABLE, "3.5.0", errors.DOWNGRADE_NOT_SUPPORTED),
        (rpc.DowngradeRequest.CANCEL, "", None),
    ],
)
def test_downgrades(
    action: rpc.DowngradeRequest.DowngradeAction, version: str, error: StoreError | None
) -> None:
    async def check(member: Member) -> None:
        request = rpc.DowngradeRequest(action=action, version=version)
        answer = member.ask("Maintenance/Downgrade", request, rpc.DowngradeResponse)
        if error is not None:
            await refused(error, answer)
        else:
            assert (await answer).version == "3.6"

    with_member(check)


# -- members


def test_the_member_is_listed_and_its_peer_urls_change() -> None:
    async def check(member: Member) -> None:
        request = rpc.MemberListRequest(linearizable=True)
        listed = await member.ask("Cluster/MemberList", request, rpc.MemberListResponse)
        assert [(m.ID, m.name, list(m.peerURLs)) for m in listed.members] == [
            (MEMBER, "m", [PEER_URL])
        ]
        update = rpc.MemberUpdateRequest(ID=MEMBER, peerURLs=["http://a:1"])
        answer = await member.ask("Cluster/MemberUpdate", update, rpc.MemberUpdateResponse)
        assert answer.header.member_id == MEMBER and not answer.header.revision
        assert list(answer.members[0].peerURLs) == ["http://a:1"]
        assert answer.header.cluster_id == 7
        assert member.state.cluster.peer_urls == ("http://a:1",)

    with_member(check)


MEMBERSHIP: list[tuple[str, Message, StoreError]] = [
    ("MemberAdd", rpc.MemberAddRequest(), errors.MEMBER_BAD_URLS),
    ("MemberAdd", rpc.MemberAddRequest(peerURLs=[PEER_URL]), errors.PEER_URL_EXIST),
    ("MemberRemove", rpc.MemberRemoveRequest(ID=1), errors.MEMBER_NOT_FOUND),
    ("MemberRemove", rpc.MemberRemoveRequest(ID=MEMBER), errors.MEMBER_NOT_ENOUGH_STARTED),
    ("MemberPromote", rpc.MemberPromoteRequest(ID=1), errors.MEMBER_NOT_FOUND),
    ("MemberPromote", rpc.MemberPromoteRequest(ID=MEMBER), errors.MEMBER_NOT_LEARNER),
    ("MemberUpdate", rpc.MemberUpdateRequest(ID=1), errors.MEMBER_NOT_FOUND),
    ("MemberUpdate", rpc.MemberUpdateRequest(ID=MEMBER), errors.MEMBER_BAD_URLS),
]


@pytest.mark.parametrize(("method", "request_", "error"), MEMBERSHIP)
def test_changes_of_membership_that_are_refused(
    method: str, request_: Message, error: StoreError
) -> None:
    async def check(member: Member) -> None:
        await refused(error, member.raw(f"Cluster/{method}", request_.SerializeToString()))
        assert member.log.last_index == 0

    with_member(check)


# -- who may


def test_only_administrators_maintain() -> None:
    async def check(member: Member) -> None:
        await member.add_user("u", "upw")
        await member.enable_auth()
        await member.raw("Maintenance/Status", b"")
        await member.login("u", "upw")
        raise_alarm = nospace(rpc.AlarmRequest.ACTIVATE).SerializeToString()
        update = rpc.MemberUpdateRequest(ID=MEMBER, peerURLs=["http://a:1"]).SerializeToString()
        add = rpc.MemberAddRequest(peerURLs=["http://a:1"]).SerializeToString()
        for token, error in (
            (member.token, errors.PERMISSION_DENIED),
            ("", errors.USER_EMPTY),
        ):
            member.token = token
            for method, body in (
                ("Maintenance/Alarm", raise_alarm),
                ("Maintenance/Status", b""),
                ("Maintenance/Defragment", b""),
                ("Maintenance/Hash", b""),
                ("Maintenance/HashKV", b""),
                ("Maintenance/MoveLeader", b""),
                ("Maintenance/Downgrade", b""),
                ("Cluster/MemberAdd", add),
                ("Cluster/MemberUpdate", update),
                ("Cluster/MemberRemove", b""),
                ("Cluster/MemberPromote", b""),
            ):
                await refused(error, member.raw(method, body))
            await refused(error, member.stream("Maintenance/Snapshot", rpc.SnapshotRequest()))
        assert member.files.defragmented == 0

    with_member(check)


def test_some_user_may_ask_for_members_and_alarms() -> None:
    async def check(member: Member) -> None:
        await member.add_user("u", "upw")
        await member.enable_auth()
        await member.login("u", "upw")
        for method in ("Cluster/MemberList", "Maintenance/Alarm"):
            await member.raw(method, b"")
        member.token = ""
        for method in ("Cluster/MemberList", "Maintenance/Alarm"):
            await refused(errors.USER_EMPTY, member.raw(method, b""))

    with_member(check)


@pytest.mark.parametrize("service", ["Cluster", "Maintenance"])
def test_every_method_is_there_and_refuses_garbage(service: str) -> None:
    async def check(member: Member) -> None:
        descriptor = rpc.DESCRIPTOR.services_by_name[service]
        for method in (method for method in descriptor.methods if method.name != "Snapshot"):
            with pytest.raises(RpcError) as caught:
                await member.raw(f"{service}/{method.name}", b"\xff\xff")
            assert caught.value.code is Code.INTERNAL
        assert f"/etcdserverpb.{service}/{descriptor.methods[0].name}" in member.methods
        assert member.log.last_index == 0

    with_member(check)
