"""Directories that commands keep from build to build: `RUN --mount=type=cache`."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import secrets
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

from sampan.base.errors import NotFoundError
from sampan.dockerfile.ignore import IgnoreRules
from sampan.images.build.cache import Root
from sampan.images.build.copies import Trees
from sampan.images.build.filetree import FileTree
from sampan.images.build.selection import Selection, content_digest
from sampan.images.core.build.steps import StepMount
from sampan.images.shell import nodes
from sampan.images.shell.copying import copy_merged
from sampan.images.shell.thread import in_thread

__all__ = ["CacheMounts"]


class CacheMounts:
    """The directories below `folder`, and whose turn it is at those that are not shared."""

    def __init__(self, folder: Path, trees: Trees) -> None:
        self._folder = folder
        self._trees = trees
        self._locks: dict[str, asyncio.Lock] = {}

    @contextlib.asynccontextmanager
    async def open(self, mount: StepMount, sources: Mapping[int, Root]) -> AsyncIterator[Path]:
        """Give the directory of a mount: new ones are empty, or begin with files of their source.

        A directory is known by its id and what it begins with. Raises NotFoundError when the files
        to begin with are not there.
        """
        name = await in_thread(self._name, mount, sources)
        lock = self._locks.setdefault(name, asyncio.Lock())
        if mount.sharing == "private" and lock.locked():
            name += "-" + secrets.token_hex(4)
            lock = self._locks.setdefault(name, asyncio.Lock())
        async with contextlib.AsyncExitStack() as stack:
            if mount.sharing != "shared":
                await stack.enter_async_context(lock)
            path = self._folder / name
            if not path.exists():
                await in_thread(self._make, path, mount, sources)
            yield path

    def _name(self, mount: StepMount, sources: Mapping[int, Root]) -> str:
        parts = [mount.id]
        tree, rules = self._source(mount, sources)
        if tree is not None:
            parts.append(content_digest([Selection("", mount.path, True, tree, rules)]))
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]

    def _source(
        self, mount: StepMount, sources: Mapping[int, Root]
    ) -> tuple[FileTree | None, IgnoreRules | None]:
        """Return the files that a mount begins with, None for one that begins empty.

        Raises NotFoundError when there is no such directory.
        """
        if mount.source is not None:
            tree, rules = self._trees.root(sources[id(mount.source)]), None
        elif mount.context:
            tree, context = self._trees.context(mount.context)
            rules = context.ignore
        else:
            return None, None
        if not tree.find(mount.path).is_directory:
            shown = mount.path.strip("/")
            raise NotFoundError(f'cache mount {mount.id}: "/{shown}" is no directory to begin with')
        return tree, rules

    def _make(self, path: Path, mount: StepMount, sources: Mapping[int, Root]) -> None:
        """Make a directory beside and rename it: a half-made one is never used."""
        self._folder.mkdir(parents=True, exist_ok=True)
        fresh = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
        try:
            fresh.mkdir()
            fresh.chmod(0o755)
            tree, _ = self._source(mount, sources)
            if tree is not None:
                copy_merged(tree.find(mount.path).below(), fresh)
            if mount.mode is not None:
                fresh.chmod(mount.mode)
            if tree is None or mount.uid is not None or mount.gid is not None:
                os.chown(fresh, mount.uid or 0, mount.gid or 0)
            with contextlib.suppress(OSError):
                os.rename(fresh, path)  # unless another command was quicker
        finally:
            if fresh.exists():
                nodes.remove_path(fresh)
