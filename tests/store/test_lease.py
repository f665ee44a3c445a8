"""The lessor: what the log decides, and what the clock of the primary decides."""

from __future__ import annotations

import math

import pytest
from tests.store.buckets import Buckets

from sampan.store.core import errors
from sampan.store.core.errors import StoreError
from sampan.store.core.lease import MAX_TTL_S, Lessor
from sampan.store.core.mvcc import Mvcc
from sampan.store.pb import lease_pb2
from sampan.wire.grpc.status import RpcError


class Clock:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


class World:
    def __init__(self, backend: Buckets | None = None, checkpoint_s: float = 300.0) -> None:
        self.clock = Clock()
        self.backend = backend or Buckets()
        self.lessor = Lessor(self.backend, self.clock, checkpoint_interval_s=checkpoint_s)
        self.mvcc = Mvcc(self.backend, self.lessor)

    def primary(self) -> World:
        self.lessor.promote()
        return self

    def put(self, key: bytes, lease_id: int) -> None:
        self.mvcc.put(key, b"v", lease_id)
        self.mvcc.commit()

    def restarted(self) -> World:
        world = World(self.backend)
        world.lessor.restore()
        world.mvcc.restore([sorted(self.backend.revisions.items())])
        return world


def refused(kind: StoreError) -> pytest.RaisesExc[RpcError]:
    return pytest.raises(RpcError, check=kind.matches)


def test_a_grant_says_what_is_wrong_with_it() -> None:
    lessor = World().lessor
    with refused(errors.LEASE_NOT_FOUND):
        lessor.grant(0, 10)
    with refused(errors.LEASE_TTL_TOO_LARGE):
        lessor.grant(1, MAX_TTL_S + 1)
    assert lessor.grant(1, MAX_TTL_S).ttl_s == MAX_TTL_S
    with refused(errors.LEASE_EXIST):
        lessor.grant(1, 10)


@pytest.mark.parametrize("ttl_s", [-5, 0, 1, 2])
def test_a_short_time_is_raised_to_the_minimum(ttl_s: int) -> None:
    assert World().lessor.grant(1, ttl_s).ttl_s == 2


def test_revoking_deletes_the_keys_in_order_in_one_revision() -> None:
    world = World().primary()
    world.lessor.grant(7, 10)
    for key in (b"c", b"a", b"b"):
        world.put(key, 7)
    world.put(b"other", 0)
    before = world.mvcc.revision
    world.lessor.revoke(7, world.mvcc)
    assert world.mvcc.revision == before + 1
    changes = list(world.mvcc.changes(before + 1, before + 2))
    assert [(key, deleted) for key, _, _, deleted, _ in changes] == [
        (b"a", True),
        (b"b", True),
        (b"c", True),
    ]
    assert list(world.mvcc.index.live) == [b"other"]
    with refused(errors.LEASE_NOT_FOUND):
        world.lessor.revoke(7, world.mvcc)


def test_revoking_a_lease_without_keys_takes_no_revision() -> None:
    world = World().primary()
    world.lessor.grant(7, 10)
    before = world.mvcc.revision
    world.lessor.revoke(7, world.mvcc)
    assert world.mvcc.revision == before


def test_a_key_belongs_to_the_lease_of_its_last_put() -> None:
    world = World().primary()
    first, second = world.lessor.grant(1, 10), world.lessor.grant(2, 10)
    world.put(b"k", 1)
    assert first.keys == {b"k"}
    world.put(b"k", 2)
    assert (first.keys, second.keys) == (set(), {b"k"})
    world.put(b"k", 0)
    assert second.keys == set()
    world.put(b"k", 2)
    world.mvcc.delete(b"k")
    assert second.keys == set()


def test_a_lease_runs_out_on_the_primary_only() -> None:
    world = World()
    lease = world.lessor.grant(1, 10)
    world.clock.now_s += 1000
    assert world.lessor.expired(10) == []
    assert math.isinf(world.lessor.remaining_s(lease))
    with refused(errors.NOT_LEADER):
        world.lessor.renew(1)
    world.lessor.promote(extend_s=1)
    assert world.lessor.remaining_s(lease) == 11
    world.clock.now_s += 11
    assert world.lessor.expired(10) == [1]


def test_a_keepalive_starts_the_time_again() -> None:
    world = World().primary()
    world.lessor.grant(1, 10)
    for _ in range(5):
        world.clock.now_s += 9
        assert world.lessor.renew(1) == 10
        assert world.lessor.expired(10) == []
    world.clock.now_s += 10
    assert world.lessor.expired(10) == [1]


def test_a_keepalive_that_comes_too_late_answers_zero() -> None:
    world = World().primary()
    world.lessor.grant(1, 10)
    world.clock.now_s += 10
    assert world.lessor.has_run_out(1)
    assert world.lessor.renew(1) == 0
    assert world.lessor.renew(404) == 0
    assert not world.lessor.has_run_out(404)


def test_expired_leases_come_in_order_at_a_limited_rate_and_again_if_not_revoked() -> None:
    world = World().primary()
    for lease_id, ttl_s in ((1, 30), (2, 10), (3, 20)):
        world.lessor.grant(lease_id, ttl_s)
    world.clock.now_s += 60
    assert world.lessor.expired(2) == [2, 3]
    assert world.lessor.expired(2) == [1]
    assert world.lessor.expired(2) == []
    world.lessor.revoke(2, world.mvcc)
    world.clock.now_s += 3
    assert world.lessor.expired(5) == [3, 1]


def test_an_id_granted_again_does_not_inherit_the_old_deadline() -> None:
    world = World().primary()
    world.lessor.grant(1, 10)
    world.lessor.revoke(1, world.mvcc)
    world.lessor.grant(1, 100)
    world.clock.now_s += 50
    assert world.lessor.expired(10) == []


def test_who_waits_for_the_end_of_a_lease_is_told() -> None:
    world = World().primary()
    told: list[str] = []
    world.lessor.grant(1, 10).when_revoked(lambda: told.append("gone"))
    world.lessor.revoke(1, world.mvcc)
    assert told == ["gone"]


def test_leases_are_listed_by_what_is_left_to_them() -> None:
    world = World().primary()
    for lease_id, ttl_s in ((1, 30), (2, 10), (3, 20)):
        world.lessor.grant(lease_id, ttl_s)
    assert [lease.lease_id for lease in world.lessor.leases()] == [2, 3, 1]


def test_leases_and_their_keys_survive_a_restart() -> None:
    world = World().primary()
    world.lessor.grant(5, 60)
    world.lessor.grant(-5, 30)
    world.put(b"k", 5)
    again = world.restarted()
    again.lessor.promote()
    lease = again.lessor.lookup(5)
    assert lease is not None
    assert (lease.ttl_s, lease.keys, again.lessor.remaining_s(lease)) == (60, {b"k"}, 60)
    assert -5 in again.lessor
    assert len(again.lessor) == 2


def test_a_revoked_lease_is_gone_after_a_restart() -> None:
    world = World().primary()
    world.lessor.grant(5, 60)
    world.lessor.revoke(5, world.mvcc)
    assert len(world.restarted().lessor) == 0


def test_the_stored_form_is_etcds() -> None:
    world = World().primary()
    world.lessor.grant(0x0102, 60)
    row = world.backend.get("lease", bytes([0, 0, 0, 0, 0, 0, 1, 2]))
    assert row == lease_pb2.Lease(ID=0x0102, TTL=60).SerializeToString()


def test_a_checkpoint_keeps_the_remaining_time_over_a_restart() -> None:
    world = World().primary()
    world.lessor.grant(1, 1000)
    world.clock.now_s += 299
    assert world.lessor.due_checkpoints() == []
    world.clock.now_s += 1.5
    assert world.lessor.due_checkpoints() == [(1, 700)]
    world.lessor.checkpoint(1, 700)
    again = world.restarted()
    again.lessor.promote()
    lease = again.lessor.lookup(1)
    assert lease is not None
    assert again.lessor.remaining_s(lease) == 700


def test_checkpoints_go_on_while_the_lease_is_long_and_one_at_a_time() -> None:
    world = World().primary()
    world.lessor.grant(1, 1000)
    seen: list[int] = []
    for _ in range(4):
        world.clock.now_s += 300
        for lease_id, remaining_s in world.lessor.due_checkpoints():
            world.lessor.checkpoint(lease_id, remaining_s)
            seen.append(remaining_s)
    assert seen == [700, 400, 100]


def test_a_keepalive_resets_the_checkpoint_first() -> None:
    world = World().primary()
    world.lessor.grant(1, 1000)
    assert not world.lessor.checkpointed(1)
    world.lessor.checkpoint(1, 400)
    assert world.lessor.checkpointed(1)
    world.lessor.checkpoint(1, 0)
    assert world.lessor.renew(1) == 1000
    assert not world.lessor.checkpointed(1)
    world.lessor.checkpoint(404, 1)
    for _ in range(20):
        world.clock.now_s += 300
        assert len(world.lessor.due_checkpoints()) == 1
        world.lessor.renew(1)


def test_short_leases_and_a_switched_off_lessor_have_no_checkpoints() -> None:
    for world, ttl_s in ((World().primary(), 300), (World(checkpoint_s=math.inf).primary(), 9999)):
        world.lessor.grant(1, ttl_s)
        world.clock.now_s += 300
        assert world.lessor.due_checkpoints() == []


def test_deadlines_that_pile_up_are_spread_after_a_promotion() -> None:
    world = World()
    for lease_id in range(1, 3001):
        world.lessor.grant(lease_id, 10)
    world.lessor.promote()
    world.clock.now_s += 11
    assert 750 <= len(world.lessor.expired(5000)) <= 760
    world.clock.now_s += 1
    assert 750 <= len(world.lessor.expired(5000)) <= 760
