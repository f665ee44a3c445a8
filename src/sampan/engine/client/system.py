"""Calls about the daemon itself."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from sampan.engine.client.client import Client
from sampan.engine.client.queries import filters, present

__all__ = ["System"]

Document = dict[str, Any]


class System:
    """One daemon."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def version(self) -> Document:
        """Return versions of the daemon and its parts."""
        found: Document = self._client.call("GET", "/version")
        return found

    def info(self) -> Document:
        """Return counts, drivers, kernel, limits."""
        found: Document = self._client.call("GET", "/info")
        return found

    def disk_usage(self) -> Document:
        """Return images, containers, volumes and build cache with their sizes."""
        found: Document = self._client.call("GET", "/system/df")
        return found

    def events(
        self, since: str = "", until: str = "", wanted: Iterable[tuple[str, str]] = ()
    ) -> Iterator[Document]:
        """Yield what happens, from the past or from now on."""
        query = present(since=since, until=until, filters=filters(wanted))
        return self._client.documents("GET", "/events", query)

    def prune_builds(self, everything: bool, wanted: Iterable[tuple[str, str]] = ()) -> Document:
        """Remove what builds left."""
        query = present(all=everything, filters=filters(wanted))
        found: Document = self._client.call("POST", "/build/prune", query)
        return found

    def log_in(self, credentials: Mapping[str, str]) -> Document:
        """Let the daemon try credentials; returns Status and perhaps IdentityToken."""
        return self._client.call("POST", "/auth", None, credentials) or {}
