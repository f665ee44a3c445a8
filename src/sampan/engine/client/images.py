"""Calls about images."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from sampan.engine.client.client import Client, quoted
from sampan.engine.client.queries import filters, present
from sampan.engine.client.transport import Response

__all__ = ["Images"]

Document = dict[str, Any]
_TAR = {"Content-Type": "application/x-tar"}


class Images:
    """The images of one daemon; `name` is a reference or an id."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def list(
        self,
        everything: bool = False,
        digests: bool = False,
        wanted: Iterable[tuple[str, str]] = (),
    ) -> Sequence[Document]:
        """Return a document each."""
        query = present(all=everything, digests=digests, filters=filters(wanted))
        found: Sequence[Document] = self._client.call("GET", "/images/json", query)
        return found

    def inspect(self, name: str) -> Document:
        """Return everything about one."""
        found: Document = self._client.call("GET", f"/images/{quoted(name)}/json")
        return found

    def history(self, name: str) -> Sequence[Document]:
        """Return its layers, the newest first."""
        return self._client.call("GET", f"/images/{quoted(name)}/history") or []

    def pull(
        self, name: str, tag: str = "", platform: str = "", credentials: str = ""
    ) -> Iterator[Document]:
        """Fetch an image from its registry; yields progress, and an error as a document."""
        query = present(fromImage=name, tag=tag, platform=platform)
        headers = {"X-Registry-Auth": credentials} if credentials else {}
        return self._client.documents("POST", "/images/create", query, None, headers)

    def push(
        self, name: str, tag: str = "", platform: str = "", credentials: str = ""
    ) -> Iterator[Document]:
        """Send an image to its registry; yields progress, and an error as a document."""
        # The daemon wants the header even when there is nothing to say.
        headers = {"X-Registry-Auth": credentials or "e30="}
        query = present(tag=tag, platform=platform)
        path = f"/images/{quoted(name)}/push"
        return self._client.documents("POST", path, query, None, headers)

    def load(self, archive: Iterable[bytes], quiet: bool = False) -> Iterator[Document]:
        """Read images of an archive; yields what was found."""
        query = {"quiet": "1" if quiet else "0"}
        return self._client.documents("POST", "/images/load", query, archive, _TAR)

    def make(
        self,
        archive: Iterable[bytes] | None,
        source: str = "-",
        repository: str = "",
        tag: str = "",
        message: str = "",
        changes: Sequence[str] = (),
        platform: str = "",
    ) -> Iterator[Document]:
        """Make an image of one tree, sent or fetched by the daemon; yields its id."""
        query = present(
            fromSrc=source, repo=repository, tag=tag, message=message, platform=platform
        )
        if changes:
            query["changes"] = "\n".join(changes)
        return self._client.documents("POST", "/images/create", query, archive, _TAR)

    def build(
        self,
        context: Iterable[bytes] | bytes,
        query: Iterable[tuple[str, str]],
        registry_config: str = "",
        *,
        keys: str = "",
    ) -> Iterator[Document]:
        """Make an image of a context, a tar with its Dockerfile; yields what the steps print.

        `keys` are secrets and agents as Sampan's engine takes them in a header.
        """
        told = {"X-Registry-Config": registry_config, "X-Sampan-Build-Keys": keys}
        headers = {**_TAR, **{name: value for name, value in told.items() if value}}
        return self._client.documents("POST", "/build", query, context, headers)

    def save(self, names: Sequence[str]) -> Response:
        """Return images as one archive."""
        return self._client.open("GET", "/images/get", [("names", name) for name in names])

    def tag(self, name: str, repository: str, tag: str) -> None:
        """Give an image another name."""
        query = {"repo": repository, "tag": tag}
        self._client.call("POST", f"/images/{quoted(name)}/tag", query)

    def remove(self, name: str, force: bool = False, prune: bool = True) -> Sequence[Document]:
        """Remove a name, and the image with its last one; returns what went."""
        query = present(force=force, noprune=not prune)
        return self._client.call("DELETE", f"/images/{quoted(name)}", query) or []

    def prune(self, wanted: Iterable[tuple[str, str]] = ()) -> Document:
        """Remove what has no name, or what no container uses."""
        query = present(filters=filters(wanted))
        found: Document = self._client.call("POST", "/images/prune", query)
        return found

    def search(
        self, term: str, limit: int = 0, wanted: Iterable[tuple[str, str]] = ()
    ) -> Sequence[Document]:
        """Ask the registry for names."""
        query = present(term=term, limit=limit, filters=filters(wanted))
        found: Sequence[Document] = self._client.call("GET", "/images/search", query)
        return found

    def commit(
        self,
        container: str,
        repository: str = "",
        tag: str = "",
        comment: str = "",
        author: str = "",
        changes: Sequence[str] = (),
        pause: bool = True,
    ) -> str:
        """Make an image of a container; returns its id."""
        query = present(
            container=container, repo=repository, tag=tag, comment=comment, author=author
        )
        pairs = [*query.items(), *(("changes", change) for change in changes)]
        if not pause:
            pairs.append(("pause", "0"))
        return str(self._client.call("POST", "/commit", pairs)["Id"])
