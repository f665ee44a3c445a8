"""Raft's messages as bytes between members: see `pb/peer.proto`.

Entries travel in runs of one term and type, as lengths and one block of data: to decode a thousand
of them takes one message and not a thousand.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import accumulate, pairwise

from sampan.raft import ConfState, Entry, EntryType, Message, MsgType, Snapshot
from sampan.store.pb import peer_pb2 as pb

__all__ = ["decode_frame", "decode_message", "encode_frame", "encode_message"]

_NUMBERS = {
    MsgType.PROPOSE: 1,
    MsgType.APPEND: 2,
    MsgType.APPEND_RESP: 3,
    MsgType.VOTE: 4,
    MsgType.VOTE_RESP: 5,
    MsgType.PRE_VOTE: 6,
    MsgType.PRE_VOTE_RESP: 7,
    MsgType.SNAPSHOT: 8,
    MsgType.HEARTBEAT: 9,
    MsgType.HEARTBEAT_RESP: 10,
    MsgType.READ_INDEX: 11,
    MsgType.READ_INDEX_RESP: 12,
    MsgType.TRANSFER_LEADER: 13,
    MsgType.TIMEOUT_NOW: 14,
}
_TYPES = {number: kind for kind, number in _NUMBERS.items()}


def encode_frame(messages: Iterable[Message]) -> bytes:
    """Return a serialized Packet with these messages."""
    packet = pb.Packet(frame=pb.Frame(messages=[encode_message(one) for one in messages]))
    return packet.SerializeToString()


def decode_frame(frame: pb.Frame) -> list[Message]:
    """Return the messages of a frame. Raises ValueError for what no member sends."""
    return [decode_message(one) for one in frame.messages]


def encode_message(message: Message) -> pb.Message:
    """Return the message to be serialized."""
    return pb.Message(
        type=_NUMBERS[message.type],
        to=message.to,
        sender=message.sender,
        term=message.term,
        index=message.index,
        log_term=message.log_term,
        commit=message.commit,
        reject=message.reject,
        hint=message.hint,
        forced=message.forced,
        context=message.context,
        runs=_runs(message.entries) if message.entries else None,
        snapshot=None if message.snapshot is None else _encode_snapshot(message.snapshot),
    )


def decode_message(found: pb.Message) -> Message:
    """Return Raft's message. Raises ValueError for an unknown type or lengths that do not fit."""
    kind = _TYPES.get(found.type)
    if kind is None:
        raise ValueError(f"message type {found.type} is not known")
    return Message(
        type=kind,
        to=found.to,
        sender=found.sender,
        term=found.term,
        index=found.index,
        log_term=found.log_term,
        entries=_entries(found.runs) if found.runs else (),
        commit=found.commit,
        reject=found.reject,
        hint=found.hint,
        forced=found.forced,
        snapshot=_decode_snapshot(found.snapshot) if found.HasField("snapshot") else None,
        context=found.context,
    )


def _runs(entries: Sequence[Entry]) -> list[pb.Run]:
    runs: list[list[Entry]] = []
    before: Entry | None = None
    for entry in entries:
        if before is not None and _continues(before, entry):
            runs[-1].append(entry)
        else:
            runs.append([entry])
        before = entry
    return [
        pb.Run(
            term=run[0].term,
            first_index=run[0].index,
            type=run[0].type,
            lengths=[len(entry.data) for entry in run],
            data=b"".join([entry.data for entry in run]),
        )
        for run in runs
    ]


def _continues(before: Entry, entry: Entry) -> bool:
    if before.term != entry.term or before.type is not entry.type:
        return False
    return entry.index == (before.index + 1 if before.index else 0)


def _entries(runs: Iterable[pb.Run]) -> tuple[Entry, ...]:
    entries: list[Entry] = []
    for run in runs:
        lengths, data = run.lengths, run.data
        if sum(lengths) != len(data):
            raise ValueError("the lengths of entries do not add up to their data")
        term, kind = run.term, EntryType(run.type)
        index, step = run.first_index, 1 if run.first_index else 0
        for start, end in pairwise(accumulate(lengths, initial=0)):
            entries.append(Entry(term, index, data[start:end], kind))
            index += step
    return tuple(entries)


def _encode_snapshot(snapshot: Snapshot) -> pb.SnapshotMark:
    state = snapshot.conf_state
    return pb.SnapshotMark(
        index=snapshot.index,
        term=snapshot.term,
        conf_state=pb.ConfState(
            voters=state.voters,
            learners=state.learners,
            voters_outgoing=state.voters_outgoing,
            learners_next=state.learners_next,
            auto_leave=state.auto_leave,
        ),
    )


def _decode_snapshot(found: pb.SnapshotMark) -> Snapshot:
    state = found.conf_state
    return Snapshot(
        found.index,
        found.term,
        ConfState(
            voters=tuple(state.voters),
            learners=tuple(state.learners),
            voters_outgoing=tuple(state.voters_outgoing),
            learners_next=tuple(state.learners_next),
            auto_leave=state.auto_leave,
        ),
    )
