"""Alarms: what is wrong with a member, kept until someone disarms it.

NOSPACE makes writes fail that would grow the store, CORRUPT makes every request fail but those
that help to look into it. Kept in bucket `alarm`, the key being the serialized AlarmMember.

Semantics: etcd's server/etcdserver/api/v3alarm, release 3.6.
"""

from __future__ import annotations

from typing import Final

from sampan.store.core.backend import Backend
from sampan.store.pb.rpc_pb2 import (
    AlarmMember,
    AlarmRequest,
    AlarmResponse,
    AlarmType,
)

__all__ = ["AlarmStore", "describe"]

_BUCKET: Final = "alarm"
_KNOWN: Final = frozenset((AlarmType.NOSPACE, AlarmType.CORRUPT))


def describe(alarm: AlarmMember) -> str:
    """Return the alarm as a status report names it, in protobuf's compact text form."""
    text = f"memberID:{alarm.memberID} " if alarm.memberID else ""
    name = AlarmType.Name(alarm.alarm)
    return f"{text}alarm:{name} " if alarm.alarm != AlarmType.NONE else text


class AlarmStore:
    """The alarms that are on; one instance per state machine."""

    def __init__(self, backend: Backend) -> None:
        """Load the alarms from `backend`."""
        self._backend = backend
        self._active: set[tuple[AlarmType, int]] = set()
        self.nospace = False
        """Whether any member has the NOSPACE alarm."""
        self.corrupt = False
        """Whether any member has the CORRUPT alarm."""
        self.restore()

    def restore(self) -> None:
        """Take the alarms from the backend, as after a snapshot has replaced it."""
        self._active.clear()
        for key, _ in self._backend.scan(_BUCKET):
            member = AlarmMember.FromString(key)
            self._active.add((member.alarm, member.memberID))
        self._settle()

    def get(self, alarm: AlarmType = AlarmType.NONE) -> list[AlarmMember]:
        """Return the active alarms of one type (NONE: of all), by type, then by member."""
        return [
            AlarmMember(memberID=member, alarm=kind)
            for kind, member in sorted(self._active)
            if alarm in (AlarmType.NONE, kind)
        ]

    def apply(self, body: bytes) -> AlarmResponse:
        """Apply a serialized AlarmRequest. Returns the response without its header.

        The response lists the alarm switched on (also when it was on already) or off; to switch
        off what is not on, or on what is no known type, answers with an empty list.
        """
        request = AlarmRequest.FromString(body)
        if request.action == AlarmRequest.GET:
            return AlarmResponse(alarms=self.get(request.alarm))
        alarm = AlarmMember(memberID=request.memberID, alarm=request.alarm)
        if request.action == AlarmRequest.ACTIVATE:
            changed = self._activate(alarm)
        elif request.action == AlarmRequest.DEACTIVATE:
            changed = self._deactivate(alarm)
        else:
            changed = False
        return AlarmResponse(alarms=[alarm] if changed else [])

    def _activate(self, alarm: AlarmMember) -> bool:
        if alarm.alarm not in _KNOWN:
            return False
        self._active.add((alarm.alarm, alarm.memberID))
        self._backend.put(_BUCKET, alarm.SerializeToString(deterministic=True), b"")
        self._settle()
        return True

    def _deactivate(self, alarm: AlarmMember) -> bool:
        if (alarm.alarm, alarm.memberID) not in self._active:
            return False
        self._active.remove((alarm.alarm, alarm.memberID))
        self._backend.delete(_BUCKET, alarm.SerializeToString(deterministic=True))
        self._settle()
        return True

    def _settle(self) -> None:
        kinds = {kind for kind, _ in self._active}
        self.nospace = AlarmType.NOSPACE in kinds
        self.corrupt = AlarmType.CORRUPT in kinds
