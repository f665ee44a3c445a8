"""Lists of containers and what is told about one."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Sequence
from typing import Any, Protocol

from sampan.base.errors import NotFoundError, SampanError
from sampan.base.moment import instant
from sampan.engine.daemon.core.filters import Filters
from sampan.engine.daemon.core.list_filters import check_list_filters, port_meant
from sampan.engine.daemon.core.record import ContainerRecord
from sampan.engine.daemon.core.views import inspection, summary
from sampan.engine.daemon.shell.container import Container
from sampan.engine.daemon.shell.registry import Registry
from sampan.images.core.image import chain_ids
from sampan.images.shell.store import ImageStore

__all__ = ["Listing"]


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

    async def inspect(self, container: Container, *, size: bool = False) -> dict[str, Any]:
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
            (own,) = await asyncio.to_thread(self._own_bytes, [record])
            shown |= {"SizeRw": own, "SizeRootFs": own + self._image_bytes(record)}
        return shown

    def _own_bytes(self, records: Sequence[ContainerRecord]) -> list[int]:
        """Return what each container's own files take; blocks."""
        found = []
        for record in records:
            try:
                usage = self._images.snapshots.usage(record.id, record.diff_ids)
            except (OSError, SampanError):  # it is being removed
                found.append(0)
            else:
                found.append(usage.size_bytes)
        return found

    def _image_bytes(self, record: ContainerRecord) -> int:
        return sum(map(self._images.snapshots.layer_size, chain_ids(record.diff_ids)))

    async def summaries(
        self, filters: Filters, *, everything: bool, limit: int, size: bool
    ) -> list[dict[str, Any]]:
        """Return the containers that are meant, the newest first."""
        found = self._chosen(filters, everything=everything, limit=limit)
        if size:
            records = [record for record, _ in found]
            sizes = await asyncio.to_thread(self._own_bytes, records)
            for (record, shown), own in zip(found, sizes, strict=True):
                shown |= {"SizeRw": own} if own else {}
                shown["SizeRootFs"] = own + self._image_bytes(record)
        return [shown for _, shown in found]

    def _chosen(
        self, filters: Filters, *, everything: bool, limit: int
    ) -> list[tuple[ContainerRecord, dict[str, Any]]]:
        check_list_filters(filters)
        if filters.flag("is-task"):
            return []
        between = self._moments(filters)
        everything = everything or limit > 0 or filters.has("status") or filters.has("exited")
        now = time.time()
        found: list[tuple[ContainerRecord, dict[str, Any]]] = []
        for container in sorted(self._registry, key=lambda one: one.record.created, reverse=True):
            state = container.record.state
            if not (everything or state.running or state.status == "restarting"):
                continue
            made = instant(container.record.created)
            if between[0] < made < between[1] and self._meant(container, filters):
                shown = summary(container.record, now, self._networking.settings(container))
                if not port_meant(filters, shown["Ports"], container.record.config["ExposedPorts"]):
                    continue
                found.append((container.record, shown))
        return found[:limit] if limit > 0 else found

    def _moments(self, filters: Filters) -> tuple[float, float]:
        """Return the moments between which `since` and `before` say a container was made."""
        since = [self._made(text) for text in filters.values("since")]
        before = [self._made(text) for text in filters.values("before")]
        return max(since, default=-math.inf), min(before, default=math.inf)

    def _made(self, text: str) -> float:
        try:
            return instant(self._registry.find(text).record.created)
        except NotFoundError:
            raise NotFoundError(f"no such container {text}") from None

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
