"""Results of other builds, to look up beside one's own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

from sampan.images.core.build.cacherecords import CachedLayer

__all__ = ["CacheSource", "by_key"]


class CacheSource(Protocol):
    """Records that have been read; their layers come when they are wanted."""

    name: str

    def find(self, key: str) -> CachedLayer | None:
        """Return the record of a key."""
        ...

    async def fetch(self, layer: CachedLayer) -> None:
        """Have a record's layer in the content store, verified; within an operation of the store.

        Raises SampanError when it cannot be had, or is something else.
        """
        ...


def by_key(records: Iterable[CachedLayer]) -> Mapping[str, CachedLayer]:
    """Return records by their keys; of several for one key the first."""
    found: dict[str, CachedLayer] = {}
    for one in records:
        found.setdefault(one.key, one)
    return found
