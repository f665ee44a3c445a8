"""The real etcdctl against our server and a real etcd: the same commands, the same output.

Here are the verbs on keys: get, put, del, txn, compaction, and leases.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tests.etcdctl import Ctl, Step, play

from sampan.store.pb import rpc_pb2

pytestmark = pytest.mark.real

Compare = Callable[..., list[str]]

DATA: list[Step] = [
    "put a 1",
    "put b 2",
    "put c 3",
    "put b 22",
    "del c",
    "put aa 11",
    "put ab '12 with space'",
    "put b 0",
    'put z ""',
    "put a 9",
]

GET: list[Step] = [
    *DATA,
    "get a",
    "get missing",
    "get --prefix a",
    "get --from-key aa",
    "get a b",
    "get a c --limit=2",
    "get '' --prefix",
    "get '' --from-key",
    "get '' --prefix --keys-only",
    "get '' --prefix --count-only",
    "get '' --prefix --count-only -w fields",
    "get '' --prefix --print-value-only",
    "get a --print-value-only --hex",
    "get '' --prefix --limit=3 -w json",
    "get a --rev=2",
    "get '' --prefix --rev=4 -w json",
    "get a --rev=1000",
    "get a --rev=-1",
    "get a --consistency=s",
    "get a --consistency=x",
    "get a -w fields",
    "get '' --prefix -w fields",
    "get a -w simple",
    "get '' --prefix --hex",
    "get --prefix --from-key a",
    "get",
    "get a b c",
]

SORTS: list[Step] = [
    *DATA,
    *(
        f"get '' --prefix --keys-only --sort-by={target} --order={order}"
        for target in ("CREATE", "KEY", "MODIFY", "VALUE", "VERSION")
        for order in ("ASCEND", "DESCEND")
    ),
    "get '' --prefix --order=DESCEND --limit=2",
    "get '' --prefix --sort-by=VERSION",
    "get '' --prefix --sort-by=bogus",
    "get '' --prefix --order=bogus",
]

PUT: list[Step] = [
    "put k v",
    "put k v2 --prev-kv",
    "put k v3 --prev-kv -w json",
    "put k v3 -w fields",
    ("put fromstdin", "value of\nseveral lines"),
    "get fromstdin",
    "put new --ignore-value",
    "put k --ignore-value",
    "put k v --ignore-value",
    "lease grant 600",
    "put k v4 --lease={lease}",
    "get k -w json",
    "put k --ignore-value --lease={lease}",
    "get k -w fields",
    "put k v5 --ignore-lease",
    "get k -w json",
    "put k v6 --ignore-lease --lease={lease}",
    "put nokey v --ignore-lease",
    "put k v7",
    "get k -w json",
    "put k v --lease=123456",
    "put '' v",
    "put -- -k -v",
    "get -- -k",
    "put ключ 值",
    "get ключ",
    "get ключ --hex",
    "get ключ -w json",
    "put",
]

DELETE: list[Step] = [
    *DATA,
    "del missing",
    "del a --prev-kv",
    "del b -w json",
    "put b again",
    "get b -w json",
    "del b --prev-kv -w json",
    "del a ab",
    "del a --prefix --prev-kv",
    *DATA,
    "del b --from-key",
    "del '' --prefix",
    "del ''",
    "del '' --from-key -w fields",
    "del",
]

TXN: list[Step] = [
    "put key1 one",
    "put key2 two",
    ("txn", 'mod("key1") > "0"\n\nput key1 "overwrote-key1"\n\nput key1 "created"\n\n'),
    ("txn", 'value("key2") = "nope"\n\nput key2 yes\n\nget key1\nget key2\ndel key2\n\n'),
    ("txn -w json", 'ver("key1") = "2"\ncreate("key1") < "3"\n\nget key1\n\nget key2\n\n'),
    ("txn -w fields", 'create("absent") = "0"\n\nput absent 1\nget absent\n\n\n'),
    ("txn", 'ver("absent") != "1"\n\n\nget a --prefix\n\n'),
    ("txn", "\nput a 1\ndel a --prefix\n\n\n"),
    ("txn", "\nput x 1\nput x 2\n\n\n"),
    ("txn", '\nput y 1\nput z 2\ndel k --prefix\nget "" --prefix\n\n\n'),
    ("txn", 'bad("x") = "1"\n\n\n\n'),
    ("txn", "\nput\n\n\n"),
    ("txn -i", 'mod("y") > "0"\n\nget y\n\n\n'),
    "get '' --prefix -w json",
]

COMPACTION: list[Step] = [
    *DATA,
    "compaction 4",
    "get '' --prefix --rev=3",
    "get '' --prefix --rev=4",
    "get '' --prefix --rev=5",
    "compaction 4",
    "compaction 3",
    "compaction 1000",
    "compaction 0",
    "compaction -- -5",
    "compaction x",
    "compaction --physical 8",
    "get '' --prefix --rev=7 -w json",
    "get '' --prefix --rev=8 -w json",
    "get '' --prefix -w json",
]

LEASE: list[Step] = [
    "lease grant 600",
    "lease list",
    "lease timetolive {lease}",
    "put a 1 --lease={lease}",
    "put b 2 --lease={lease}",
    "lease timetolive {lease} --keys",
    "put b 3",
    "lease timetolive {lease} --keys -w fields",
    "del a",
    "put c 3 --lease={lease}",
    "lease timetolive {lease} --keys",
    "lease keep-alive --once {lease}",
    "lease keep-alive --once {lease} -w fields",
    "lease grant 600 -w fields",
    "lease revoke {lease}",
    "get '' --prefix -w json",
    "lease revoke {lease}",
    "lease timetolive {lease}",
    "lease timetolive {lease} -w fields",
    "lease keep-alive --once {lease}",
    "lease list -w fields",
    "lease grant 1",
    "lease timetolive {lease}",
    "lease grant 0",
    "lease grant -- -1",
    "lease grant 9000000001",
    "lease grant x",
    "lease revoke xyz",
    "lease grant",
]


@pytest.mark.parametrize(
    "steps",
    [
        pytest.param(GET, id="get"),
        pytest.param(SORTS, id="get-sorted"),
        pytest.param(PUT, id="put"),
        pytest.param(DELETE, id="del"),
        pytest.param(TXN, id="txn"),
        pytest.param(COMPACTION, id="compaction"),
        pytest.param(LEASE, id="lease"),
    ],
)
def test_the_output_is_the_same_as_from_etcd(steps: list[Step], compare: Compare) -> None:
    transcript = compare(play(steps))
    assert transcript.count("exit 0") > len(steps) // 2


def test_protobuf_output_carries_the_same_messages(compare: Compare) -> None:
    def scenario(ctl: Ctl) -> None:
        play(DATA)(ctl)
        answers: list[rpc_pb2.RangeResponse | rpc_pb2.PutResponse | rpc_pb2.DeleteRangeResponse] = [
            rpc_pb2.RangeResponse.FromString(ctl.raw("get", "", "--prefix", "-w=protobuf").stdout),
            rpc_pb2.PutResponse.FromString(
                ctl.raw("put", "a", "2", "--prev-kv", "-w=protobuf").stdout
            ),
            rpc_pb2.DeleteRangeResponse.FromString(
                ctl.raw("del", "a", "--prev-kv", "-w=protobuf").stdout
            ),
        ]
        for answer in answers:
            assert answer.header.cluster_id and answer.header.member_id and answer.header.raft_term
            answer.header.cluster_id = answer.header.member_id = answer.header.raft_term = 0
            ctl.note("message", str(answer))

    transcript = compare(scenario)
    assert 'key: "ab"' in "".join(transcript)


def test_a_lease_is_kept_alive_until_it_is_revoked(compare: Compare) -> None:
    def scenario(ctl: Ctl) -> None:
        ctl.run("lease", "grant", "2")
        ctl.run("put", "k", "v", f"--lease={ctl.lease}")
        alive = ctl.spawn("lease", "keep-alive", ctl.lease)
        ctl.note("kept", "".join(alive.until("keepalived", 3).splitlines(keepends=True)[:3]))
        ctl.run("get", "k")
        ctl.run("lease", "revoke", ctl.lease)
        ctl.note("ended", alive.until("expired or revoked").splitlines()[-1])
        ctl.run("get", "k")

    transcript = compare(scenario)
    assert any("keepalived with TTL(2)" in line for line in transcript)


def test_a_lease_expires_and_takes_its_keys(compare: Compare) -> None:
    def scenario(ctl: Ctl) -> None:
        ctl.run("lease", "grant", "1")
        ctl.run("put", "gone", "v", f"--lease={ctl.lease}")
        watch = ctl.spawn("watch", "gone", "--rev=1")
        ctl.note("watched", watch.until("DELETE\ngone\n\n"))
        ctl.run("get", "gone")
        ctl.run("lease", "list")

    transcript = compare(scenario)
    assert "DELETE" in transcript
