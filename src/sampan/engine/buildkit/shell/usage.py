"""What builds keep for the next time: results of steps, and contexts of clients."""

from __future__ import annotations

from collections.abc import Sequence

from sampan.engine.build.service import BuildService
from sampan.engine.buildkit.core.retention import Kept, parse_filters
from sampan.engine.buildkit.shell.contexts import ContextPlaces
from sampan.images.core.image import chain_ids
from sampan.images.shell.store import ImageStore

__all__ = ["BuildUsage"]


class BuildUsage:
    """Lists and prunes it."""

    def __init__(self, store: ImageStore, service: BuildService, places: ContextPlaces) -> None:
        self._store = store
        self._service = service
        self._places = places

    async def listed(self, filters: Sequence[str]) -> list[Kept]:
        """Return what passes filters, oldest use first."""
        passes = parse_filters(filters)
        found = [*self._results(), *await self._contexts()]
        return sorted((one for one in found if passes(one)), key=lambda one: one.used_s)

    def _results(self) -> list[Kept]:
        found = []
        in_images = {chain for one in self._store.index.entries() for chain in one.chains()}
        for record in self._service.cache:
            chains = chain_ids(record.root.diff_ids)
            size = self._store.layer_size(chains[-1]) if chains else 0
            found.append(
                Kept(
                    record.key,
                    "regular",
                    record.description,
                    size,
                    record.created_s or record.used_s,
                    record.used_s,
                    shared=bool(chains) and chains[-1] in in_images,
                )
            )
        return found

    async def _contexts(self) -> list[Kept]:
        return [
            Kept(
                one.key,
                "source.local",
                "local source for context",
                one.size_bytes,
                one.created_s,
                one.used_s,
                in_use=one.used,
            )
            for one in await self._places.listed()
        ]

    async def prune(self, filters: Sequence[str], *, keep_s: float) -> list[Kept]:
        """Remove what passes filters and was not used for so long; returns what went."""
        chosen = {one.id: one for one in await self.listed(filters) if not one.in_use}
        contexts = {one.id for one in chosen.values() if one.kind == "source.local"}
        gone = {one.key for one in await self._places.prune(keep_s, contexts)}
        results = {one.id for one in chosen.values()} - contexts
        gone |= await self._service.prune_results(results, keep_s)
        return [one for id_, one in chosen.items() if id_ in gone]
