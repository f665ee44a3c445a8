"""The Dockerfile front end: from the attributes of a request to what was built of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from sampan.dockerfile.stages import parse_dockerfile
from sampan.engine.build.service import BuildOrder, BuildService
from sampan.engine.buildkit.core.caches import registries
from sampan.engine.buildkit.core.failure import Source
from sampan.engine.buildkit.core.options import FrontendOptions, parse_options
from sampan.engine.buildkit.core.subrequests import answer
from sampan.engine.buildkit.shell.build import Build, Solved
from sampan.engine.buildkit.shell.contexts import ContextPlaces
from sampan.engine.buildkit.shell.directories import Directories
from sampan.engine.buildkit.shell.keys import SessionKeys
from sampan.engine.buildkit.shell.sessions import Sessions
from sampan.engine.daemon.shell.engine import Engine
from sampan.images.build.options import BuildContext
from sampan.images.core.build.steps import Step
from sampan.images.core.challenge import Credentials
from sampan.images.core.reference import parse_reference

__all__ = ["FrontEnd"]


class _Client:
    """What the build service may ask: keys of one, files of the other."""

    def __init__(self, keys: SessionKeys, directories: Directories) -> None:
        self._keys = keys
        self._directories = directories

    async def credentials(self, domain: str) -> Credentials:
        return await self._keys.credentials(domain)

    async def secret(self, id_: str) -> bytes | None:
        return await self._keys.secret(id_)

    async def agent(self, id_: str) -> Path | None:
        return await self._keys.agent(id_)

    async def contexts(self, steps: Sequence[Step]) -> Mapping[str, BuildContext]:
        return await self._directories.contexts(steps)


class FrontEnd:
    """Builds Dockerfiles of clients in one engine."""

    def __init__(
        self, engine: Engine, service: BuildService, sessions: Sessions, places: ContextPlaces
    ) -> None:
        self._engine = engine
        self._service = service
        self._sessions = sessions
        self._places = places
        self._scratch = engine.options.exec_root / "agents"

    async def solve(self, build: Build, attributes: Mapping[str, str]) -> Solved:
        """Build, or answer what is asked about a Dockerfile; the result lives with `build`.

        Raises SampanError, with what is known of its place in `build.news`.
        """
        options = parse_options(attributes, self._engine.distribution.machine)
        session = await self._sessions.get(build.session)
        keys = await build.kept.enter_async_context(SessionKeys(session, self._scratch).lent())
        spool = self._engine.images.spool
        directories = Directories(
            keys, self._sessions, self._places, options, build.kept, build.news, spool
        )
        text = await directories.dockerfile()
        build.news.source = Source(options.filename, text)
        dockerfile = parse_dockerfile(text, options.filename)
        client = _Client(keys, directories)
        order = _order(options, text, client)
        if options.request:
            found = await self._service.check(order)
            return Solved(metadata=answer(options.request, dockerfile, text, options, found))
        narrator = build.news.narrator
        narrator.stages = len(dockerfile.stages) > 1
        narrator.platforms = len(options.platforms) > 1
        order = await _with_caches(order, build, keys)
        solved = self._service.solved(order, build.news)
        return Solved(await build.kept.enter_async_context(solved))


async def _with_caches(order: BuildOrder, build: Build, keys: SessionKeys) -> BuildOrder:
    """Return the order with the caches of a build, and who to say one is to their registries."""
    names = (*registries(build.cache_from), *registries(build.cache_to))
    domains = {parse_reference(one).domain for one in names}
    known = {domain: await keys.credentials(domain) for domain in sorted(domains)}
    return replace(order, cache_from=build.cache_from, cache_to=build.cache_to, credentials=known)


def _order(options: FrontendOptions, text: str, client: _Client) -> BuildOrder:
    return BuildOrder(
        dockerfile=text,
        file=options.filename,
        directories=tuple(options.directories),
        images=options.images,
        arguments=options.arguments,
        labels=options.labels,
        target=options.target,
        platforms=options.platforms,
        no_cache=options.no_cache,
        no_cache_stages=options.no_cache_stages,
        pull=options.pull,
        network=options.network,
        extra_hosts=options.extra_hosts,
        limits=options.limits,
        client=client,
    )
