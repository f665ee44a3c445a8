"""A context that a client has sent as a tar: unpacked where nobody else changes it."""

from __future__ import annotations

import contextlib
import secrets
import tempfile
from collections.abc import AsyncIterable, AsyncIterator
from pathlib import Path
from typing import BinaryIO, Final

from sampan.base.errors import InvalidError, NotFoundError
from sampan.dockerfile.ignore import parse_ignore
from sampan.images.build.download import download
from sampan.images.build.filetree import FileTree
from sampan.images.build.options import BuildContext
from sampan.images.build.repositories import GitAccess, fetch_repository, find_commit
from sampan.images.build.unpacking import is_archive
from sampan.images.core.build.repository import parse_repository, shown_url
from sampan.images.shell import nodes
from sampan.images.shell.layers import Form, LayerLimits, unpack_layer
from sampan.images.shell.thread import in_thread

__all__ = ["dockerfile_text", "received_context", "remote_context"]

_TEXT_BYTES: Final = 16 << 20
_BATCH_BYTES: Final = 1 << 20
_DOWNLOAD_BYTES: Final = 8 << 30
_LIMITS: Final = LayerLimits(size_bytes=32 << 30, entries=1_000_000)


@contextlib.asynccontextmanager
async def received_context(
    chunks: AsyncIterable[bytes], spool: Path, dockerfile: str
) -> AsyncIterator[BuildContext]:
    """Unpack a tar, plain or compressed, and remove it in the end.

    Raises InvalidError, LayerError or LimitError for a tar that must not be unpacked.
    """
    place = spool / f"context-{secrets.token_hex(8)}"
    place.mkdir(mode=0o700)
    try:
        with tempfile.TemporaryFile(dir=spool) as file:
            # Chunks are small, and a turn of a thread for each costs more than writing it.
            batch = bytearray()
            async for chunk in chunks:
                batch += chunk
                if len(batch) >= _BATCH_BYTES:
                    full, batch = batch, bytearray()
                    await in_thread(file.write, full)
            await in_thread(file.write, batch)
            file.seek(0)
            await in_thread(_unpack, file, place)
        yield await in_thread(_with_rules, place, dockerfile)
    finally:
        await in_thread(nodes.remove_path, place)


@contextlib.asynccontextmanager
async def remote_context(
    address: str, spool: Path, dockerfile: str, access: GitAccess
) -> AsyncIterator[BuildContext]:
    """Fetch a context, and remove it in the end: a git repository, or by HTTP an archive or a text.

    A text is a Dockerfile and stands alone in its context, as `dockerfile`. Raises InvalidError for
    an address that is none of these, and as fetching does.
    """
    repository = parse_repository(address, context=True)
    if repository is not None:
        commit = await find_commit(repository, access)
        fetched = await fetch_repository(repository, commit, spool, access)
        try:
            yield await in_thread(_with_rules, fetched.files, dockerfile)
        finally:
            await in_thread(nodes.remove_path, fetched.directory)
        return
    if not address.startswith(("http://", "https://")):
        raise InvalidError(f"a context cannot come from {shown_url(address)}: use http or git")
    place = spool / f"context-{secrets.token_hex(8)}"
    found = await download(address, "", spool, _DOWNLOAD_BYTES)
    try:
        place.mkdir(mode=0o700)
        await in_thread(_take, found.path, place, dockerfile, shown_url(address))
        yield await in_thread(_with_rules, place, dockerfile)
    finally:
        found.path.unlink()
        if place.exists():
            await in_thread(nodes.remove_path, place)


def _take(path: Path, place: Path, dockerfile: str, shown: str) -> None:
    """Make a context of a file: unpack an archive, else take a text for the Dockerfile."""
    if is_archive(path):
        with open(path, "rb") as file:
            _unpack(file, place)
        return
    with open(path, "rb") as file:
        text = file.read(_TEXT_BYTES + 1)
    if b"\0" in text or len(text) > _TEXT_BYTES:
        raise InvalidError(f"{shown} is neither an archive nor a Dockerfile")
    (place / Path(dockerfile).name).write_bytes(text)


def _unpack(file: BinaryIO, place: Path) -> None:
    unpack_layer(file, place, Form(devices=False, whiteouts=False), _LIMITS)


def _with_rules(place: Path, dockerfile: str) -> BuildContext:
    """Read what is left out: the Dockerfile's own rules go before those of the context."""
    tree = FileTree([place])
    for name in (f"{dockerfile}.dockerignore", ".dockerignore"):
        text = tree.read(name, _TEXT_BYTES)
        if text:
            return BuildContext(place, parse_ignore(text))
    return BuildContext(place)


def dockerfile_text(context: BuildContext, name: str) -> str:
    """Return the Dockerfile of a context; NotFoundError in Docker's words when it is not there."""
    tree = FileTree([context.directory])
    if not name.strip("/"):
        raise InvalidError("the Dockerfile's name is empty")
    missing = NotFoundError(
        f"Cannot locate specified Dockerfile: {name}"
        if name != "Dockerfile"
        else "failed to read dockerfile: open Dockerfile: no such file or directory"
    )
    try:
        found = tree.find(name)
    except OSError:
        raise missing from None
    if found.status is None:
        raise missing
    if found.is_directory:
        raise InvalidError(f"the Dockerfile ({name}) is a directory")
    return tree.read(name, _TEXT_BYTES)
