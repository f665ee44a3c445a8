"""The containers by id, by name and by the beginning of an id."""

from __future__ import annotations

import bisect
from collections.abc import Iterator

from sampan.base.errors import ConflictError, InvalidError, NotFoundError
from sampan.engine.daemon.shell.container import Container

__all__ = ["Registry"]


class Registry:
    """All containers; looking one up does not depend on how many there are."""

    def __init__(self) -> None:
        self._by_id: dict[str, Container] = {}
        self._by_name: dict[str, str] = {}
        self._ids: list[str] = []

    def __iter__(self) -> Iterator[Container]:
        return iter(list(self._by_id.values()))

    def __len__(self) -> int:
        return len(self._by_id)

    def __contains__(self, id_: str) -> bool:
        return id_ in self._by_id

    def reserve(self, name: str, id_: str) -> None:
        """Take a name; ConflictError as Docker's when it is taken."""
        holder = self._by_name.get(name)
        if holder is not None:
            raise ConflictError(
                f'Conflict. The container name "/{name}" is already in use by container '
                f'"{holder}". You have to remove (or rename) that container to be able to reuse '
                "that name."
            )
        self._by_name[name] = id_

    def release(self, name: str) -> None:
        """Give a name back."""
        self._by_name.pop(name, None)

    def taken(self, name: str) -> bool:
        """Tell whether a name is taken."""
        return name in self._by_name

    def add(self, container: Container) -> None:
        """Add a container whose name is reserved."""
        self._by_id[container.id] = container
        bisect.insort(self._ids, container.id)

    def drop(self, container: Container) -> None:
        """Forget a container and its name."""
        if self._by_id.pop(container.id, None) is not None:
            self._ids.remove(container.id)
        self.release(container.record.name)

    def find(self, text: str) -> Container:
        """Return the container of a name, an id or the beginning of one.

        Raises NotFoundError, or InvalidError when several ids begin so.
        """
        bare = text.removeprefix("/")
        if not bare:
            raise InvalidError('invalid name or ID supplied: ""')
        id_ = bare if bare in self._by_id else self._by_name.get(bare)
        if id_ is not None and id_ in self._by_id:
            return self._by_id[id_]
        at = bisect.bisect_left(self._ids, bare)
        found = [one for one in self._ids[at : at + 2] if one.startswith(bare)]
        if len(found) > 1:
            raise InvalidError(f"multiple IDs found with provided prefix: {bare}")
        if not found:
            raise NotFoundError(f"No such container: {bare}")
        return self._by_id[found[0]]
