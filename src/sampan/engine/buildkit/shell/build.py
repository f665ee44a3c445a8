"""Builds under way, by the references that clients give them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from sampan.base.errors import ConflictError, InvalidError, NotFoundError
from sampan.engine.build.service import Built
from sampan.engine.buildkit.core.exports import Export
from sampan.engine.buildkit.shell.news import News
from sampan.images.core.build.cacheoptions import CacheExport, CacheImport

__all__ = ["Build", "Builds", "Solved", "Wishes"]

_WAIT_S: Final = 5.0
_REMEMBERED: Final = 32
_REF_BYTES: Final = 256


@dataclass(slots=True)
class Solved:
    """What a front end has made: images, or answers to what it was asked about a Dockerfile."""

    built: Built | None = None
    metadata: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Wishes:
    """What a client says of a build at its beginning: its session, and where results go."""

    session: str
    exports: Sequence[Export] = ()
    cache_from: Sequence[CacheImport] = ()
    cache_to: Sequence[CacheExport] = ()


class Build:
    """One build: what its client has said, and its news.

    `kept` holds what results need, and is closed with the build. `returned` is set by a client that
    leads the build itself: to the name of a result ("" for none), or to its own failure.
    """

    def __init__(self, ref: str, wishes: Wishes) -> None:
        self.ref = ref
        self.session = wishes.session
        self.exports = tuple(wishes.exports)
        self.cache_from = tuple(wishes.cache_from)
        self.cache_to = tuple(wishes.cache_to)
        self.news = News(ref)
        self.kept = contextlib.AsyncExitStack()
        self.results: dict[str, Solved] = {}
        self.returned: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.ended = False

    def add(self, solved: Solved) -> str:
        """Keep a result; returns the name that it is known by from now on."""
        name = f"{self.ref}/{len(self.results)}"
        self.results[name] = solved
        return name


class Builds:
    """The builds. Some that have ended are remembered for who asks for their news late."""

    def __init__(self) -> None:
        self._known: dict[str, Build] = {}
        self._changed = asyncio.Condition()

    @contextlib.asynccontextmanager
    async def begin(self, ref: str, wishes: Wishes) -> AsyncIterator[Build]:
        """A build for the time of the block; nothing of it is left open then."""
        if not ref or len(ref) > _REF_BYTES:
            raise InvalidError("a build needs a reference")
        if ref in self._known:
            raise ConflictError(f"build {ref} is known already")
        build = Build(ref, wishes)
        async with self._changed:
            self._known[ref] = build
            self._changed.notify_all()
        try:
            async with build.kept:
                yield build
        finally:
            build.ended = True
            build.news.log.end()
            build.results.clear()
            if not build.returned.done():
                build.returned.cancel()
            self._forget()

    def _forget(self) -> None:
        ended = [ref for ref, one in self._known.items() if one.ended]
        for ref in ended[: max(0, len(ended) - _REMEMBERED)]:
            del self._known[ref]

    async def get(self, ref: str) -> Build:
        """Return a build, waiting a little for one that has not begun; NotFoundError then."""
        async with self._changed:
            try:
                async with asyncio.timeout(_WAIT_S):
                    await self._changed.wait_for(lambda: ref in self._known)
            except TimeoutError:
                raise NotFoundError(f"no such job {ref}") from None
            return self._known[ref]
