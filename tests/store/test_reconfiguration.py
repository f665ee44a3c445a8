"""Changes of the members that could cost the quorum are refused, all others are let through."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest

from sampan.store.core import errors
from sampan.store.core.cluster import Member
from sampan.store.core.errors import StoreError
from sampan.store.core.reconfiguration import Standing
from sampan.wire.grpc.status import RpcError


def standing(
    started: Iterable[int],
    *,
    new: Iterable[int] = (),
    learners: Iterable[int] = (),
    down: Iterable[int] = (),
    fresh: Iterable[int] = (),
) -> Standing:
    """As member 1 sees it: `down` are not connected, `fresh` have been only just now."""
    members = [Member(each, (f"http://m{each}:1",), f"m{each}") for each in started]
    members += [Member(each, (f"http://m{each}:1",)) for each in new]
    members += [
        Member(each, (f"http://m{each}:1",), f"m{each}", is_learner=True) for each in learners
    ]
    connected = {member.id for member in members} - set(down) - set(new) - {1}
    return Standing(members, 1, frozenset(connected), frozenset(connected - set(fresh)))


def outcome(call: Callable[[], None]) -> StoreError | None:
    try:
        call()
    except RpcError as error:
        return errors.BY_MESSAGE[error.message]
    return None


@pytest.mark.parametrize(
    ("now", "learner", "expected"),
    [
        (standing([1]), False, None),
        (standing([1, 2, 3]), False, None),
        (standing([1], new=[2]), False, errors.UNHEALTHY),
        (standing([1, 2], new=[3, 4]), False, errors.MEMBER_NOT_ENOUGH_STARTED),
        (standing([1, 2, 3], down=[3]), False, errors.UNHEALTHY),
        (standing([1, 2, 3], fresh=[2]), False, errors.UNHEALTHY),
        (standing([1, 2], new=[3, 4]), True, errors.UNHEALTHY),
        (standing([1, 2, 3], down=[3]), True, errors.UNHEALTHY),
        (standing([1, 2, 3], learners=[4], down=[4]), False, None),
        (standing([1, 2, 3]), True, None),
    ],
)
def test_adding(now: Standing, learner: bool, expected: StoreError | None) -> None:
    assert outcome(lambda: now.check_add(is_learner=learner)) is expected


@pytest.mark.parametrize(
    ("now", "member", "expected"),
    [
        (standing([1]), 1, errors.MEMBER_NOT_ENOUGH_STARTED),
        (standing([1, 2]), 2, None),
        (standing([1, 2, 3]), 1, None),
        (standing([1, 2, 3], down=[3]), 3, None),
        (standing([1, 2, 3], down=[3]), 2, errors.UNHEALTHY),
        (standing([1, 2, 3], down=[3]), 1, errors.UNHEALTHY),
        (standing([1, 2, 3], fresh=[3]), 2, errors.UNHEALTHY),
        (standing([1, 2, 3, 4, 5], down=[5]), 4, None),
        (standing([1, 2, 3, 4, 5], down=[4, 5]), 3, errors.UNHEALTHY),
        (standing([1, 2], new=[3, 4]), 2, errors.MEMBER_NOT_ENOUGH_STARTED),
        (standing([1, 2, 3], learners=[4], down=[2, 3]), 4, None),
    ],
)
def test_removing(now: Standing, member: int, expected: StoreError | None) -> None:
    assert outcome(lambda: now.check_remove(member)) is expected


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        (standing([1], learners=[2]), None),
        (standing([1, 2, 3], learners=[4], down=[3]), None),
        (standing([1], new=[2, 3], learners=[4]), errors.MEMBER_NOT_ENOUGH_STARTED),
    ],
)
def test_promoting(now: Standing, expected: StoreError | None) -> None:
    assert outcome(now.check_promote) is expected
