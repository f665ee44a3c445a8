"""Solving the graph of a build: every step once, at the same time where they do not depend on each
other, out of the cache where nothing that counts has changed.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from sampan.base.errors import InvalidError, SampanError
from sampan.images.build.cache import BuildCache, Root
from sampan.images.build.commands import CommandRunner
from sampan.images.build.copies import Copier
from sampan.images.build.execution import Executor
from sampan.images.build.options import SolveOptions
from sampan.images.build.progress import Progress, StepStatus
from sampan.images.core.build.steps import (
    Base,
    CopyStep,
    HostRoot,
    MakeDirectory,
    RunStep,
    Scratch,
    Step,
    inputs,
    operation_key,
    walk,
)
from sampan.images.core.build.wording import step_name
from sampan.images.core.image import chain_ids
from sampan.images.shell.store import ImageStore

__all__ = ["Result", "Solver", "root_digest"]

_LOG = logging.getLogger(__name__)


def root_digest(root: Root) -> str:
    """Return what tells one root from another."""
    chain = chain_ids(root.diff_ids)[-1] if root.diff_ids else "scratch"
    return f"host+{chain}" if root.host else chain


@dataclass(frozen=True, slots=True)
class Result:
    """What a keyed step has yielded: its own layer is the root's last one."""

    key: str
    root: Root
    description: str


class Solver:
    """Solves the steps of one build."""

    def __init__(
        self,
        store: ImageStore,
        cache: BuildCache,
        executor: Executor,
        options: SolveOptions,
        progress: Progress,
    ) -> None:
        self._store = store
        self._cache = cache
        self.results: dict[int, Result] = {}
        """The results of keyed steps by the steps' identity, new ones and known ones."""

        self._options = options
        self._progress = progress
        self._copier = Copier(store, options)
        self._runner = CommandRunner(store, executor, options, self._copier.trees, progress)
        self._slots = asyncio.Semaphore(options.parallel)
        self._names: dict[int, str] = {}

    async def solve(self, *ends: Step) -> list[Root]:
        """Return the roots of these steps; what else they need is solved on the way.

        The first failure ends everything. Raises SampanError with the step's name in its message.
        """
        tasks: dict[int, asyncio.Task[Root]] = {}
        steps = list(walk(*ends))
        self._progress.begin(sum(not isinstance(step, Scratch) for step in steps))
        try:
            async with asyncio.TaskGroup() as group:
                for number, step in enumerate(steps):
                    needed = [tasks[id(one)] for one in inputs(step)]
                    self._names[id(step)] = f"step-{number}"
                    tasks[id(step)] = group.create_task(self._solve(step, needed))
        except BaseExceptionGroup as group_error:
            raise _first(group_error) from None
        finally:
            await self._copier.close()
        return [tasks[id(end)].result() for end in ends]

    async def _solve(self, step: Step, needed: Sequence[asyncio.Task[Root]]) -> Root:
        roots = [await one for one in needed]
        if isinstance(step, Scratch):
            return Root()
        name = self._names[id(step)]
        before = [self._names[id(one)] for one in inputs(step)]
        place = self._options.places.get(id(step))
        status = StepStatus(name, step_name(step), before, started_s=time.time(), place=place)
        try:
            root, cached = await self._result(step, roots, status)
        except asyncio.CancelledError:
            raise
        except SampanError as error:
            self._tell(status, failure=error)
            raise
        self._tell(status, cached=cached)
        return root

    def _tell(
        self, status: StepStatus, *, cached: bool = False, failure: SampanError | None = None
    ) -> None:
        now = time.time()
        began = status.started_s or now
        error = str(failure) if failure is not None else ""
        told = replace(status, started_s=began, completed_s=now, cached=cached, error=error)
        self._progress.step(replace(told, failure=failure))

    async def _result(
        self, step: Step, roots: Sequence[Root], status: StepStatus
    ) -> tuple[Root, bool]:
        """Return a step's root, and whether it was known before."""
        match step:
            case Scratch() | HostRoot():
                return Root(host=isinstance(step, HostRoot)), True
            case Base():
                self._progress.step(status)
                return self._base(step), False
            case CopyStep():
                return await self._copied(step, roots, status)
            case MakeDirectory():
                return await self._made(step, roots, status)
            case RunStep():
                return await self._ran(step, roots, status)

    def _base(self, step: Base) -> Root:
        entry = self._options.images.get((step.reference, str(step.platform)))
        if entry is None:
            raise InvalidError(f"image {step.reference} was not looked up")
        return Root(tuple(entry.diff_ids), tuple(entry.blobs))

    async def _known(self, key: str, parent: Root, status: StepStatus) -> Root | None:
        """Return a result that is known here or elsewhere; `parent` is what its layer goes upon."""
        stages = self._options.no_cache_stages
        fresh = status.place is not None and status.place.stage.lower() in stages
        if self._options.no_cache or fresh:
            return None
        root = self._cache.find(key)
        if root is not None and self._copier.has(root):
            return root
        if root is not None:
            self._cache.drop(key)
        return None if parent.host else await self._imported(key, parent, status)

    async def _imported(self, key: str, parent: Root, status: StepStatus) -> Root | None:
        """Bring a result from elsewhere; a source that cannot give what it names is passed over."""
        for source in self._options.cache_sources:
            layer = source.find(key)
            if layer is None:
                continue
            own = Root((layer.diff_id,), (layer.blob.digest,), made_s=layer.created_s)
            root = self._copier.on_top(parent, own)
            try:
                await source.fetch(layer)
                await self._store.unpack(root.diff_ids, root.blobs)
            except SampanError as error:
                _LOG.warning("cache %s: %s", source.name, error)
                name = f"importing a layer from {source.name}"
                self._progress.step(
                    StepStatus(f"cache-{key}", name, error=str(error), internal=True)
                )
                continue
            self._cache.put(key, root, status.name)
            return root
        return None

    def _keep(self, step: Step, result: Result) -> None:
        if not result.root.host:
            self.results[id(step)] = result

    async def _copied(
        self, step: CopyStep, roots: Sequence[Root], status: StepStatus
    ) -> tuple[Root, bool]:
        contents = await self._copier.digest(step, roots[1:])
        parent = self._copier.owner(step, roots[0]) if step.link else root_digest(roots[0])
        key = operation_key(step, [parent, contents, str(self._options.epoch_s)])
        below = Root() if step.link else roots[0]
        found = await self._known(key, below, status)
        cached = found is not None
        if found is None:
            self._progress.step(status)
            made = await self._copier.copy(step, roots)
            found = Root(made.diff_ids[-1:], made.blobs[-1:], made_s=made.made_s)
            found = found if step.link else made
            self._cache.put(key, found, status.name)
        self._keep(step, Result(key, found, status.name))
        if not step.link:
            return found, cached
        root = self._copier.on_top(roots[0], found)
        await self._store.unpack(root.diff_ids, root.blobs)
        return root, cached

    async def _made(
        self, step: MakeDirectory, roots: Sequence[Root], status: StepStatus
    ) -> tuple[Root, bool]:
        key = operation_key(step, [root_digest(roots[0]), str(self._options.epoch_s)])
        found = await self._known(key, roots[0], status)
        cached = found is not None
        if found is None:
            self._progress.step(status)
            found = await self._copier.make_directory(step, roots[0])
            self._cache.put(key, found, status.name)
        self._keep(step, Result(key, found, status.name))
        return found, cached

    async def _ran(
        self, step: RunStep, roots: Sequence[Root], status: StepStatus
    ) -> tuple[Root, bool]:
        contents = await self._runner.digest(step)
        around = [self._options.network, *self._options.extra_hosts]
        key = operation_key(step, [*map(root_digest, roots), contents, *around])
        found = await self._known(key, roots[0], status)
        cached = found is not None
        if found is None:
            async with self._slots:
                self._progress.step(status)
                found = await self._runner.run(step, roots, status.key)
            self._cache.put(key, found, status.name)
        self._keep(step, Result(key, found, status.name))
        return found, cached


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the failure that came first."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
