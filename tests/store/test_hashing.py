"""The key space hash: equal for equal histories, whatever goes on meanwhile."""

from __future__ import annotations

import pytest
from tests.store.buckets import Buckets, Leases

from sampan.store.core.hashing import KeyHash, hash_in_steps, hash_kv
from sampan.store.core.mvcc import Mvcc
from sampan.wire.grpc.status import RpcError


def filled(revisions: int) -> tuple[Mvcc, Buckets]:
    backend = Buckets()
    mvcc = Mvcc(backend, Leases())
    for n in range(revisions):
        mvcc.put(b"key-%d" % (n % 7), b"value-%d" % n, 0)
        mvcc.commit()
    return mvcc, backend


def test_equal_histories_have_equal_hashes_at_every_revision() -> None:
    one, other = filled(30), filled(40)
    for at in range(2, 31):
        assert hash_kv(*one, at) == hash_kv(*other, at)
    assert hash_kv(*one).hash != hash_kv(*other).hash


def test_what_a_compaction_has_not_freed_yet_does_not_count() -> None:
    (mvcc, backend), (freed, freed_backend) = filled(30), filled(30)
    mvcc.compact(20)
    freed.compact(20)
    for _ in freed.purge(20):
        pass
    assert hash_kv(mvcc, backend) == hash_kv(freed, freed_backend)


def test_writes_and_compactions_between_the_steps_change_nothing() -> None:
    mvcc, backend = filled(30)
    expected = hash_kv(mvcc, backend)
    steps = hash_in_steps(mvcc, backend, step=1)
    purge = None
    while True:
        try:
            next(steps)
        except StopIteration as done:
            assert done.value == expected
            break
        mvcc.put(b"key-1", b"later", 0)
        mvcc.commit()
        if purge is None:
            mvcc.compact(25)
            purge = mvcc.purge(25)
        next(purge)
    for _ in purge or ():
        pass
    assert hash_kv(mvcc, backend).compact_revision == 25


@pytest.mark.parametrize(("at", "message"), [(31, "future revision"), (5, "has been compacted")])
def test_revisions_that_cannot_be_read_cannot_be_hashed(at: int, message: str) -> None:
    mvcc, backend = filled(20)
    mvcc.compact(10)
    with pytest.raises(RpcError, match=message):
        hash_kv(mvcc, backend, at)
    assert isinstance(hash_kv(mvcc, backend, 10), KeyHash)
