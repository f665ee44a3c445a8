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
from sampan.images.build.filetree import FileTree
from sampan.images.build.options import BuildContext
from sampan.images.shell import nodes
from sampan.images.shell.layers import Form, LayerLimits, unpack_layer
from sampan.images.shell.thread import in_thread

__all__ = ["dockerfile_text", "received_context"]

_TEXT_BYTES: Final = 16 << 20
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
            async for chunk in chunks:
                await in_thread(file.write, chunk)
            file.seek(0)
            await in_thread(_unpack, file, place)
        yield await in_thread(_with_rules, place, dockerfile)
    finally:
        await in_thread(nodes.remove_path, place)


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
