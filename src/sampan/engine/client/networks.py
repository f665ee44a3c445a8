"""Calls about networks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sampan.engine.client.client import Client, quoted
from sampan.engine.client.queries import filters, present

__all__ = ["Networks"]

Document = dict[str, Any]


class Networks:
    """The networks of one daemon; `name` is a name or an id."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def list(self, wanted: Iterable[tuple[str, str]] = ()) -> Sequence[Document]:
        """Return a document each."""
        query = present(filters=filters(wanted))
        found: Sequence[Document] = self._client.call("GET", "/networks", query)
        return found

    def create(self, body: Mapping[str, Any]) -> Document:
        """Make one; returns Id and Warning."""
        found: Document = self._client.call("POST", "/networks/create", None, body)
        return found

    def inspect(self, name: str, verbose: bool = False, scope: str = "") -> Document:
        """Return everything about one."""
        query = present(verbose=verbose, scope=scope)
        found: Document = self._client.call("GET", f"/networks/{quoted(name)}", query)
        return found

    def remove(self, name: str) -> None:
        """Remove one that no container is in."""
        self._client.call("DELETE", f"/networks/{quoted(name)}")

    def connect(self, name: str, container: str, endpoint: Mapping[str, Any]) -> None:
        """Let a container join."""
        body = {"Container": container, "EndpointConfig": endpoint}
        self._client.call("POST", f"/networks/{quoted(name)}/connect", None, body)

    def disconnect(self, name: str, container: str, force: bool = False) -> None:
        """Let a container leave."""
        body = {"Container": container, "Force": force}
        self._client.call("POST", f"/networks/{quoted(name)}/disconnect", None, body)

    def prune(self, wanted: Iterable[tuple[str, str]] = ()) -> Document:
        """Remove those that no container is in."""
        query = present(filters=filters(wanted))
        found: Document = self._client.call("POST", "/networks/prune", query)
        return found
