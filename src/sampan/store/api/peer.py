"""The Peer service: what other members send to this one."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Awaitable, Callable, Mapping
from hashlib import sha256
from pathlib import Path
from time import time
from typing import Final, Protocol, TypeVar

from google.protobuf.message import DecodeError

from sampan.base.errors import SampanError
from sampan.raft import Message, MsgType
from sampan.store.core.greeting import NEWEST, Identity, refuse_stranger
from sampan.store.core.peerwire import decode_frame, decode_message
from sampan.store.pb import peer_pb2 as pb
from sampan.store.shell.peer_snapshot import SNAPSHOT
from sampan.store.shell.peers import ASK, MESSAGES, PeerTraffic
from sampan.store.shell.replication import PeerSink
from sampan.wire.grpc.service import (
    MethodTable,
    Peer,
    StreamCall,
    StreamMethod,
    UnaryCall,
    UnaryMethod,
)
from sampan.wire.grpc.status import Code, RpcError
from sampan.wire.h2.settings import Limits

__all__ = ["HTTP2", "RECEIVE_BYTES", "PeerHost", "methods"]

HTTP2: Final = Limits(
    stream_window_bytes=4 << 20, connection_window_bytes=8 << 20, max_frame_bytes=512 << 10
)
"""Members send much and know each other: large frames cost less."""

RECEIVE_BYTES: Final = 128 << 20
"""The largest frame taken from a member: what one turn of its loop may send together."""

SNAPSHOT_BYTES: Final = 64 << 30

_PASSED_ON: Final = frozenset({MsgType.PROPOSE, MsgType.READ_INDEX, MsgType.TRANSFER_LEADER})
"""What a member may send on for another one."""

Answerer = Callable[[bytes], Awaitable[bytes]]
_T = TypeVar("_T", pb.Packet, pb.SnapshotPiece, pb.Question)


class PeerHost(Protocol):
    """The member that the service speaks for."""

    def peer_sink(self) -> PeerSink | None:
        """Whoever takes the messages; None while the member is alone."""

    def is_removed(self, member_id: int) -> bool:
        """Whether a member was removed from the cluster."""

    def heard_from(self, member_id: int) -> None:
        """Hear that a member has connected."""

    def traffic_of(self, member_id: int) -> PeerTraffic:
        """The counters of a member."""

    def answerers(self) -> Mapping[str, Answerer]:
        """What may be asked, by subject."""


class _Peer:
    def __init__(self, host: PeerHost, me: Identity, admit: Callable[[Peer], None]) -> None:
        self._host = host
        self._me = me
        self._admit = admit

    def _check(self, greeting: pb.Greeting) -> PeerSink:
        refuse_stranger(greeting, self._me, self._host.is_removed)
        sink = self._host.peer_sink()
        if sink is None:
            raise RpcError(Code.UNAVAILABLE, "this member is alone and hears no others")
        return sink

    async def messages(self, call: StreamCall) -> None:
        """Take Raft messages as long as they come."""
        self._admit(call.peer)
        packet = await _receive(call, pb.Packet)
        sink = self._check(packet.greeting)
        sender = packet.greeting.sender
        traffic = self._host.traffic_of(sender)
        self._host.heard_from(sender)
        call.send(pb.Welcome(version=NEWEST, unix_ms=int(time() * 1000)).SerializeToString())

        def take(data: bytes) -> None:
            traffic.received_bytes += len(data)
            found = _decode(pb.Packet, data)
            messages = [_checked(one, self._me, sender) for one in _frame(found)]
            if self._host.is_removed(sender):
                self._check(packet.greeting)
            (self._host.peer_sink() or sink).received(messages)

        await call.consume(take)

    async def snapshot(self, call: StreamCall) -> None:
        """Take a snapshot into a file, verify it and hand it over."""
        self._admit(call.peer)
        greeting = (await _receive(call, pb.SnapshotPiece)).greeting
        sink = self._check(greeting)
        head = (await _receive(call, pb.SnapshotPiece)).message
        message = _checked(_message(head), self._me, greeting.sender)
        if message.snapshot is None:
            raise RpcError(Code.INVALID_ARGUMENT, "a snapshot stream without a snapshot message")
        path, fd = await asyncio.to_thread(_place, sink.snapshot_directory)
        try:
            try:
                size = await self._fill(call, fd)
            finally:
                os.close(fd)
            self._host.traffic_of(greeting.sender).received_bytes += size
            await sink.receive_snapshot(message, path)
        except (OSError, SampanError) as error:
            if isinstance(error, RpcError):
                raise
            raise RpcError(Code.UNAVAILABLE, f"cannot take the snapshot: {error}") from error
        finally:
            await asyncio.to_thread(path.unlink, missing_ok=True)
        call.send(pb.Welcome(version=NEWEST, unix_ms=int(time() * 1000)).SerializeToString())

    async def _fill(self, call: StreamCall, fd: int) -> int:
        digest = sha256()
        size = 0

        def keep(block: bytes) -> None:
            digest.update(block)
            while block:
                block = block[os.write(fd, block) :]

        while True:
            piece = await _receive(call, pb.SnapshotPiece)
            if piece.WhichOneof("content") != "block":
                break
            size += len(piece.block)
            if size > SNAPSHOT_BYTES:
                raise RpcError(Code.RESOURCE_EXHAUSTED, "the snapshot is too large")
            await asyncio.to_thread(keep, piece.block)
        if piece.sha256 != digest.digest():
            raise RpcError(Code.DATA_LOSS, "the snapshot does not match its SHA-256: send it again")
        await asyncio.to_thread(os.fsync, fd)
        return size

    def ask(self, call: UnaryCall, body: bytes) -> None:
        """Answer a question."""
        self._admit(call.peer)
        question = _decode(pb.Question, body)
        if question.greeting.cluster or question.greeting.sender:
            refuse_stranger(question.greeting, self._me, self._host.is_removed)
        answerer = self._host.answerers().get(question.subject)
        if answerer is None:
            raise RpcError(Code.UNIMPLEMENTED, f"no answer to {question.subject!r}")

        async def answer() -> None:
            try:
                call.reply(pb.Answer(body=await answerer(question.body)).SerializeToString())
            except RpcError as error:
                call.fail(error.code, error.message, error.metadata)

        task = asyncio.get_running_loop().create_task(answer())

        def cancel() -> None:
            task.cancel()

        call.on_done(cancel)


def _place(directory: Path) -> tuple[Path, int]:
    """Make the file for a snapshot under way."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    fd, name = tempfile.mkstemp(dir=directory, prefix="incoming-", suffix=".tmp")
    return Path(name), fd


def _checked(message: Message, me: Identity, sender: int) -> Message:
    """Refuse a message that its stream cannot carry: for somebody else, or by somebody else."""
    if message.to != me.member_id:
        raise RpcError(Code.INVALID_ARGUMENT, f"a message for {message.to:x} came here")
    if message.sender != sender and message.type not in _PASSED_ON:
        text = f"a message of {message.sender:x} came from {sender:x}"
        raise RpcError(Code.INVALID_ARGUMENT, text)
    return message


def _message(found: pb.Message) -> Message:
    try:
        return decode_message(found)
    except ValueError as error:
        raise RpcError(Code.INVALID_ARGUMENT, str(error)) from error


def _frame(packet: pb.Packet) -> list[Message]:
    try:
        return decode_frame(packet.frame)
    except ValueError as error:
        raise RpcError(Code.INVALID_ARGUMENT, str(error)) from error


async def _receive(call: StreamCall, kind: type[_T]) -> _T:
    data = await call.receive()
    if data is None:
        raise RpcError(Code.INVALID_ARGUMENT, "the conversation ended too early")
    return _decode(kind, data)


def _decode(kind: type[_T], data: bytes) -> _T:
    try:
        return kind.FromString(data)
    except DecodeError as error:
        raise RpcError(Code.INVALID_ARGUMENT, f"not a {kind.__name__}: {error}") from error


def methods(
    host: PeerHost, me: Identity, admit: Callable[[Peer], None] = lambda peer: None
) -> MethodTable:
    """Return the service's methods; `admit` raises RpcError for a wrong certificate."""
    peer = _Peer(host, me, admit)
    return {
        MESSAGES: StreamMethod(peer.messages),
        SNAPSHOT: StreamMethod(peer.snapshot, server_streaming=False),
        ASK: UnaryMethod(peer.ask),
    }
