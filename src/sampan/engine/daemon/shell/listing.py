"""Lists of containers and what is told about one."""

from __future__ import annotations

import time
from typing import Any, Final, Protocol

from sampan.base.errors import SampanError
from sampan.base.moment import instant
from sampan.engine.daemon.core.filters import Filters
from sampan.engine.daemon.core.record import ContainerRecord
from sampan.engine.daemon.core.views import inspection, summary
from sampan.engine.daemon.shell.container import Container
from sampan.engine.daemon.shell.registry import Registry
from sampan.images.core.image import chain_ids
from sampan.images.shell.store import ImageStore

__all__ = ["Listing"]

_LIST_FILTERS: Final = (
    "ancestor before exited expose health id is-task isolation label name network publish since "
    "status volume"
).split()


class Networking(Protocol):
    """Tells what a container's networks are."""

    def settings(self, container: Container) -> dict[str, Any]:
        """Return Docker's NetworkSettings."""
        ...


class Listing:
    """Shows containers to clients."""

    def __init__(self, registry: Registry, images: ImageStore, networking: Networking) -> None:
        self._registry = registry
        self._images = images
        self._networking = networking

    def inspect(self, container: Container, *, size: bool = False) -> dict[str, Any]:
        """Return everything about a container."""
        record, snapshots = container.record, self._images.snapshots
        running = [one.id for one in container.execs.values() if one.running]
        shown = inspection(
            record,
            self._networking.settings(container),
            str(container.directory),
            running,
            snapshots.graph(record.diff_ids, record.id),
        )
        if size:
            shown["SizeRw"] = self._own_bytes(record)
            shown["SizeRootFs"] = shown["SizeRw"] + self._image_bytes(record)
        return shown

    def _own_bytes(self, record: ContainerRecord) -> int:
        return self._images.snapshots.usage(record.id, record.diff_ids).size_bytes

    def _image_bytes(self, record: ContainerRecord) -> int:
        return sum(map(self._images.snapshots.layer_size, chain_ids(record.diff_ids)))

    def summaries(
        self, filters: Filters, *, everything: bool, limit: int, size: bool
    ) -> list[dict[str, Any]]:
        """Return the containers that are meant, the newest first."""
        filters.check(_LIST_FILTERS)
        everything = everything or limit > 0 or filters.has("status") or filters.has("exited")
        now, found = time.time(), []
        for container in sorted(self._registry, key=lambda one: one.record.created, reverse=True):
            if not everything and not container.record.state.running:
                continue
            if self._meant(container, filters):
                shown = summary(container.record, now, self._networking.settings(container))
                if size:
                    own = self._own_bytes(container.record)
                    shown |= {"SizeRw": own} if own else {}
                    shown["SizeRootFs"] = own + self._image_bytes(container.record)
                found.append(shown)
        return found[:limit] if limit > 0 else found

    def _meant(self, container: Container, filters: Filters) -> bool:
        record, state = container.record, container.record.state
        health = (state.health or {}).get("Status", "none")
        if not (
            filters.prefix("id", record.id)
            and filters.matches("name", f"/{record.name}")
            and filters.labels(record.labels)
            and filters.exact("status", state.status)
            and filters.exact("health", health)
            and filters.matches("network", " ".join(self._network_names(container)))
        ):
            return False
        if filters.has("exited") and (
            state.status != "exited" or str(state.exit_code) not in filters.values("exited")
        ):
            return False
        for name, after in (("since", True), ("before", False)):
            for text in filters.values(name):
                other, own = (
                    instant(self._registry.find(text).record.created),
                    instant(record.created),
                )
                if (own <= other) if after else (own >= other):
                    return False
        places = {mount.get("Name") for mount in record.mounts} | {
            mount["Destination"] for mount in record.mounts
        }
        if filters.has("volume") and not places & set(filters.values("volume")):
            return False
        return not filters.has("ancestor") or self._descends(record, filters.values("ancestor"))

    def _network_names(self, container: Container) -> list[str]:
        networks = self._networking.settings(container).get("Networks") or {}
        return [*networks, *(one.get("NetworkID", "") for one in networks.values())]

    def _descends(self, record: ContainerRecord, names: Any) -> bool:
        for name in names:
            try:
                wanted = self._images.find(name).image.diff_ids
            except SampanError:
                continue
            if tuple(record.diff_ids[: len(wanted)]) == wanted:
                return True
        return False
