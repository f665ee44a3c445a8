"""`docker cp` and `docker export`: files of a container as tar streams, in and out.

Works on running and on stopped containers; a stopped one stays locked meanwhile, so that its root
is never mounted twice at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import posixpath
import socket
import stat
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar

from sampan.base.errors import ConflictError, DeniedError, InvalidError, NotFoundError
from sampan.engine.daemon.core.filemode import file_mode
from sampan.engine.daemon.core.subordinate import IdMaps, maps_of_document
from sampan.engine.daemon.core.translate import is_mapped, volume_mounts
from sampan.engine.daemon.shell.container import Container
from sampan.engine.daemon.shell.rootview import RootView, in_thread, mount_of, opened
from sampan.engine.daemon.shell.treereader import TreeReader
from sampan.engine.daemon.shell.treewriter import TreeWriter, pseudo_mounts
from sampan.engine.runtime.core.mount_options import parse_options
from sampan.engine.runtime.core.plan import AttachMount
from sampan.engine.runtime.core.spec import User
from sampan.engine.runtime.shell import identity, inside
from sampan.images.shell.store import ImageStore

__all__ = ["Archives", "ByteStream"]

T = TypeVar("T")

_READ_BYTES: Final = 256 * 1024
_ABSENT: Final = (FileNotFoundError, NotADirectoryError)


class _Engine(Protocol):
    images: ImageStore
    id_maps: IdMaps | None

    def publish(self, container: Container, action: str) -> None:
        """Tell listeners what happened to a container."""
        ...


class ByteStream:
    """Bytes that a thread produces; closing it, or dropping it, ends the thread's work."""

    def __init__(self, sock: socket.socket, done: Awaitable[None]) -> None:
        self._sock = sock
        self._done = done
        sock.setblocking(False)

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        loop = asyncio.get_running_loop()
        data = await loop.sock_recv(self._sock, _READ_BYTES)
        if not data:
            self._sock.close()
            await self._done
            raise StopAsyncIteration
        return data

    async def aclose(self) -> None:
        """Take no more."""
        self._sock.close()


class Archives:
    """What the archive endpoints do."""

    def __init__(self, engine: _Engine) -> None:
        self._engine = engine

    async def stat(self, container: Container, path: str) -> dict[str, Any]:
        """Return `name size mode mtime linkTarget` of a path; NotFoundError as Docker's."""
        absolute = _absolute(path)

        def work(root_fd: int, _: str) -> dict[str, Any]:
            return _stat(root_fd, absolute)

        with _words(container, path):
            async with _Hold(container):
                return await self._in_view(container, work)

    async def get(self, container: Container, path: str) -> tuple[dict[str, Any], ByteStream]:
        """Return a path's stat and its tar; entries are named from the path's last part on."""
        absolute = _absolute(path)
        loop, maps = asyncio.get_running_loop(), self._maps(container)
        found: asyncio.Future[dict[str, Any]] = loop.create_future()

        def produce(root_fd: int, mountinfo: str, out: socket.socket) -> None:
            about = _stat(root_fd, absolute)
            loop.call_soon_threadsafe(_settle, found, about)
            name = posixpath.basename(absolute.rstrip("/"))
            with out.makefile("wb") as file:
                writer = TreeWriter(file, mountinfo, maps.outward if maps else None)
                if absolute.endswith(("/", "/.")) or absolute == "/":
                    _check_directory(about)
                writer.tree(root_fd, absolute, "." if absolute.endswith("/.") else name)
                writer.end()

        with _words(container, path):
            stream, done = self._stream(container, produce)
            either: set[asyncio.Future[Any]] = {found, done}
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if not found.done():
                found.cancel()
                await stream.aclose()
                await done
        self._engine.publish(container, "archive-path")
        return found.result(), stream

    async def put(
        self,
        container: Container,
        path: str,
        chunks: AsyncIterable[bytes],
        *,
        keep_kinds: bool = False,
        own: bool = False,
    ) -> None:
        """Unpack a tar at a directory.

        `keep_kinds` is `noOverwriteDirNonDir`. With `own`, which is `copyUIDGID`, everything
        belongs to the container's user. Raises DeniedError where all is read-only.
        """
        absolute = _absolute(path)
        host, user = container.record.host_config, container.record.config["User"]
        maps = self._maps(container)
        ours, theirs = socket.socketpair()
        ours.setblocking(False)

        def work(root_fd: int, mountinfo: str) -> None:
            with theirs, theirs.makefile("rb") as file:
                _check_target(root_fd, absolute, host["ReadonlyRootfs"], mountinfo)
                owner = _owner(root_fd, user) if own and user else None
                reader = TreeReader(
                    root_fd,
                    absolute,
                    keep_kinds=keep_kinds,
                    owner=owner,
                    owners=maps.inward if maps else None,
                )
                reader.unpack(file)

        with _words(container, path):
            async with _Hold(container):
                feeding = asyncio.ensure_future(_feed(ours, chunks))
                try:
                    await self._in_view(container, work)
                finally:
                    theirs.close()
                    feeding.cancel()
                    with contextlib.suppress(asyncio.CancelledError, OSError):
                        await feeding
                    ours.close()
        self._engine.publish(container, "extract-to-dir")

    async def export(self, container: Container) -> ByteStream:
        """Return the root as a tar, without volumes and mounts."""
        images, record = self._engine.images, container.record
        directory = container.run_directory / "view"
        view = RootView(directory, 0, images.snapshots.read_only(record.id, record.diff_ids))

        def produce(out: socket.socket) -> None:
            with opened(view) as root_fd, out, out.makefile("wb") as file:
                writer = TreeWriter(file)
                writer.contents(root_fd)
                writer.end()

        if record.state.status in ("removing", "dead"):
            raise ConflictError(f"You cannot export container {record.id} which is Dead")
        ours, theirs = socket.socketpair()
        task = asyncio.ensure_future(in_thread(lambda: _tolerant(lambda: produce(theirs))))
        task.add_done_callback(_seen)
        self._engine.publish(container, "export")
        return ByteStream(ours, task)

    def _stream(
        self, container: Container, produce: Callable[[int, str, socket.socket], None]
    ) -> tuple[ByteStream, asyncio.Task[None]]:
        """Run a producer; it holds the container's lock as long as the stream is read."""
        ours, theirs = socket.socketpair()

        def work(root_fd: int, mountinfo: str) -> None:
            with theirs:
                _tolerant(lambda: produce(root_fd, mountinfo, theirs))

        async def hold() -> None:
            try:
                async with _Hold(container):
                    await self._in_view(container, work)
            finally:
                theirs.close()

        task = asyncio.ensure_future(hold())
        task.add_done_callback(_seen)
        return ByteStream(ours, task), task

    def _maps(self, container: Container) -> IdMaps | None:
        """Return the id maps through which a container's files are seen from here.

        They are those of the running one: what lies on disk belongs to whom it does inside.
        """
        record = container.record
        maps = maps_of_document(record.cri.get("id_maps")) or self._engine.id_maps
        return maps if record.state.running and is_mapped(record.host_config, maps) else None

    async def _in_view(self, container: Container, work: Callable[[int, str], T]) -> T:
        """Run work on a container's root in a thread; it gets the root and the mounts there."""
        record = container.record
        if record.state.running:
            maps = self._maps(container)
            view = RootView(Path(), record.state.pid, acts_as=maps.root if maps else None)
        else:
            root = self._engine.images.snapshots.mounts(record.id, record.diff_ids)
            view = RootView(container.run_directory / "view", 0, root, _binds(container))

        def run() -> T:
            with opened(view) as root_fd:
                mountinfo = Path(f"/proc/{view.pid or 'thread-self'}/mountinfo").read_text()
                return work(root_fd, mountinfo)

        return await in_thread(run)


class _Hold:
    """Holds a stopped container's lock; one that runs may go on living."""

    def __init__(self, container: Container) -> None:
        self._container = container
        self._locked = False

    async def __aenter__(self) -> None:
        if not self._container.record.state.running:
            await self._container.lock.acquire()
            self._locked = True
            state = self._container.record.state
            if state.status in ("removing", "dead"):
                self._container.lock.release()
                raise NotFoundError(f"No such container: {self._container.id}")
            if state.running:
                self._container.lock.release()
                self._locked = False

    async def __aexit__(self, *_: object) -> None:
        if self._locked:
            self._container.lock.release()


@contextlib.contextmanager
def _words(container: Container, path: str) -> Any:
    """Say in Docker's words what is missing."""
    try:
        yield
    except _ABSENT:
        raise NotFoundError(
            f"Could not find the file {path} in container {container.record.name}"
        ) from None


def _absolute(path: str) -> str:
    """Return the path from the root, cleaned, a `/` or `/.` at its end kept."""
    if not path or "\0" in path:
        raise InvalidError("bad parameter: path cannot be empty")
    cleaned = posixpath.normpath("/" + path.lstrip("/"))
    if cleaned != "/" and path.endswith("/."):
        return cleaned + "/."
    if cleaned != "/" and path.endswith("/"):
        return cleaned + "/"
    return cleaned


def _stat(root_fd: int, path: str) -> dict[str, Any]:
    folder, _, last = path.rstrip("/").rpartition("/")
    target = ""
    if not last or last == "." or path.endswith("/"):
        fd = inside.open_path(root_fd, path)
    else:
        parent = inside.open_path(root_fd, folder or "/", os.O_PATH | os.O_DIRECTORY)
        try:
            fd = os.open(last, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
        finally:
            os.close(parent)
    try:
        status = os.fstat(fd)
        if stat.S_ISLNK(status.st_mode):
            target = _follow(root_fd, folder or "/", last)
    finally:
        os.close(fd)
    moment = datetime.fromtimestamp(status.st_mtime_ns // 1_000_000_000, UTC)
    fraction = f".{status.st_mtime_ns % 1_000_000_000:09d}".rstrip("0").rstrip(".")
    return {
        "name": posixpath.basename(path.rstrip("/")) or "/",
        "size": status.st_size,
        "mode": file_mode(status.st_mode),
        "mtime": f"{moment:%Y-%m-%dT%H:%M:%S}{fraction}Z",
        "linkTarget": target,
    }


def _follow(root_fd: int, folder: str, last: str, budget: int = 40) -> str:
    """Return where a link leads inside the root, as far as there is anything."""
    done, left = "/", [part for part in f"{folder}/{last}".split("/") if part not in ("", ".")]
    while left:
        part = left.pop(0)
        if part == "..":
            done = posixpath.dirname(done)
            continue
        try:
            parent = inside.open_path(root_fd, done, os.O_PATH | os.O_DIRECTORY)
        except OSError:
            return posixpath.normpath(posixpath.join(done, part, *left))
        try:
            text = os.readlink(part, dir_fd=parent)
        except OSError:
            done = posixpath.join(done, part)
            continue
        finally:
            os.close(parent)
        budget -= 1
        if budget <= 0:
            raise InvalidError(f"too many links in {folder}/{last}")
        done = "/" if text.startswith("/") else done
        left = [one for one in text.split("/") if one not in ("", ".")] + left
    return done


def _check_directory(about: dict[str, Any]) -> None:
    if not about["mode"] >> 31 & 1:
        raise NotADirectoryError(about["name"])


def _check_target(root_fd: int, path: str, read_only_root: bool, mountinfo: str) -> None:
    """Refuse what is no directory, or is read-only, or belongs to the kernel."""
    try:
        fd = inside.open_path(root_fd, path, os.O_RDONLY | os.O_DIRECTORY)
    except NotADirectoryError:
        raise InvalidError("extraction point is not a directory") from None
    try:
        on_root = mount_of(fd) == mount_of(root_fd)
        if on_root and read_only_root:
            raise DeniedError("container rootfs is marked read-only")
        if os.fstatvfs(fd).f_flag & os.ST_RDONLY:
            raise DeniedError("mounted volume is marked read-only")
        if mount_of(fd) in pseudo_mounts(mountinfo):
            raise InvalidError(f"{path}: files of the kernel cannot be copied to")
    finally:
        os.close(fd)


def _owner(root_fd: int, user: str) -> tuple[int, int]:
    found = identity.lookup_user(root_fd, User(name=user))
    return found.uid, found.gid


def _binds(container: Container) -> Sequence[AttachMount]:
    """Return what is mounted below the root from the host: volumes and binds."""
    return [
        AttachMount(one["destination"], one["type"], one["source"], parse_options(one["options"]))
        for one in volume_mounts(container.record)
    ]


def _settle(future: asyncio.Future[dict[str, Any]], value: dict[str, Any]) -> None:
    if not future.done():
        future.set_result(value)


def _seen(task: asyncio.Task[None]) -> None:
    """Look at a task's error: a reader that has gone does not ask for it."""
    if not task.cancelled():
        task.exception()


def _tolerant(work: Callable[[], None]) -> None:
    """Run a producer; a reader that has gone is no error."""
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        work()


async def _feed(sock: socket.socket, chunks: AsyncIterable[bytes]) -> None:
    loop = asyncio.get_running_loop()
    try:
        async for chunk in chunks:
            await loop.sock_sendall(sock, chunk)
    finally:
        with contextlib.suppress(OSError):
            sock.shutdown(socket.SHUT_WR)
