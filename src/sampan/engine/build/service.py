"""A build from its order to its image."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import shutil
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Protocol

from sampan.base.diagnostic import Diagnostic, DiagnosticsError
from sampan.base.errors import InvalidError, NotFoundError
from sampan.dockerfile.stages import Dockerfile, parse_dockerfile
from sampan.engine.build.caching import Caching
from sampan.engine.build.executor import ContainerExecutor
from sampan.engine.build.network import BridgeNetwork, MachineNetwork
from sampan.engine.daemon.core.moment import moment_text
from sampan.engine.daemon.shell.engine import Engine
from sampan.images.build.cache import BuildCache, Root
from sampan.images.build.copies import Trees
from sampan.images.build.execution import Executor
from sampan.images.build.filetree import FileTree
from sampan.images.build.options import BuildContext, SolveOptions
from sampan.images.build.progress import Progress, Silent
from sampan.images.build.solver import Solver
from sampan.images.core.build.cacheoptions import CacheExport, CacheImport
from sampan.images.core.build.cacherecords import INLINE, CachedLayer, inline_records
from sampan.images.core.build.evaluate import Evaluation, evaluate
from sampan.images.core.build.request import BaseImage, BuildRequest, NeededImage, needed
from sampan.images.core.build.steps import GitFiles, Graph, RunStep, Step, walk
from sampan.images.core.challenge import Credentials, credentials_for
from sampan.images.core.image import Image, parse_image
from sampan.images.core.manifest import write_index
from sampan.images.core.platform import Platform, preferences
from sampan.images.core.reference import parse_reference, tag_name
from sampan.images.registry.buildcache import BuildCaches
from sampan.images.shell.index import Entry
from sampan.images.shell.store import ImageStore, NewImage
from sampan.images.shell.thread import in_thread

__all__ = ["BuildClient", "BuildOrder", "BuildService", "Built", "build_service"]

_PROXIES: Final = ("HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY")
_FRESH_S: Final = 24 * 3600.0
_EPOCH: Final = "SOURCE_DATE_EPOCH"
_INLINE_CACHE: Final = "BUILDKIT_INLINE_CACHE"

Pull = Callable[[str, Platform, Credentials], Awaitable[Entry]]
"""Has an image brought here; raises as a pull does."""


@dataclass(frozen=True, slots=True)
class BuildOrder:
    """Everything that a client asks for. `platforms` is empty for the machine's own."""

    dockerfile: str
    file: str = "Dockerfile"
    context: BuildContext | None = None
    contexts: Mapping[str, BuildContext] = field(default_factory=dict)
    directories: Sequence[str] = ()
    """Names of further contexts that the client has."""

    images: Mapping[str, str] = field(default_factory=dict)
    arguments: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    tags: Sequence[str] = ()
    target: str = ""
    platforms: Sequence[Platform] = ()
    no_cache: bool = False
    pull: bool = False
    network: str = "default"
    extra_hosts: Sequence[str] = ()
    limits: Mapping[str, Any] = field(default_factory=dict)
    credentials: Mapping[str, Credentials] = field(default_factory=dict)
    """Who to say one is to which registry."""

    secrets: Mapping[str, bytes] = field(default_factory=dict)
    ssh: Mapping[str, Path] = field(default_factory=dict)
    cache_from: Sequence[CacheImport] = ()
    cache_to: Sequence[CacheExport] = ()
    no_cache_stages: frozenset[str] = frozenset()
    client: BuildClient | None = None
    """Who is asked for what a build turns out to need."""

    @property
    def cache_exports(self) -> Sequence[CacheExport]:
        """Where results go: also into the image when the build argument for it is given."""
        inline = CacheExport("inline")
        asked = self.arguments.get(_INLINE_CACHE, "") in ("1", "true")
        return (*self.cache_to, inline) if asked and inline not in self.cache_to else self.cache_to


class BuildClient(Protocol):
    """A client that has more for a build than it sends with the order."""

    async def credentials(self, domain: str) -> Credentials:
        """Return who to say one is to a registry."""
        ...

    async def secret(self, id_: str) -> bytes | None:
        """Return a secret, None when the client does not have it."""
        ...

    async def agent(self, id_: str) -> Path | None:
        """Return a socket where the client's ssh agent answers, None when it lends none."""
        ...

    async def contexts(self, steps: Sequence[Step]) -> Mapping[str, BuildContext]:
        """Return the contexts that steps need, with the files that they need at least."""
        ...


@dataclass(frozen=True, slots=True)
class Built:
    """What a build has made, not named yet: an image for each platform, and its layers."""

    images: Sequence[NewImage]
    platforms: Sequence[Platform]
    roots: Sequence[Root]
    files: Sequence[FileTree]
    """The images' files, in the same order."""


class BuildService:
    """Builds images in one store."""

    def __init__(
        self,
        store: ImageStore,
        executor: Executor,
        machine: Platform,
        pull: Pull,
        scratch: Path,
        *,
        host_allowed: bool = False,
        registries: BuildCaches | None = None,
    ) -> None:
        self._store = store
        self._executor = executor
        self._machine = machine
        self._pull = pull
        self._scratch = scratch
        self._host_allowed = host_allowed
        self._caching = Caching(store, registries)
        self.cache = BuildCache(store.spool.parent / "build" / "cache")
        store.keepers.append(self._kept)

    def _kept(self) -> list[tuple[Sequence[str], Sequence[str]]]:
        """Return the layers that are to stay for later builds: diff ids and blobs."""
        return [(record.root.diff_ids, record.root.blobs) for record in self.cache]

    async def prune(self, *, everything: bool) -> tuple[list[str], int]:
        """Forget results, all of them or those not used for a day; returns keys and bytes freed."""
        oldest = time.time() - (0 if everything else _FRESH_S)
        gone = [record.key for record in self.cache if record.used_s <= oldest]
        for key in gone:
            self.cache.drop(key)
        async with self._store.changing():
            freed = await self._store.collect()
        return gone, freed

    async def check(self, order: BuildOrder) -> list[Diagnostic]:
        """Return what is wrong with a Dockerfile and what will surprise, without building.

        Nothing is fetched: of a base image that is not here, the variables are not known.
        """
        try:
            dockerfile = parse_dockerfile(order.dockerfile, order.file)
            request = self._request(order, (*order.platforms, self._machine)[0])
            bases = {
                (one.reference, str(one.platform)): self._base(one)
                for one in needed(dockerfile, request)
            }
            return list(evaluate(dockerfile, request, bases).warnings)
        except DiagnosticsError as error:
            return list(error.diagnostics)

    def _base(self, wanted: NeededImage) -> BaseImage:
        try:
            entry = self._store.find(wanted.reference, wanted.platform)
        except (NotFoundError, InvalidError):
            return BaseImage("", {}, known=False)
        return BaseImage(entry.id, entry.image.document)

    async def prune_results(self, keys: Collection[str], keep_s: float) -> set[str]:
        """Forget those of `keys` that were not used for so long; returns them."""
        oldest = time.time() - keep_s
        gone = {one.key for one in self.cache if one.key in keys and one.used_s <= oldest}
        for key in gone:
            self.cache.drop(key)
        async with self._store.changing():
            await self._store.collect()
        return gone

    async def build(self, order: BuildOrder, progress: Progress | None = None) -> Entry:
        """Build an image and name it; returns it.

        Raises DiagnosticsError for what is wrong with the Dockerfile, CommandError when a command
        fails, and other SampanErrors; no image is made then.
        """
        tags = [tag_name(tag) for tag in order.tags]
        async with self.solved(order, progress or Silent()) as built:
            return await self.keep(built, tags)

    @contextlib.asynccontextmanager
    async def solved(self, order: BuildOrder, progress: Progress) -> AsyncIterator[Built]:
        """Build, and keep what came of it for as long as the context lasts; see `build`."""
        dockerfile = parse_dockerfile(order.dockerfile, order.file)
        platforms = list(dict.fromkeys(order.platforms)) or [self._machine]
        async with self._store.operation():
            graph, images = Graph(), dict[tuple[str, str], Entry]()
            evaluations = [
                await self._evaluate(dockerfile, order, platform, graph, images)
                for platform in platforms
            ]
            warnings = [one for evaluation in evaluations for one in evaluation.warnings]
            for warning in dict.fromkeys(warnings):
                progress.warning(warning)
            steps = [one.target.step for one in evaluations]
            order = await _with_keys(order, steps)
            sources = await self._caching.open(order.cache_from, order.credentials, progress)
            options = replace(self._options(order, images, evaluations), cache_sources=sources)
            solver = Solver(self._store, self.cache, self._executor, options, progress)
            try:
                roots = await solver.solve(*steps)
            finally:
                await in_thread(shutil.rmtree, options.scratch, ignore_errors=True)
            known, exports = solver.results, order.cache_exports
            records = [await self._caching.inline(exports, known, step) for step in steps]
            made = [
                NewImage(_image(evaluation, root, platform, _epoch(order), inline), root.blobs)
                for evaluation, root, platform, inline in zip(
                    evaluations, roots, platforms, records, strict=True
                )
            ]
            await self._caching.export(exports, known, steps, order.credentials, progress)
            trees = Trees(self._store, {})
            yield Built(made, platforms, roots, [trees.root(root) for root in roots])

    async def keep(self, built: Built, tags: Sequence[str]) -> Entry:
        """Add the images of a build under full names; returns the one for this machine best."""
        return await self._add(built.images, built.platforms, tags)

    async def unlisted(self, built: Built) -> tuple[list[Entry], str]:
        """Return the images of a build without adding them, and the digest of their index.

        There is no index for one image. What they consist of stays while `solved` lasts.
        """
        images = built.images
        if len(images) > 1:
            images = await self._with_index(images, built.platforms)
        entries = [await self._store.unlisted(one) for one in images]
        return entries, images[0].index

    async def _add(
        self, built: Sequence[NewImage], platforms: Sequence[Platform], tags: Sequence[str]
    ) -> Entry:
        """Add the images, several of them as one index; returns the one for this machine best."""
        best = (preferences(self._machine, platforms) or [0])[0]
        if len(built) > 1:
            built = await self._with_index(built, platforms)
        named = [
            replace(one, names=tags) if number == best else one for number, one in enumerate(built)
        ]
        entries = await self._store.add_all(named)
        for tag in tags:
            self._store.event("tag", entries[best].id, entries[best], tag)
        return entries[best]

    async def _with_index(
        self, built: Sequence[NewImage], platforms: Sequence[Platform]
    ) -> list[NewImage]:
        manifests = []
        for one, platform in zip(built, platforms, strict=True):
            await self._store.unpack(one.image.diff_ids, one.blobs)
            described = await self._store.describe(one.image, one.blobs)
            manifests.append(replace(described, platform=platform))
        raw, index = write_index(manifests)
        await in_thread(self._store.content.put, raw)
        return [
            replace(one, manifest=manifest, index=index.digest)
            for one, manifest in zip(built, manifests, strict=True)
        ]

    async def _evaluate(
        self,
        dockerfile: Dockerfile,
        order: BuildOrder,
        platform: Platform,
        graph: Graph,
        images: dict[tuple[str, str], Entry],
    ) -> Evaluation:
        request = self._request(order, platform)
        wanted = needed(dockerfile, request)
        entries = await asyncio.gather(*(self._image(one, order) for one in wanted))
        for entry in entries:
            await self._store.hold(entry)
        for one, entry in zip(wanted, entries, strict=True):
            images[one.reference, str(one.platform)] = entry
        bases = {key: BaseImage(entry.id, entry.image.document) for key, entry in images.items()}
        return evaluate(dockerfile, request, bases, graph)

    def _request(self, order: BuildOrder, platform: Platform) -> BuildRequest:
        contexts = {name: f"docker-image://{image}" for name, image in order.images.items()}
        return BuildRequest(
            platform,
            self._machine,
            order.target,
            order.arguments,
            order.labels,
            {**contexts, **dict.fromkeys((*order.contexts, *order.directories), "local")},
            self._host_allowed,
            None if order.context is None else order.context.ignore,
        )

    async def _image(self, wanted: NeededImage, order: BuildOrder) -> Entry:
        if not order.pull:
            try:
                return self._store.find(wanted.reference, wanted.platform)
            except (NotFoundError, InvalidError):
                pass
        domain = parse_reference(wanted.reference).domain
        who = credentials_for(order.credentials, domain)
        if not who and order.client is not None:
            who = await order.client.credentials(domain)
        return await self._pull(wanted.reference, wanted.platform, who)

    def _options(
        self,
        order: BuildOrder,
        images: Mapping[tuple[str, str], Entry],
        evaluations: Sequence[Evaluation],
    ) -> SolveOptions:
        contexts = dict(order.contexts)
        if order.context is not None:
            contexts[""] = order.context
        given = order.arguments
        proxies = {
            name: given[name]
            for upper in _PROXIES
            for name in (upper, upper.lower())
            if name in given
        }
        return SolveOptions(
            images=images,
            contexts=contexts,
            scratch=self._scratch / secrets.token_hex(8),
            no_cache=order.no_cache,
            no_cache_stages=order.no_cache_stages,
            places={key: place for one in evaluations[::-1] for key, place in one.places.items()},
            secrets=order.secrets,
            ssh=order.ssh,
            proxies=proxies,
            network=order.network,
            extra_hosts=order.extra_hosts,
            limits=order.limits,
            epoch_s=_epoch(order),
            parallel=max(2, os.cpu_count() or 1),
        )


async def _with_keys(order: BuildOrder, ends: Sequence[Step]) -> BuildOrder:
    """Return the order with what its steps want of the client: files, secrets, agents."""
    if order.client is None:
        return order
    secrets_, ssh = dict(order.secrets), dict(order.ssh)
    steps = list(walk(*ends))
    contexts = {**await order.client.contexts(steps), **order.contexts}
    if any(isinstance(one, GitFiles) for step in steps for one in getattr(step, "sources", ())):
        for name in ("GIT_AUTH_TOKEN", "GIT_AUTH_HEADER"):
            secret = await order.client.secret(name)
            if secret is not None:
                secrets_[name] = secret
    for step in steps:
        for mount in step.mounts if isinstance(step, RunStep) else ():
            if mount.type == "secret" and mount.id not in secrets_:
                secret = await order.client.secret(mount.id)
                if secret is not None:
                    secrets_[mount.id] = secret
            elif mount.type == "ssh" and mount.id not in ssh:
                agent = await order.client.agent(mount.id)
                if agent is not None:
                    ssh[mount.id] = agent
    return replace(order, contexts=contexts, secrets=secrets_, ssh=ssh)


def _image(
    evaluation: Evaluation,
    root: Root,
    platform: Platform,
    epoch_s: int | None,
    inline: Sequence[CachedLayer],
) -> Image:
    # An image is as old as its newest layer: what is built again unchanged is the same image.
    moment = (root.made_s or time.time()) if epoch_s is None else epoch_s
    created = moment_text(moment)
    machine = {"architecture": platform.architecture, "os": platform.os}
    if platform.variant:
        machine["variant"] = platform.variant
    document = evaluation.target.config.document(machine, root.diff_ids, created)
    if inline:
        document[INLINE] = inline_records(inline, root.diff_ids)
    return parse_image(json.dumps(document, separators=(",", ":")).encode())


def build_service(engine: Engine) -> BuildService:
    """Return what builds images in an engine."""

    async def pull(reference: str, platform: Platform, who: Credentials) -> Entry:
        wanted = parse_reference(reference)
        await engine.distribution.pull(wanted, lambda _: None, platform=platform, credentials=who)
        return engine.images.find(reference, platform)

    options = engine.options
    executor = ContainerExecutor(
        engine.zygote,
        options.exec_root / "containers",
        engine.architecture,
        MachineNetwork() if options.rootless else BridgeNetwork(engine.networking.networks),
        rootless=options.rootless,
    )
    return BuildService(
        engine.images,
        executor,
        engine.distribution.machine,
        pull,
        options.exec_root / "build",
        host_allowed=options.build_from_host,
        registries=engine.distribution.build_caches,
    )


def _epoch(order: BuildOrder) -> int | None:
    text = order.arguments.get(_EPOCH, "")
    if not text:
        return None
    if not text.isdigit():
        raise InvalidError(f"{_EPOCH} must be seconds since 1970, not {text!r}")
    return int(text)
