"""A tree of files on its way from a client into a directory: only what has changed is asked for.

A file is written beside and renamed when it is whole, with the time that was told; so whatever is
in the directory can be trusted to be what its size and time say, also after a transfer broke off.
Nobody else changes the directory, and every parent is looked at before it is entered.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from sampan.base.errors import InvalidError, SampanError
from sampan.engine.buildkit.core.arrivals import ArrivalLimits, Arrivals
from sampan.engine.buildkit.core.filenode import FileKind, FileNode
from sampan.engine.buildkit.pb import files_pb2
from sampan.images.shell import nodes

__all__ = ["Receiver"]

_Packet = files_pb2.Packet
_WINDOW: Final = 64
"""So many files are asked for at a time: as many descriptors are open."""


@dataclass(slots=True)
class _Folder:
    """A directory whose contents are being told."""

    path: str
    node: FileNode | None
    names: set[str] = field(default_factory=set)


@dataclass(slots=True)
class _Coming:
    """A file that has been asked for."""

    node: FileNode
    fd: int
    temporary: str


class Receiver:
    """Takes one transfer into `place`; files under way are in `parts`, on the same file system."""

    def __init__(self, place: Path, parts: Path, limits: ArrivalLimits | None = None) -> None:
        self._place = str(place)
        self._parts = str(parts)
        self._arrivals = Arrivals(limits or ArrivalLimits())
        self._folders = [_Folder(self._place, None)]
        self._wanted: deque[FileNode] = deque()
        self._coming: dict[int, _Coming] = {}
        self._links: list[FileNode] = []
        self._regular: set[str] = set()
        self._closed_folders: list[tuple[str, int]] = []
        self.received_bytes = 0
        self.done = False
        """Everything is there; the client has been told so."""

    def take(self, messages: Sequence[bytes]) -> list[bytes]:
        """Take messages and return the answers to send; blocks.

        Raises InvalidError for what breaks the protocol or must not be, LimitError, OSError.
        """
        answers: list[bytes] = []
        for message in messages:
            packet = _Packet.FromString(message)
            self.received_bytes += len(message)
            match packet.type:
                case _Packet.PACKET_STAT:
                    self._told(packet)
                case _Packet.PACKET_DATA:
                    self._data(packet)
                case _Packet.PACKET_ERR:
                    text = packet.data[:4096].decode(errors="replace")
                    raise SampanError(f"the client cannot send its files: {text}")
                case _Packet.PACKET_FIN:
                    continue
                case _:
                    raise InvalidError("a client asks for files in a transfer that it sends")
        self._ask(answers)
        return answers

    def close(self) -> None:
        """Leave nothing open and nothing unfinished; blocks."""
        for one in self._coming.values():
            os.close(one.fd)
            os.unlink(one.temporary)
        self._coming.clear()

    def _told(self, packet: files_pb2.Packet) -> None:
        if not packet.HasField("stat") or not packet.stat.path:
            self._arrivals.end()
            self._leave(0)
            return
        node = self._arrivals.told(packet.stat)
        self._leave(node.path.count("/"))
        name = node.path.rpartition("/")[2]
        if node.kind is FileKind.OTHER:
            return
        self._folders[-1].names.add(name)
        path = f"{self._place}/{node.path}"
        with contextlib.suppress(FileNotFoundError):
            if not self._keeps(node, path, os.lstat(path)):
                nodes.remove_path(Path(path))
        self._make(node, path)

    def _keeps(self, node: FileNode, path: str, status: os.stat_result) -> bool:
        """Tell whether what is there needs no removal before the new one is made."""
        kind = stat.S_IFMT(status.st_mode)
        if node.kind is FileKind.FILE:
            return kind == stat.S_IFREG
        if node.kind is FileKind.DIRECTORY:
            return kind == stat.S_IFDIR
        return node.kind is FileKind.SYMLINK and (
            kind == stat.S_IFLNK and os.readlink(path) == node.link
        )

    def _make(self, node: FileNode, path: str) -> None:
        match node.kind:
            case FileKind.DIRECTORY:
                try:
                    os.mkdir(path, 0o700)
                except FileExistsError:
                    os.chmod(path, node.mode | 0o700)
                self._folders.append(_Folder(path, node))
            case FileKind.SYMLINK:
                if not node.link:
                    raise InvalidError(f"{node.path}: a symbolic link to nothing")
                with contextlib.suppress(FileExistsError):
                    os.symlink(node.link, path)
            case FileKind.FIFO:
                os.mkfifo(path, 0o600)
                os.chmod(path, node.mode)
            case FileKind.FILE if node.link:
                self._links.append(node)
            case _:
                self._regular.add(node.path)
                if not _same(node, path):
                    self._wanted.append(node)

    def _leave(self, depth: int) -> None:
        """End the directories below a depth: what was not told in them goes."""
        while len(self._folders) > depth + 1:
            self._clear(self._folders.pop())
        if depth == 0 and self._arrivals.ended:
            self._clear(self._folders[0])

    def _clear(self, folder: _Folder) -> None:
        with os.scandir(folder.path) as found:
            gone = [one.path for one in found if one.name not in folder.names]
        for path in gone:
            nodes.remove_path(Path(path))
        if folder.node is not None:
            os.chmod(folder.path, folder.node.mode | 0o700)
            if folder.node.mode & 0o700 != 0o700:
                # Files are still to come into it.
                self._closed_folders.append((folder.path, folder.node.mode))

    def _ask(self, answers: list[bytes]) -> None:
        """Ask for files, and say when all of them are there."""
        while self._wanted and len(self._coming) < _WINDOW:
            node = self._wanted.popleft()
            temporary = f"{self._parts}/{node.number}"
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            fd = os.open(temporary, flags, 0o600)
            self._coming[node.number] = _Coming(node, fd, temporary)
            request = _Packet(type=_Packet.PACKET_REQ, ID=node.number)
            answers.append(request.SerializeToString())
        if self._arrivals.ended and not self._coming and not self._wanted and not self.done:
            self._link()
            self.done = True
            answers.append(_Packet(type=_Packet.PACKET_FIN).SerializeToString())

    def _data(self, packet: files_pb2.Packet) -> None:
        one = self._coming.get(packet.ID)
        if one is None:
            raise InvalidError(f"data of a file that was not asked for: {packet.ID}")
        if packet.data:
            self._arrivals.data(len(packet.data))
            view = memoryview(packet.data)
            while view:
                view = view[os.write(one.fd, view) :]
            return
        del self._coming[packet.ID]
        try:
            os.fchmod(one.fd, one.node.mode)
            os.utime(one.fd, ns=(one.node.mtime_ns, one.node.mtime_ns))
        finally:
            os.close(one.fd)
        os.rename(one.temporary, f"{self._place}/{one.node.path}")

    def _link(self) -> None:
        """Give files their further names; only those of this transfer have any."""
        for node in self._links:
            if node.link not in self._regular:
                raise InvalidError(
                    f"{node.path}: a further name of {node.link!r}, which is no file"
                )
            path = f"{self._place}/{node.path}"
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
            os.link(f"{self._place}/{node.link}", path, follow_symlinks=False)
        for path, mode in self._closed_folders:
            os.chmod(path, mode)


def _same(node: FileNode, path: str) -> bool:
    """Tell whether a file is there already; its mode is put right."""
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return False
    if status.st_size != node.size or status.st_mtime_ns != node.mtime_ns or status.st_nlink > 1:
        return False
    if stat.S_IMODE(status.st_mode) != node.mode:
        os.chmod(path, node.mode)
    return True
