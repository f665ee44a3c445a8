"""Alarms: raised, listed, disarmed, and still there after a restart."""

from __future__ import annotations

import pytest
from tests.store.buckets import Buckets

from sampan.store.core.alarm import AlarmStore, describe
from sampan.store.pb.rpc_pb2 import AlarmMember, AlarmRequest, AlarmType


@pytest.fixture
def backend() -> Buckets:
    return Buckets()


@pytest.fixture
def alarms(backend: Buckets) -> AlarmStore:
    return AlarmStore(backend)


def ask(
    alarms: AlarmStore,
    action: AlarmRequest.AlarmAction,
    alarm: AlarmType = AlarmType.NONE,
    member: int = 1,
) -> list[tuple[int, int]]:
    request = AlarmRequest(action=action, memberID=member, alarm=alarm)
    answer = alarms.apply(request.SerializeToString())
    return [(found.memberID, found.alarm) for found in answer.alarms]


def test_raised_listed_and_disarmed(alarms: AlarmStore) -> None:
    assert ask(alarms, AlarmRequest.GET) == []
    assert ask(alarms, AlarmRequest.ACTIVATE, AlarmType.NOSPACE) == [(1, AlarmType.NOSPACE)]
    assert alarms.nospace and not alarms.corrupt
    assert ask(alarms, AlarmRequest.GET) == [(1, AlarmType.NOSPACE)]
    assert ask(alarms, AlarmRequest.GET, AlarmType.CORRUPT) == []
    assert ask(alarms, AlarmRequest.DEACTIVATE, AlarmType.NOSPACE) == [(1, AlarmType.NOSPACE)]
    assert not alarms.nospace
    assert ask(alarms, AlarmRequest.DEACTIVATE, AlarmType.NOSPACE) == []


def test_an_alarm_lasts_until_every_member_is_disarmed(alarms: AlarmStore) -> None:
    for member in (2, 1):
        ask(alarms, AlarmRequest.ACTIVATE, AlarmType.CORRUPT, member)
    ask(alarms, AlarmRequest.ACTIVATE, AlarmType.NOSPACE, 3)
    listed = [(3, AlarmType.NOSPACE), (1, AlarmType.CORRUPT), (2, AlarmType.CORRUPT)]
    assert ask(alarms, AlarmRequest.GET) == listed
    ask(alarms, AlarmRequest.DEACTIVATE, AlarmType.CORRUPT, 1)
    assert alarms.corrupt
    ask(alarms, AlarmRequest.DEACTIVATE, AlarmType.CORRUPT, 2)
    assert not alarms.corrupt and alarms.nospace


def test_raising_twice_answers_as_once(alarms: AlarmStore) -> None:
    for _ in range(2):
        assert ask(alarms, AlarmRequest.ACTIVATE, AlarmType.NOSPACE) == [(1, AlarmType.NOSPACE)]
    assert len(alarms.get()) == 1


def test_no_alarm_and_unknown_alarms_are_not_raised(alarms: AlarmStore) -> None:
    assert ask(alarms, AlarmRequest.ACTIVATE, AlarmType.NONE) == []
    assert alarms.apply(b"\x08\x01\x10\x01\x18\x09").alarms == []
    assert alarms.apply(b"\x08\x07\x10\x01\x18\x01").alarms == []
    assert alarms.get() == []


def test_a_restart_finds_the_alarms(alarms: AlarmStore, backend: Buckets) -> None:
    ask(alarms, AlarmRequest.ACTIVATE, AlarmType.NOSPACE, 42)
    assert list(backend.scan("alarm")) == [(b"\x08\x2a\x10\x01", b"")]
    again = AlarmStore(backend)
    assert again.nospace
    assert [alarm.memberID for alarm in again.get()] == [42]


def test_the_text_of_a_status_report() -> None:
    alarm = AlarmMember(memberID=9372538179322589801, alarm=AlarmType.NOSPACE)
    assert describe(alarm) == "memberID:9372538179322589801 alarm:NOSPACE "
