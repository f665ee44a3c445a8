"""`cp`: files between a container and this machine."""

from __future__ import annotations

import io
import os
import posixpath
import sys
import tarfile
from collections.abc import Iterator
from typing import Any, NamedTuple

from sampan.cli.containers.command import Command, Failure
from sampan.cli.containers.core.flags import Flag, Parsed
from sampan.cli.containers.core.kinds import BOOL
from sampan.cli.containers.core.units import decimal_size
from sampan.cli.containers.session import Session
from sampan.cli.containers.streams import write_all
from sampan.cli.containers.untar import unpack
from sampan.engine.client.client import ApiError
from sampan.engine.client.packing import Packed

__all__ = ["COPY"]

_READ_BYTES = 1 << 18
_IS_DIRECTORY = 1 << 31
_IS_LINK = 1 << 27
"""Bits of the mode in a path's description, as Go writes it."""


class _Source(NamedTuple):
    """What is copied: its bytes as a tar, the name of its root, whether it is a directory."""

    name: str
    directory: bool
    contents: bool
    """Whether the directory's members are meant and not itself, as in `folder/.`."""


def _copy(session: Session, parsed: Parsed) -> int:
    (from_container, source), (to_container, target) = map(_split, parsed.arguments)
    if from_container and to_container:
        raise Failure("copying between containers is not supported")
    if not from_container and not to_container:
        raise Failure("must specify at least one container source")
    if from_container:
        _from(session, parsed, from_container, source, target)
    else:
        _to(session, parsed, source, to_container, target)
    return 0


def _split(text: str) -> tuple[str, str]:
    """Return the container, if any, and the path."""
    if text.startswith(("/", ".")) or ":" not in text:
        return "", text
    container, _, path = text.partition(":")
    return container, path


def _contents(path: str) -> bool:
    return path.endswith("/.") or path == "."


def _from(session: Session, parsed: Parsed, container: str, source: str, target: str) -> None:
    containers = session.containers
    path = source if source.startswith("/") else f"/{source}"
    if parsed.on("follow-link"):
        found = containers.stat(container, path)
        if found.get("mode", 0) & _IS_LINK:
            path = posixpath.join(posixpath.dirname(path), found["linkTarget"])
    found, response = containers.get_archive(container, path)
    if target == "-":
        for chunk in response.chunks():
            write_all(1, chunk)
        return
    what = _Source(found["name"], bool(found["mode"] & _IS_DIRECTORY), _contents(source))
    try:
        place, inside = _local_target(what, target)
    except BaseException:
        response.close()
        raise
    reader = _Reader(response.chunks())
    try:
        with tarfile.open(fileobj=reader, mode="r|") as archive:
            unpack(archive, place, inside, parsed.on("archive"))
    except tarfile.TarError as error:
        raise Failure(f"the daemon's archive cannot be read: {error}") from None
    except OSError as error:
        raise Failure(f"{error.filename or place}: {error.strerror}") from None
    _told(parsed, reader.size_bytes, place)


def _local_target(what: _Source, target: str) -> tuple[str, bool]:
    """Return what the root becomes, and whether only its members are meant."""
    if os.path.isdir(target):
        if what.directory and what.contents:
            return target, True
        return os.path.join(target, os.path.basename(what.name) or "root"), False
    if os.path.lexists(target) and what.directory:
        raise Failure("cannot copy directory")
    bare = target.rstrip("/") or "/"
    parent = os.path.dirname(os.path.abspath(bare))
    if not os.path.isdir(parent):
        raise Failure(f'invalid output path: directory "{parent}" does not exist')
    if target.endswith("/") and not what.directory:
        raise Failure("no such directory")
    return bare, False


def _to(session: Session, parsed: Parsed, source: str, container: str, target: str) -> None:
    containers = session.containers
    target = target if target.startswith("/") else f"/{target}"
    if source == "-":
        found = _remote(session, container, target)
        if found is None or not found["mode"] & _IS_DIRECTORY:
            raise Failure(f'destination "{container}:{target}" must be a directory')
        stdin = iter(lambda: os.read(0, _READ_BYTES), b"")
        containers.put_archive(container, target, stdin, parsed.on("archive"))
        return
    path = source.rstrip("/") or "/"
    if parsed.on("follow-link") or _contents(source):
        path = os.path.realpath(path)
    if not os.path.lexists(path):
        raise Failure(f"lstat {os.path.abspath(path)}: no such file or directory")
    directory = os.path.isdir(path) and not os.path.islink(path)
    if source.endswith("/") and not directory:
        raise Failure(f"{source}: not a directory")
    what = _Source(os.path.basename(os.path.abspath(path)), directory, _contents(source))
    place, name = _remote_target(session, container, what, target)
    packed = Packed(lambda archive: archive.add(path, name or "."))
    containers.put_archive(container, place, packed, parsed.on("archive"))
    _told(parsed, packed.size_bytes, f"{container}:{target}")


def _remote(session: Session, container: str, path: str) -> dict[str, Any] | None:
    """Return what is at a path inside, behind a link if there is one; None for nothing."""
    try:
        found = session.containers.stat(container, path)
        if found.get("mode", 0) & _IS_LINK:
            path = posixpath.join(posixpath.dirname(path), found["linkTarget"])
            found = session.containers.stat(container, path)
    except ApiError as error:
        if error.status != 404 or "No such container" in error.message:
            raise
        return None
    return found


def _remote_target(session: Session, container: str, what: _Source, target: str) -> tuple[str, str]:
    """Return the directory to unpack in, and the name that the root has there (empty for none)."""
    found = _remote(session, container, target)
    if found is not None and found["mode"] & _IS_DIRECTORY:
        return target, "" if what.directory and what.contents else what.name
    if found is not None and what.directory:
        raise Failure("cannot copy directory")
    if found is None and target.endswith("/") and not what.directory:
        raise Failure("no such directory")
    bare = target.rstrip("/") or "/"
    return posixpath.dirname(bare), posixpath.basename(bare)


def _told(parsed: Parsed, size_bytes: int, place: str) -> None:
    if not parsed.on("quiet") and sys.stderr.isatty():
        print(f"Successfully copied {decimal_size(size_bytes)} to {place}", file=sys.stderr)


class _Reader(io.RawIOBase):
    """Chunks as a file that tarfile can read."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        super().__init__()
        self._chunks = chunks
        self._buffer = memoryview(b"")
        self.size_bytes = 0

    def readable(self) -> bool:
        return True

    def readinto(self, into: Any) -> int:
        if not self._buffer:
            self._buffer = memoryview(next(self._chunks, b""))
        size = min(len(into), len(self._buffer))
        into[:size] = self._buffer[:size]
        self._buffer = self._buffer[size:]
        self.size_bytes += size
        return size


COPY = Command(
    "[OPTIONS] CONTAINER:SRC_PATH DEST_PATH|- | SRC_PATH|- CONTAINER:DEST_PATH",
    _copy,
    (
        Flag("archive", BOOL, "Archive mode (copy all uid/gid information)", "a"),
        Flag("follow-link", BOOL, "Always follow symbol link in SRC_PATH", "L"),
        Flag("quiet", BOOL, "Suppress progress output during copy", "q"),
    ),
    least=2,
    most=2,
)
