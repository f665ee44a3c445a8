"""Calls about volumes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sampan.engine.client.client import Client, quoted
from sampan.engine.client.queries import filters, present

__all__ = ["Volumes"]

Document = dict[str, Any]


class Volumes:
    """The volumes of one daemon."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def list(self, wanted: Iterable[tuple[str, str]] = ()) -> Sequence[Document]:
        """Return a document each."""
        query = present(filters=filters(wanted))
        return self._client.call("GET", "/volumes", query).get("Volumes") or []

    def create(self, body: Mapping[str, Any]) -> Document:
        """Make one, or find the one that has that name."""
        found: Document = self._client.call("POST", "/volumes/create", None, body)
        return found

    def inspect(self, name: str) -> Document:
        """Return everything about one."""
        found: Document = self._client.call("GET", f"/volumes/{quoted(name)}")
        return found

    def remove(self, name: str, force: bool = False) -> None:
        """Remove one that no container uses."""
        self._client.call("DELETE", f"/volumes/{quoted(name)}", present(force=force))

    def prune(self, wanted: Iterable[tuple[str, str]] = ()) -> Document:
        """Remove those that no container uses."""
        query = present(filters=filters(wanted))
        found: Document = self._client.call("POST", "/volumes/prune", query)
        return found
