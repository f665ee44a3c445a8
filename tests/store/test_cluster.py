"""Members: their IDs, addresses and what is kept of them."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from tests.store.buckets import Buckets

from sampan.store.core import errors
from sampan.store.core.cluster import (
    ClusterInfo,
    check_urls,
    derive_cluster_id,
    derive_member_id,
    draw_member_id,
)
from sampan.store.core.entry import Kind
from sampan.store.core.errors import StoreError
from sampan.store.pb.peer_pb2 import Joining
from sampan.store.pb.rpc_pb2 import (
    Member,
    MemberPromoteRequest,
    MemberRemoveRequest,
    MemberUpdateRequest,
)
from sampan.wire.grpc.status import RpcError

PEER = "http://localhost:2380"
CLIENT = "http://localhost:2379"


def cluster(backend: Buckets, name: str = "default") -> ClusterInfo:
    return ClusterInfo(backend, 7, 0xABC, name, [PEER], [CLIENT])


def refused(error: StoreError, call: Callable[..., object], *arguments: object) -> None:
    with pytest.raises(RpcError) as caught:
        call(*arguments)
    assert error.matches(caught.value), caught.value


def test_ids_are_those_etcd_derives_for_its_default_flags() -> None:
    member = derive_member_id([PEER], "etcd-cluster")
    assert f"{member:x}" == "8e9e05c52164694d"
    assert f"{derive_cluster_id([member]):x}" == "cdf818194e3a8c32"


def test_ids_do_not_depend_on_the_order_of_urls() -> None:
    assert derive_member_id(["b", "a"], "t") == derive_member_id(["a", "b"], "t")


def test_members_are_stored_as_json_under_their_hex_id() -> None:
    backend = Buckets()
    cluster(backend)
    assert json.loads(backend.buckets["members", b"abc"]) == {
        "id": 0xABC,
        "peerURLs": [PEER],
        "name": "default",
        "clientURLs": [CLIENT],
    }
    assert backend.get("cluster", b"clusterVersion") == b"3.6.0"
    assert backend.get("meta", b"storageVersion") == b"3.6.0"


def test_an_update_outlives_the_command_line_and_a_restart() -> None:
    backend = Buckets()
    members = cluster(backend)
    request = MemberUpdateRequest(ID=0xABC, peerURLs=["http://b:1", "http://a:1"])
    answer = members.apply_update(request.SerializeToString())
    assert list(answer.members[0].peerURLs) == ["http://a:1", "http://b:1"]
    again = cluster(backend, "renamed")
    assert again.peer_urls == ("http://a:1", "http://b:1")
    assert again.name == "renamed"
    assert [member.ID for member in again.messages()] == [0xABC]


def test_updates_that_are_refused() -> None:
    members = cluster(Buckets())
    for error, request in (
        (errors.MEMBER_NOT_FOUND, MemberUpdateRequest(ID=1, peerURLs=["http://a:1"])),
        (errors.MEMBER_BAD_URLS, MemberUpdateRequest(ID=0xABC, peerURLs=["nonsense"])),
        (errors.MEMBER_BAD_URLS, MemberUpdateRequest(ID=0xABC)),
    ):
        refused(error, members.apply_update, request.SerializeToString())
    assert members.peer_urls == (PEER,)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "localhost:2380",
        "ftp://localhost:2380",
        "http://localhost",
        "http://localhost:2380/path",
        "http://localhost:port",
        "http://localhost:99999",
        "http://localhost:2380?a=b",
    ],
)
def test_bad_urls(url: str) -> None:
    refused(errors.MEMBER_BAD_URLS, check_urls, [PEER, url])


def test_good_urls_come_back_sorted() -> None:
    urls = [" https://[::1]:2380", "http://10.0.0.1:2380", "unix://localhost:0"]
    assert check_urls(urls) == (
        "http://10.0.0.1:2380",
        "https://[::1]:2380",
        "unix://localhost:0",
    )


def test_changes_of_membership_are_judged_before_they_are_tried() -> None:
    members = cluster(Buckets())
    refused(errors.MEMBER_BAD_URLS, members.check_add, [])
    refused(errors.PEER_URL_EXIST, members.check_add, [PEER])
    assert members.check_add(["http://other:2380"]) == ("http://other:2380",)
    refused(errors.MEMBER_NOT_FOUND, members.check_remove, 1)
    refused(errors.MEMBER_NOT_ENOUGH_STARTED, members.check_remove, 0xABC)
    refused(errors.MEMBER_NOT_FOUND, members.check_promote, 1)
    refused(errors.MEMBER_NOT_LEARNER, members.check_promote, 0xABC)


def add(members: ClusterInfo, member_id: int, url: str, *, learners: int = 0) -> None:
    """Apply the addition of a voter, or of a learner where so many are allowed."""
    message = Joining(
        ID=member_id, peerURLs=[url], isLearner=learners > 0, max_learners=learners
    ).SerializeToString()
    members.apply_change(Kind.MEMBER_ADD, message)


def test_a_member_comes_tells_its_name_and_goes_for_good() -> None:
    backend = Buckets()
    members = cluster(backend)
    add(members, 2, "http://b:2380")
    told = Member(ID=2, name="b", clientURLs=["http://b:2379"]).SerializeToString()
    members.apply_attributes(told)
    assert [(each.ID, each.name) for each in members.messages()] == [(2, "b"), (0xABC, "default")]
    assert members.peers() == {2: ("http://b:2380",)}
    gone = MemberRemoveRequest(ID=2).SerializeToString()
    answer = members.apply_change(Kind.MEMBER_REMOVE, gone)
    assert [each.ID for each in answer.members] == [0xABC]
    assert members.is_removed(2) and cluster(backend).is_removed(2)
    refused(errors.MEMBER_NOT_FOUND, members.apply_change, Kind.MEMBER_REMOVE, gone)
    refused(errors.MEMBER_NOT_FOUND, add, members, 2, "http://b:2380")
    members.apply_attributes(told)
    assert [each.ID for each in members.messages()] == [0xABC]


def test_additions_are_judged_again_when_they_are_applied() -> None:
    members = cluster(Buckets())
    add(members, 2, "http://b:2380")
    refused(errors.MEMBER_EXIST, add, members, 2, "http://c:2380")
    refused(errors.PEER_URL_EXIST, add, members, 3, "http://b:2380")
    assert [member.id for member in members.members()] == [2, 0xABC]


def test_the_limit_of_learners_is_that_of_whoever_was_asked() -> None:
    members = cluster(Buckets())
    add(members, 2, "http://b:2380", learners=1)

    def one_more(limit: int) -> None:
        add(members, 3, "http://c:2380", learners=limit)

    refused(errors.TOO_MANY_LEARNERS, one_more, 1)
    one_more(2)
    assert [member.is_learner for member in members.members()] == [True, True, False]


def test_a_promoted_learner_votes_from_then_on() -> None:
    members = cluster(Buckets())
    add(members, 2, "http://b:2380", learners=1)
    assert members.voters() == [0xABC]
    request = MemberPromoteRequest(ID=2).SerializeToString()
    members.apply_change(Kind.MEMBER_PROMOTE, request)
    assert members.voters() == [2, 0xABC]
    refused(errors.MEMBER_NOT_LEARNER, members.apply_change, Kind.MEMBER_PROMOTE, request)


def test_whoever_goes_on_alone_forgets_the_others_for_good() -> None:
    backend = Buckets()
    members = cluster(backend)
    add(members, 2, "http://b:2380")
    members.keep_only_me()
    assert members.peers() == {} and members.is_removed(2)
    assert cluster(backend).peers() == {}


def test_later_members_have_other_ids_than_founders_and_each_other() -> None:
    founder = derive_member_id([PEER], "t")
    later = {draw_member_id([PEER], "t", unix_ns) for unix_ns in (1, 2)}
    assert len(later | {founder}) == 3
