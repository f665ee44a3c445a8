"""Membership changes as they stand in the log.

Encoded as the protobuf message of etcd's raft (`ConfChangeV2`), which is small enough to write
by hand: field 1 transition, 2 changes (1 type, 2 node_id), 3 context.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from sampan.raft.errors import ConfChangeError

__all__ = ["Change", "ChangeType", "ConfChange", "Transition", "decode", "encode"]

_VARINT, _BYTES = 0, 2


class ChangeType(IntEnum):
    """What happens to one member."""

    ADD_VOTER = 0
    REMOVE = 1
    UPDATE = 2
    ADD_LEARNER = 3


class Transition(IntEnum):
    """How the change is made.

    AUTO      one step if one voter changes at most, else joint with automatic leave
    IMPLICIT  joint, left automatically once it is applied
    EXPLICIT  joint, left by proposing an empty ConfChange
    """

    AUTO = 0
    IMPLICIT = 1
    EXPLICIT = 2


@dataclass(frozen=True, slots=True)
class Change:
    """What happens to one member; UPDATE changes nothing but carries the context through."""

    type: ChangeType
    member: int


@dataclass(frozen=True, slots=True)
class ConfChange:
    """A change of one or several members; without changes it leaves a joint configuration."""

    changes: tuple[Change, ...] = ()
    transition: Transition = Transition.AUTO
    context: bytes = b""

    @property
    def leaves_joint(self) -> bool:
        """Whether it asks to leave the joint configuration."""
        return not self.changes and self.transition is Transition.AUTO

    @property
    def enters_joint(self) -> bool:
        """Whether it goes through a joint configuration."""
        return self.transition is not Transition.AUTO or len(self.changes) > 1

    @property
    def auto_leave(self) -> bool:
        """Whether the joint configuration it enters is left without being asked."""
        return self.transition is not Transition.EXPLICIT


def encode(change: ConfChange) -> bytes:
    """Return the bytes of an entry's data."""
    out = bytearray()
    if change.transition:
        out += bytes((1 << 3 | _VARINT, change.transition))
    for one in change.changes:
        inner = bytearray()
        if one.type:
            inner += bytes((1 << 3 | _VARINT, one.type))
        inner += bytes((2 << 3 | _VARINT,)) + _varint(one.member)
        out += bytes((2 << 3 | _BYTES, len(inner))) + inner
    if change.context:
        out += bytes((3 << 3 | _BYTES,)) + _varint(len(change.context)) + change.context
    return bytes(out)


def decode(data: bytes) -> ConfChange:
    """Return the change that `data` holds. Raises ConfChangeError for anything else."""
    try:
        return _decode(data)
    except (ValueError, IndexError) as error:
        raise ConfChangeError(f"the entry is no membership change: {error}") from None


def _decode(data: bytes) -> ConfChange:
    transition, changes, context = Transition.AUTO, [], b""
    for field, value in _fields(data):
        if field == 1 and isinstance(value, int):
            transition = Transition(value)
        elif field == 2 and isinstance(value, bytes):
            kind, member = ChangeType.ADD_VOTER, 0
            for inner, number in _fields(value):
                if inner == 1:
                    kind = ChangeType(int(number))
                elif inner == 2 and isinstance(number, int):
                    member = number
            changes.append(Change(kind, member))
        elif field == 3 and isinstance(value, bytes):
            context = value
    return ConfChange(tuple(changes), transition, context)


def _fields(data: bytes) -> list[tuple[int, int | bytes]]:
    found: list[tuple[int, int | bytes]] = []
    position = 0
    while position < len(data):
        key, position = _read_varint(data, position)
        value, position = _read_varint(data, position)
        if key & 7 == _VARINT:
            found.append((key >> 3, value))
        elif key & 7 == _BYTES:
            if position + value > len(data):
                raise ValueError("the field is cut off")
            found.append((key >> 3, data[position : position + value]))
            position += value
        else:
            raise ValueError(f"unknown wire type {key & 7}")
    return found


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _read_varint(data: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
        if shift > 63:
            raise ValueError("the number is too long")
