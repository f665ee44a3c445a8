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
)
from sampan.store.core.errors import StoreError
from sampan.store.pb.rpc_pb2 import MemberUpdateRequest
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
