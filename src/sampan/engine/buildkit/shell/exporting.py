"""Where results go: the engine's images, a registry, archives and files of the client."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import socket
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import Final

from sampan.base.errors import InvalidError
from sampan.engine.build.service import BuildService, Built
from sampan.engine.buildkit.core.exports import Export
from sampan.engine.buildkit.shell.build import Build
from sampan.engine.buildkit.shell.keys import SessionKeys
from sampan.engine.buildkit.shell.news import Vertex
from sampan.engine.buildkit.shell.sessions import Session, Sessions
from sampan.engine.buildkit.shell.transfer import OutgoingFile, send_files, send_pieces
from sampan.engine.daemon.shell.engine import Engine
from sampan.images.build.copylayer import CopyLayer, Placement
from sampan.images.build.filetree import FileTree
from sampan.images.build.selection import choose
from sampan.images.core.progress import Progress
from sampan.images.core.reference import parse_reference
from sampan.images.shell.archive_writer import Saved, write_archive
from sampan.images.shell.index import Entry
from sampan.images.shell.thread import in_thread

__all__ = ["Exporter"]

_READ_BYTES: Final = 1 << 20
_DIGEST: Final = "containerimage.digest"
_CONFIG: Final = "containerimage.config.digest"
_DESCRIPTOR: Final = "containerimage.descriptor"
_NAME: Final = "image.name"


class Exporter:
    """Takes results where their clients want them."""

    def __init__(self, engine: Engine, service: BuildService, sessions: Sessions) -> None:
        self._engine = engine
        self._service = service
        self._sessions = sessions

    async def export(self, build: Build, built: Built) -> dict[str, str]:
        """Take a result to all places of its build; returns what the client is told of it."""
        told: dict[str, str] = {}
        for export in build.exports:
            told |= await self._one(build, built, export)
        return told

    async def _one(self, build: Build, built: Built, export: Export) -> Mapping[str, str]:
        session = await self._sessions.get(build.session)
        title = {
            "image": "exporting to image",
            "docker": "exporting to docker image format",
            "oci": "exporting to oci image format",
            "local": "exporting to client directory",
            "tar": "exporting to client tarball",
        }[export.kind]
        with build.news.vertex(title, f"export {export.number}") as vertex:
            match export.kind:
                case "image":
                    return await self._image(vertex, session, built, export)
                case "docker" | "oci":
                    return await self._archive(vertex, session, built, export)
                case "local":
                    await _local(vertex, session, built, export)
                case _:
                    await _tar(vertex, session, built, export)
        return {}

    async def _image(
        self, vertex: Vertex, session: Session, built: Built, export: Export
    ) -> Mapping[str, str]:
        """Add the images to the engine's, and push them if so wished."""
        with vertex.part("exporting layers"):
            entry = await self._service.keep(built, export.names)
        for name in (f"writing image {entry.id}", *(f"naming to {one}" for one in export.names)):
            with vertex.part(name):
                pass
        if export.push:
            for name in export.names:
                with vertex.part(f"pushing {name}"):
                    await self._push(session, name)
        return self._told(entry, export)

    def _told(self, entry: Entry, export: Export) -> dict[str, str]:
        document = dict(entry.manifest.document)
        if entry.index:
            index = self._engine.images.document(entry)
            if index is not None:
                document = {"digest": entry.index, "mediaType": index.media_type}
                document["size"] = self._engine.images.content.size(entry.index)
        descriptor = base64.b64encode(json.dumps(document).encode()).decode()
        told = {_DIGEST: str(document["digest"]), _CONFIG: entry.id, _DESCRIPTOR: descriptor}
        if export.names:
            told[_NAME] = ",".join(export.names)
        return told

    async def _push(self, session: Session, name: str) -> None:
        reference = parse_reference(name)
        keys = SessionKeys(session, self._engine.options.exec_root / "agents")
        who = await keys.credentials(reference.domain)

        def report(_: Progress) -> None:
            return

        await self._engine.distribution.push(reference, report, credentials=who)

    async def _archive(
        self, vertex: Vertex, session: Session, built: Built, export: Export
    ) -> Mapping[str, str]:
        """Send an archive of the images, which are in no list of the engine for it."""
        if export.kind == "docker" and len(built.images) > 1:
            raise InvalidError(
                "docker exporter does not currently support exporting manifest lists: use oci"
            )
        entries, index = await self._service.unlisted(built)
        names = list(export.names)
        saved = Saved(entries[0], names, index, entries[1:])
        with vertex.part("sending tarball"):
            pieces = write_archive([saved], self._engine.images.content)
            await send_pieces(session, export.number, _steps(pieces))
        return self._told(entries[0], export)


async def _steps(pieces: Iterator[bytes]) -> AsyncIterator[bytes]:
    """Yield the pieces of an iterator that blocks."""
    while (piece := await in_thread(next, pieces, None)) is not None:
        yield piece


async def _local(vertex: Vertex, session: Session, built: Built, export: Export) -> None:
    several = len(built.files) > 1 and export.split

    def files() -> Iterator[OutgoingFile]:
        named = zip(built.platforms, built.files, strict=True)
        for platform, tree in sorted(named, key=lambda one: str(one[0]).replace("/", "_")):
            folder = str(platform).replace("/", "_") if several else ""
            yield from _files(tree, folder)

    with vertex.part("copying files") as told:
        await send_files(session, export.number, files, told)


def _files(tree: FileTree, folder: str) -> Iterator[OutgoingFile]:
    """Yield a root's files, in a directory of their own if so wished."""
    if folder and tree.root.top:
        yield OutgoingFile(folder, tree.root.top, os.stat(tree.root.top))
    for selection in choose(tree, ["/"], None, ()):
        for one in selection.entries():
            name = f"{folder}/{one.name}" if folder else one.name
            yield OutgoingFile(name, one.real, one.status)


async def _tar(vertex: Vertex, session: Session, built: Built, export: Export) -> None:
    several = len(built.files) > 1 and export.split

    def produce(out: socket.socket) -> None:
        with out, out.makefile("wb") as file:
            for platform, tree in zip(built.platforms, built.files, strict=True):
                target = "/" + (str(platform).replace("/", "_") if several else "")
                layer = CopyLayer(FileTree([]), file, Placement(target))
                for selection in choose(tree, ["/"], None, ()):
                    layer.selection(selection, keep_owner=True)
            file.write(bytes(1024))

    with vertex.part("sending tarball"):
        async with _produced(produce) as pieces:
            await send_pieces(session, export.number, pieces)


@contextlib.asynccontextmanager
async def _produced(
    produce: Callable[[socket.socket], None],
) -> AsyncIterator[AsyncIterator[bytes]]:
    """What a function writes, piece by piece; it runs in a thread, and never longer than the block.

    Its failure is raised at the end of the pieces.
    """
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    work = asyncio.ensure_future(in_thread(produce, theirs))
    loop = asyncio.get_running_loop()

    async def pieces() -> AsyncIterator[bytes]:
        while data := await loop.sock_recv(ours, _READ_BYTES):
            yield data
        await work

    try:
        yield pieces()
    finally:
        ours.close()
        with contextlib.suppress(OSError):
            await work
