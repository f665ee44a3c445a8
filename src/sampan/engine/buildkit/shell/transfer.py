"""Files between a session's client and this machine: contexts in, results out."""

from __future__ import annotations

import asyncio
import itertools
import os
import stat
from collections.abc import AsyncIterable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO, Final
from urllib.parse import quote_plus

from sampan.base.errors import InvalidError, NotFoundError, SampanError
from sampan.engine.buildkit.core.filenode import describe
from sampan.engine.buildkit.pb import files_pb2, session_pb2
from sampan.engine.buildkit.shell.contexts import Place
from sampan.engine.buildkit.shell.receiver import Receiver
from sampan.engine.buildkit.shell.sessions import Session
from sampan.images.shell.thread import in_thread
from sampan.loop.channel import ClientStream
from sampan.wire.grpc.status import Code, Metadata, RpcError

__all__ = ["OutgoingFile", "Wanted", "receive_files", "send_files", "send_pieces", "upload"]

_RECEIVE: Final = "/moby.filesync.v1.FileSync/DiffCopy"
_SEND: Final = "/moby.filesync.v1.FileSend/DiffCopy"
_UPLOAD: Final = "/moby.upload.v1.Upload/Pull"
_EXPORTER: Final = "buildkit-attachable-exporter-id"
_CHUNK_BYTES: Final = 32 * 1024
_PIECE_BYTES: Final = 1 << 20
_BATCH: Final = 256
_QUIET_S: Final = 120.0
"""A client that says nothing for so long is given up."""

_Packet = files_pb2.Packet


class Wanted:
    """Which files of a client's directory are wanted: by names, or all but those by patterns."""

    def __init__(
        self, directory: str, *, only: Sequence[str] = (), excluding: Sequence[str] = ()
    ) -> None:
        self.directory = directory
        self.only = tuple(only)
        self.excluding = tuple(excluding)

    def metadata(self) -> Metadata:
        """Return it as the client reads it."""
        found: list[tuple[str, str | bytes]] = [*_encoded("dir-name", [self.directory])]
        found += _encoded("followpaths", self.only)
        found += _encoded("exclude-patterns", self.excluding)
        return tuple(found)


def _encoded(name: str, values: Sequence[str]) -> list[tuple[str, str | bytes]]:
    if all(one.isascii() and one.isprintable() for one in values):
        return [(name, one) for one in values]
    return [*((name, quote_plus(one)) for one in values), (f"{name}-encoded", "1")]


async def receive_files(
    session: Session, wanted: Wanted, place: Place, progress: Callable[[int], None]
) -> None:
    """Bring a client's directory into a place; `progress` hears of the bytes so far.

    Raises SampanError in the client's words, InvalidError and LimitError for what it must not send.
    What has come whole stays, and nothing else.
    """
    stream = session.open(_RECEIVE, wanted.metadata())
    receiver = Receiver(place.files, place.parts)
    try:
        while (messages := await _next(stream)) is not None:
            for answer in await in_thread(receiver.take, messages):
                stream.send(answer)
            progress(receiver.received_bytes)
            if receiver.done:
                stream.close_send()
        if not receiver.done:
            raise SampanError("the client ended before it had sent all of its files")
    except RpcError as error:
        raise _refusal(error, wanted.directory) from None
    except OSError as error:
        raise SampanError(f"the build context cannot be written: {error}") from error
    finally:
        stream.cancel()
        await in_thread(receiver.close)


async def _next(stream: ClientStream) -> list[bytes] | None:
    try:
        async with asyncio.timeout(_QUIET_S):
            return await stream.receive_all()
    except TimeoutError:
        raise SampanError(f"the client has sent nothing for {_QUIET_S:.0f} s") from None


def _refusal(error: RpcError, what: str) -> SampanError:
    message = error.message
    if error.code is Code.NOT_FOUND:
        return NotFoundError(message)
    return SampanError(f"the client does not send {what}: {message}")


async def upload(session: Session, path: str, host: str) -> AsyncIterable[bytes]:
    """Yield what a client sends in one piece: a context that it reads itself from its input."""
    stream = session.open(_UPLOAD, (("urlpath", path), ("urlhost", host)))
    try:
        while (messages := await _next(stream)) is not None:
            for raw in messages:
                yield session_pb2.BytesMessage.FromString(raw).data
    except RpcError as error:
        raise _refusal(error, "its context") from None
    finally:
        stream.cancel()


async def send_pieces(session: Session, number: int, pieces: AsyncIterable[bytes]) -> int:
    """Send one file to the place of that number; returns its size. SampanError when refused."""
    stream = session.open(_SEND, ((_EXPORTER, str(number)),))
    size = 0
    try:
        async for piece in pieces:
            for at in range(0, len(piece), _PIECE_BYTES):
                part = session_pb2.BytesMessage(data=piece[at : at + _PIECE_BYTES])
                stream.send(part.SerializeToString())
                await stream.drain()
            size += len(piece)
            if stream.done:
                break
        stream.close_send()
        while await stream.receive() is not None:
            continue
    except RpcError as error:
        raise SampanError(f"the client does not take the result: {error.message}") from None
    finally:
        stream.cancel()
    return size


@dataclass(frozen=True, slots=True)
class OutgoingFile:
    """One file to send: its name below the whole, where it is, what it is."""

    name: str
    real: str
    status: os.stat_result


async def send_files(
    session: Session,
    number: int,
    files: Callable[[], Iterable[OutgoingFile]],
    progress: Callable[[int], None],
) -> None:
    """Send a tree to the directory of that number, as much of it as the client asks for."""
    stream = session.open(_SEND, ((_EXPORTER, str(number)),))
    offer = _Offer(files())
    walking = asyncio.ensure_future(offer.tell(stream))
    try:
        while (messages := await stream.receive_all()) is not None:
            for raw in messages:
                packet = _Packet.FromString(raw)
                if packet.type == _Packet.PACKET_ERR:
                    text = packet.data[:4096].decode(errors="replace")
                    raise SampanError(f"the client cannot keep the result: {text}")
                if packet.type == _Packet.PACKET_REQ:
                    await offer.data(stream, packet.ID)
                    progress(offer.sent_bytes)
                elif packet.type == _Packet.PACKET_FIN:
                    await walking
                    stream.send(_Packet(type=_Packet.PACKET_FIN).SerializeToString())
                    stream.close_send()
    except RpcError as error:
        raise SampanError(f"the client does not take the result: {error.message}") from None
    finally:
        walking.cancel()
        stream.cancel()


class _Offer:
    """The files of a tree by the numbers that they are told under."""

    def __init__(self, files: Iterable[OutgoingFile]) -> None:
        self._files = iter(files)
        self._paths: dict[int, str] = {}
        self._names: dict[tuple[int, int], str] = {}
        self._count = 0
        self._told = self._stats()
        self.sent_bytes = 0

    async def tell(self, stream: ClientStream) -> None:
        """Tell of all files in their order."""
        while batch := await in_thread(self._batch):
            for one in batch:
                stream.send(one)
            await stream.drain()
        end = _Packet(type=_Packet.PACKET_STAT)
        stream.send(end.SerializeToString())

    def _batch(self) -> list[bytes]:
        return [
            _Packet(type=_Packet.PACKET_STAT, stat=one).SerializeToString()
            for one in itertools.islice(self._told, _BATCH)
        ]

    def _stats(self) -> Iterator[files_pb2.Stat]:
        for file in self._files:
            link = os.readlink(file.real) if os.path.islink(file.real) else ""
            status = file.status
            told = describe(file.name, status, link)
            if status.st_nlink > 1 and not stat.S_ISDIR(status.st_mode):
                first = self._names.setdefault((status.st_dev, status.st_ino), file.name)
                if first != file.name:
                    told.linkname = first
            self._paths[self._count] = file.real
            self._count += 1
            yield told

    async def data(self, stream: ClientStream, number: int) -> None:
        """Send one file's data; InvalidError for a number that was never told."""
        path = self._paths.pop(number, None)
        if path is None:
            raise InvalidError(f"the client asks for a file that it was not told of: {number}")
        with await in_thread(_open, path) as file:
            while data := await in_thread(file.read, _CHUNK_BYTES * 8):
                for at in range(0, len(data), _CHUNK_BYTES):
                    part = _Packet(
                        type=_Packet.PACKET_DATA, ID=number, data=data[at : at + _CHUNK_BYTES]
                    )
                    stream.send(part.SerializeToString())
                await stream.drain()
                self.sent_bytes += len(data)
        stream.send(_Packet(type=_Packet.PACKET_DATA, ID=number).SerializeToString())


def _open(path: str) -> BinaryIO:
    return open(path, "rb")
