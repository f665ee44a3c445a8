"""The directories of a build's client, brought here as far as the build needs them."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from sampan.base.errors import NotFoundError, SampanError
from sampan.dockerfile.ignore import parse_ignore
from sampan.engine.build.context import dockerfile_text, received_context, remote_context
from sampan.engine.buildkit.core.options import FrontendOptions, is_remote
from sampan.engine.buildkit.core.paths import context_patterns, exclude_patterns, wanted_paths
from sampan.engine.buildkit.shell.contexts import ContextPlaces
from sampan.engine.buildkit.shell.keys import SessionKeys
from sampan.engine.buildkit.shell.news import News, Vertex
from sampan.engine.buildkit.shell.sessions import Session, Sessions
from sampan.engine.buildkit.shell.transfer import Wanted, receive_files, upload
from sampan.images.build.filetree import FileTree
from sampan.images.build.options import BuildContext
from sampan.images.core.build.steps import Step

__all__ = ["Directories"]

_UPLOAD_HOST: Final = "buildkit-session"
_IGNORE: Final = ".dockerignore"
_TEXT_BYTES: Final = 1 << 20


class Directories:
    """Brings directories, and keeps them for as long as `kept` is open."""

    def __init__(
        self,
        keys: SessionKeys,
        sessions: Sessions,
        places: ContextPlaces,
        options: FrontendOptions,
        kept: contextlib.AsyncExitStack,
        news: News,
        spool: Path,
    ) -> None:
        self._keys = keys
        self._session = keys.session
        self._sessions = sessions
        self._places = places
        self._options = options
        self._kept = kept
        self._news = news
        self._spool = spool
        self._uploaded: BuildContext | None = None
        self._own_ignore = ""

    async def dockerfile(self) -> str:
        """Return the text of the Dockerfile; NotFoundError without one."""
        options = self._options
        with self._news.vertex(
            f"[internal] load build definition from {options.filename}", "load build definition"
        ) as vertex:
            if is_remote(options.context):
                self._uploaded = await self._upload(vertex)
                if options.dockerfile_in == "dockerfile":
                    return dockerfile_text(self._uploaded, options.filename)
            ignore = f"{options.filename}{_IGNORE}"
            wanted = Wanted(options.dockerfile_in, only=(options.filename, ignore))
            with vertex.part("transferring dockerfile:") as told:
                place = await self._kept.enter_async_context(self._places.place(""))
                session = await self._owner(options.dockerfile_in)
                await receive_files(session, wanted, place, told)
            self._own_ignore = FileTree([place.files]).read(ignore, _TEXT_BYTES)
            return dockerfile_text(BuildContext(place.files), options.filename)

    async def _owner(self, directory: str) -> Session:
        other = self._options.sessions.get(directory)
        return self._session if other is None else await self._sessions.get(other)

    async def _upload(self, vertex: Vertex) -> BuildContext:
        """Take a context that is sent in one piece, by the client or from an address."""
        address, filename = self._options.context, self._options.filename
        scheme, _, rest = address.partition("://")
        host, _, path = rest.partition("/")
        with vertex.part("loading context:"):
            if scheme == "http" and host == _UPLOAD_HOST:
                chunks = upload(self._session, f"/{path}", host)
                found = received_context(chunks, self._spool, filename)
            else:
                access = await self._keys.repositories(address)
                found = remote_context(address, self._spool, filename, access)
            return await self._kept.enter_async_context(found)

    async def contexts(self, steps: Sequence[Step]) -> Mapping[str, BuildContext]:
        """Return the contexts that steps take files of."""
        found: dict[str, BuildContext] = {}
        for name, patterns in context_patterns(steps).items():
            if not name and self._uploaded is not None:
                found[name] = self._uploaded
                continue
            directory = self._options.directories.get(name) if name else self._options.context
            if directory is not None:
                found[name] = await self._context(name, directory, wanted_paths(patterns))
        return found

    async def _context(self, name: str, directory: str, only: Sequence[str]) -> BuildContext:
        shown = f"[context {name}]" if name else "[internal]"
        ignore = await self._ignore(shown, name, directory)
        session = await self._owner(directory)
        excluding = exclude_patterns(ignore)
        rules = parse_ignore(ignore) if ignore else None
        wanted = Wanted(directory, only=only, excluding=excluding)
        title = f"{shown} load from client" if name else "[internal] load build context"
        with self._news.vertex(title) as vertex, vertex.part("transferring context:") as told:
            lent = self._places.place(session.shared_key, directory)
            place = await self._kept.enter_async_context(lent)
            await receive_files(session, wanted, place, told)
        return BuildContext(place.files, rules)

    async def _ignore(self, shown: str, name: str, directory: str) -> str:
        """Return the rules of what is left out: the Dockerfile's own go before the context's."""
        if self._own_ignore and not name:
            return self._own_ignore
        with self._news.vertex(f"{shown} load {_IGNORE}") as vertex:
            with vertex.part("transferring context:") as told:
                async with self._places.place("") as place:
                    wanted = Wanted(directory, only=(_IGNORE,))
                    try:
                        await receive_files(await self._owner(directory), wanted, place, told)
                    except NotFoundError as error:
                        raise SampanError(str(error)) from None
                    return FileTree([place.files]).read(_IGNORE, _TEXT_BYTES)
