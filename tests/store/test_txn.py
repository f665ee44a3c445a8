"""What a transaction is refused for, what it decides, and that it is all or nothing."""

from __future__ import annotations

import pytest
from tests.store.buckets import Buckets, Leases

from sampan.store.core import query, requests, txn
from sampan.store.core.mvcc import Mvcc
from sampan.store.pb import rpc_pb2 as pb
from sampan.wire.grpc.status import RpcError


def put_op(key: bytes, value: bytes = b"v", **more: object) -> pb.RequestOp:
    return pb.RequestOp(request_put=pb.PutRequest(key=key, value=value, **more))  # type: ignore[arg-type]


def delete_op(key: bytes, end: bytes = b"") -> pb.RequestOp:
    return pb.RequestOp(request_delete_range=pb.DeleteRangeRequest(key=key, range_end=end))


def range_op(key: bytes, end: bytes = b"", revision: int = 0) -> pb.RequestOp:
    request = pb.RangeRequest(key=key, range_end=end, revision=revision)
    return pb.RequestOp(request_range=request)


def txn_op(success: list[pb.RequestOp], failure: list[pb.RequestOp] | None = None) -> pb.RequestOp:
    return pb.RequestOp(request_txn=pb.TxnRequest(success=success, failure=failure or []))


@pytest.fixture
def mvcc() -> Mvcc:
    mvcc = Mvcc(Buckets(), Leases())
    for key, value in ((b"a", b"1"), (b"b", b"2"), (b"c", b"2")):
        mvcc.put(key, value, 0)
        mvcc.commit()
    return mvcc


def run(mvcc: Mvcc, request: pb.TxnRequest) -> pb.TxnResponse:
    requests.check_txn(request, 128)
    return txn.run(mvcc, Leases(), request)


@pytest.mark.parametrize(
    "ops",
    [
        [put_op(b"k"), put_op(b"k")],
        [put_op(b"k"), delete_op(b"k")],
        [delete_op(b"a", b"z"), put_op(b"k")],
        [put_op(b"k"), txn_op([put_op(b"k")])],
        [put_op(b"k"), txn_op([], [put_op(b"k")])],
        [txn_op([put_op(b"k")]), txn_op([put_op(b"k")])],
        [txn_op([delete_op(b"k")]), put_op(b"k")],
        [delete_op(b"j", b"l"), txn_op([txn_op([put_op(b"k")])])],
    ],
)
def test_one_key_changes_once(ops: list[pb.RequestOp]) -> None:
    for request in (pb.TxnRequest(success=ops), pb.TxnRequest(failure=ops)):
        with pytest.raises(RpcError, match="duplicate key given in txn request"):
            requests.check_txn(request, 128)


@pytest.mark.parametrize(
    "ops",
    [
        [put_op(b"k"), put_op(b"l")],
        [delete_op(b"a", b"z"), delete_op(b"b")],
        [txn_op([put_op(b"k")], [put_op(b"k")])],
        [delete_op(b"a", b"k"), put_op(b"k")],
        # As etcd has it: a deletion of everything from a key on is not held against puts.
        [delete_op(b"a", b"\0"), put_op(b"k")],
    ],
)
def test_what_does_not_conflict_is_allowed(ops: list[pb.RequestOp]) -> None:
    requests.check_txn(pb.TxnRequest(success=ops, failure=ops), 128)


def test_nested_operations_count() -> None:
    deep = txn_op([put_op(b"%d" % n) for n in range(100)])
    requests.check_txn(pb.TxnRequest(success=[deep]), 128)
    wide = [deep, *(range_op(b"k") for _ in range(50))]
    with pytest.raises(RpcError, match="too many operations in txn request"):
        requests.check_txn(pb.TxnRequest(success=wide), 128)


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (pb.TxnRequest(success=[put_op(b"")]), "key is not provided"),
        (pb.TxnRequest(compare=[pb.Compare()]), "key is not provided"),
        (pb.TxnRequest(success=[pb.RequestOp()]), "key not found"),
        (pb.TxnRequest(failure=[put_op(b"k", ignore_value=True)]), "value is provided"),
        (pb.TxnRequest(failure=[put_op(b"k", lease=1, ignore_lease=True)]), "lease is provided"),
    ],
)
def test_malformed_operations_are_refused(request_: pb.TxnRequest, message: str) -> None:
    with pytest.raises(RpcError, match=message):
        requests.check_txn(request_, 128)


@pytest.mark.parametrize(
    ("compare", "holds"),
    [
        (pb.Compare(key=b"a", target="VALUE", value=b"1"), True),
        (pb.Compare(key=b"a", target="VALUE", value=b"2", result="LESS"), True),
        (pb.Compare(key=b"x", target="VALUE", value=b"", result="EQUAL"), False),
        (pb.Compare(key=b"x", target="VERSION", version=0), True),
        (pb.Compare(key=b"x", target="CREATE", create_revision=1, result="LESS"), True),
        (pb.Compare(key=b"b", target="MOD", mod_revision=3), True),
        (pb.Compare(key=b"b", target="LEASE", lease=0), True),
        (pb.Compare(key=b"b", range_end=b"d", target="VALUE", value=b"2"), True),
        (pb.Compare(key=b"a", range_end=b"\0", target="VALUE", value=b"2"), False),
        (pb.Compare(key=b"x", range_end=b"z", target="VERSION", version=1), False),
        (pb.Compare(key=b"a", target="VERSION", version=1, result="NOT_EQUAL"), False),
    ],
)
def test_compares(mvcc: Mvcc, compare: pb.Compare, holds: bool) -> None:
    assert run(mvcc, pb.TxnRequest(compare=[compare])).succeeded is holds


def test_reads_see_the_transactions_own_writes(mvcc: Mvcc) -> None:
    ops = [range_op(b"n"), put_op(b"n", b"new"), range_op(b"n"), delete_op(b"a"), range_op(b"a")]
    response = run(mvcc, pb.TxnRequest(success=ops))
    before, put, after, deleted, gone = response.responses
    assert before.response_range.count == 0
    assert after.response_range.kvs[0].value == b"new"
    assert deleted.response_delete_range.deleted == 1
    assert gone.response_range.count == 0
    assert response.header.revision == put.response_put.header.revision == 5
    assert before.response_range.header.revision == 4
    assert after.response_range.kvs[0].mod_revision == 5


def test_inner_compares_see_the_state_before_the_transaction(mvcc: Mvcc) -> None:
    inner = pb.TxnRequest(
        compare=[pb.Compare(key=b"n", target="VERSION", version=0)], success=[range_op(b"n")]
    )
    ops = [put_op(b"n"), pb.RequestOp(request_txn=inner)]
    response = run(mvcc, pb.TxnRequest(success=ops))
    assert response.responses[1].response_txn.succeeded
    assert response.responses[1].response_txn.responses[0].response_range.count == 1


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (put_op(b"z", lease=99), "requested lease not found"),
        (range_op(b"a", revision=50), "required revision is a future revision"),
        (put_op(b"missing", b"", ignore_value=True), "key not found"),
    ],
)
def test_a_transaction_is_all_or_nothing(mvcc: Mvcc, bad: pb.RequestOp, message: str) -> None:
    with pytest.raises(RpcError, match=message):
        run(mvcc, pb.TxnRequest(success=[put_op(b"n"), txn_op([bad])]))
    assert mvcc.commit() == 4
    assert query.select(mvcc, pb.RangeRequest(key=b"n"))[2] == 0


def test_only_ranges_is_read_only() -> None:
    reads = pb.TxnRequest(success=[range_op(b"a"), txn_op([range_op(b"b")])])
    assert requests.is_read_only(reads) and not requests.has_put(reads)
    deletes = pb.TxnRequest(failure=[txn_op([], [delete_op(b"a")])])
    assert not requests.is_read_only(deletes) and not requests.has_put(deletes)
    assert requests.has_put(pb.TxnRequest(success=[txn_op([], [put_op(b"a")])]))


@pytest.mark.parametrize(
    ("options", "keys", "more", "count"),
    [
        ({}, [b"a", b"b", b"c"], False, 3),
        ({"limit": 2}, [b"a", b"b"], True, 3),
        ({"limit": 3}, [b"a", b"b", b"c"], False, 3),
        ({"sort_order": "DESCEND", "limit": 1}, [b"c"], True, 3),
        ({"sort_target": "MOD", "sort_order": "DESCEND"}, [b"c", b"b", b"a"], False, 3),
        ({"sort_target": "VALUE", "sort_order": "DESCEND", "limit": 2}, [b"b", b"c"], True, 3),
        ({"min_mod_revision": 3}, [b"b", b"c"], False, 3),
        ({"max_create_revision": 3, "limit": 1}, [b"a"], True, 3),
        ({"count_only": True, "limit": 1}, [], False, 3),
        ({"revision": 3}, [b"a", b"b"], False, 2),
    ],
)
def test_range_options(
    mvcc: Mvcc, options: dict[str, object], keys: list[bytes], more: bool, count: int
) -> None:
    request = pb.RangeRequest(key=b"a", range_end=b"z", **options)  # type: ignore[arg-type]
    response = pb.RangeResponse.FromString(query.answer(mvcc, request, b""))
    assert ([kv.key for kv in response.kvs], response.more, response.count) == (keys, more, count)


def test_keys_only_leaves_out_nothing_but_the_value(mvcc: Mvcc) -> None:
    request = pb.RangeRequest(key=b"b", keys_only=True)
    kv = pb.RangeResponse.FromString(query.answer(mvcc, request, b"")).kvs[0]
    assert (kv.key, kv.value, kv.create_revision, kv.mod_revision, kv.version) == (
        b"b",
        b"",
        3,
        3,
        1,
    )
