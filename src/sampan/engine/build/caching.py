"""Results of builds from elsewhere and to elsewhere, as an order says it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from sampan.base.errors import NotFoundError, SampanError, UnsupportedError
from sampan.images.build.cachefolder import FolderCache, write_folder_cache
from sampan.images.build.cachesource import CacheSource, by_key
from sampan.images.build.progress import Progress, StepStatus
from sampan.images.build.solver import Result
from sampan.images.core.build.cacheoptions import CacheExport, CacheImport
from sampan.images.core.build.cacherecords import CachedLayer, read_inline
from sampan.images.core.build.steps import Step
from sampan.images.core.challenge import Credentials, credentials_for
from sampan.images.core.manifest import Manifest
from sampan.images.core.reference import parse_reference
from sampan.images.registry.buildcache import BuildCaches
from sampan.images.shell.index import Entry
from sampan.images.shell.store import ImageStore
from sampan.images.shell.thread import in_thread

__all__ = ["Caching", "exported"]

_INLINE: Final = "inline"


class _ImageCache:
    """The records in the images of a name that are here; their layers are here, too."""

    def __init__(self, name: str, entries: Sequence[Entry]) -> None:
        self.name = name
        self._records = by_key(record for one in entries for record in _inline(one))

    def find(self, key: str) -> CachedLayer | None:
        return self._records.get(key)

    async def fetch(self, layer: CachedLayer) -> None:
        pass


def _inline(entry: Entry) -> Sequence[CachedLayer]:
    manifest: Manifest = entry.document()
    return read_inline(entry.image.document, manifest.layers)


class Caching:
    """Opens sources and fills places."""

    def __init__(self, store: ImageStore, registries: BuildCaches | None) -> None:
        self._store = store
        self._registries = registries

    async def open(
        self,
        imports: Sequence[CacheImport],
        credentials: Mapping[str, Credentials],
        progress: Progress,
    ) -> list[CacheSource]:
        """Read the records of sources; one that cannot be read is told of and left out."""
        found: list[CacheSource] = []
        for number, one in enumerate(imports):
            shown = one.attrs.get("ref") or one.attrs.get("src", "")
            status = _begun(progress, f"cache-from-{number}", f"importing cache from {shown}")
            try:
                found.append(await self._source(one, credentials))
            except SampanError as error:
                _ended(progress, status, str(error))
                continue
            _ended(progress, status)
        return found

    async def _source(
        self, one: CacheImport, credentials: Mapping[str, Credentials]
    ) -> CacheSource:
        if one.type == "local":
            folder, tag = Path(one.attrs["src"]), one.attrs.get("tag", "latest")
            digest = one.attrs.get("digest", "")
            content = self._store.content
            return await in_thread(FolderCache, folder, content, tag=tag, digest=digest)
        try:
            entry = self._store.find(one.attrs["ref"])
        except NotFoundError:
            reference = parse_reference(one.attrs["ref"])
            who = credentials_for(credentials, reference.domain)
            return await self._remote().open(reference, who)
        family = self._store.index.family(entry)
        for member in family:
            await self._store.hold(member)
        return await in_thread(_ImageCache, one.attrs["ref"], family)

    def _remote(self) -> BuildCaches:
        if self._registries is None:
            raise UnsupportedError("this builder speaks to no registries")
        return self._registries

    async def export(
        self,
        exports: Sequence[CacheExport],
        results: Mapping[int, Result],
        ends: Sequence[Step],
        credentials: Mapping[str, Credentials],
        progress: Progress,
    ) -> None:
        """Take results where an order wants them; the first failure is raised, if it matters."""
        for number, one in enumerate(exports):
            if one.type == _INLINE:
                continue
            shown = one.attrs.get("ref") or one.attrs.get("dest", "")
            status = _begun(progress, f"cache-to-{number}", f"exporting cache to {shown}")
            try:
                made = exported(results, ends, whole=one.whole)
                await self._export(one, await in_thread(self._layers, made), credentials)
            except SampanError as error:
                _ended(progress, status, str(error))
                if not one.may_fail:
                    raise
                continue
            _ended(progress, status)

    async def inline(
        self, order_: Sequence[CacheExport], results: Mapping[int, Result], end: Step
    ) -> list[CachedLayer]:
        """Return the records to put into the image of a step, when an order wants them there."""
        if not any(one.type == _INLINE for one in order_):
            return []
        return await in_thread(self._layers, exported(results, [end], whole=False))

    async def _export(
        self, one: CacheExport, made: Sequence[CachedLayer], who: Mapping[str, Credentials]
    ) -> None:
        if one.type == "local":
            folder, tag = Path(one.attrs["dest"]), one.attrs.get("tag", "latest")
            await in_thread(write_folder_cache, folder, self._store.content, made, tag)
            return
        reference = parse_reference(one.attrs["ref"])
        await self._remote().push(reference, made, credentials_for(who, reference.domain))

    def _layers(self, made: Sequence[Result]) -> list[CachedLayer]:
        return [
            CachedLayer(
                one.key,
                one.root.diff_ids[-1],
                self._store.layer(one.root.blobs[-1]),
                one.root.made_s,
                one.description,
            )
            for one in made
        ]


def exported(results: Mapping[int, Result], ends: Sequence[Step], *, whole: bool) -> list[Result]:
    """Return the results to take along: all, or those whose layers are the ends' own."""
    if whole:
        return list(results.values())
    found: dict[int, Result] = {}
    for end in ends:
        step: Step | None = end
        while step is not None:
            if id(step) in results:
                found[id(step)] = results[id(step)]
            step = getattr(step, "parent", None)
    return list(found.values())


def _begun(progress: Progress, key: str, name: str) -> StepStatus:
    status = StepStatus(key, name, started_s=time.time(), internal=True)
    progress.step(status)
    return status


def _ended(progress: Progress, status: StepStatus, error: str = "") -> None:
    progress.step(
        StepStatus(
            status.key,
            status.name,
            started_s=status.started_s,
            completed_s=time.time(),
            error=error,
            internal=True,
        )
    )
