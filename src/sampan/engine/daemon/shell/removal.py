"""Containers that go: removed by a client, with their own end, or by pruning."""

from __future__ import annotations

import asyncio
import logging
import math
import shutil
import time
from collections.abc import Mapping
from typing import Protocol

from sampan.base.errors import ConflictError, SampanError
from sampan.base.moment import instant
from sampan.engine.daemon.core.filters import Filters
from sampan.engine.daemon.core.moment import parse_until
from sampan.engine.daemon.core.record import ContainerRecord
from sampan.engine.daemon.shell.container import Container
from sampan.engine.daemon.shell.lifecycle import Lifecycle
from sampan.engine.daemon.shell.registry import Registry
from sampan.engine.daemon.shell.sessions import Sessions
from sampan.engine.daemon.shell.volumes import Volumes
from sampan.images.shell.store import ImageStore

__all__ = ["Removal"]

_LOG = logging.getLogger(__name__)


class Networking(Protocol):
    """Takes a container's networks back."""

    async def detach(self, container: Container) -> None:
        """Take the container's network back."""
        ...

    def removed(self, container: Container) -> None:
        """Forget a container."""
        ...


class Host(Protocol):
    """What removing needs of the engine."""

    registry: Registry
    images: ImageStore
    volumes: Volumes
    sessions: Sessions
    lifecycle: Lifecycle

    @property
    def networking(self) -> Networking:
        """Networks."""
        ...

    def publish(
        self, container: Container, action: str, more: Mapping[str, str] | None = None
    ) -> None:
        """Tell listeners what happened to a container."""
        ...

    def volume_users(self, name: str) -> list[str]:
        """Return the containers that have a volume."""
        ...


class Removal:
    """Takes containers away, and nothing of them stays."""

    def __init__(self, engine: Host) -> None:
        self._engine = engine

    async def remove(
        self, container: Container, *, force: bool = False, volumes: bool = False
    ) -> None:
        """Remove a container; ConflictError while it runs, unless it is forced."""
        record = container.record
        if record.state.running or record.state.status == "restarting":
            if not force:
                paused = record.state.status == "paused"
                how = "unpause and then stop" if paused else "stop"
                raise ConflictError(
                    f'cannot remove container "/{record.name}": container is '
                    f"{record.state.status}: {how} the container before removing or force remove"
                )
            record.state.stopped_by_hand = True
            await self._kill_for_removal(container)
        async with container.lock:
            if record.state.status == "removing":
                raise ConflictError(f"removal of container {record.id} is already in progress")
            record.state.status = "removing"
            await self._remove(container, volumes)

    async def _kill_for_removal(self, container: Container) -> None:
        try:
            await self._engine.lifecycle.stop(container, "KILL", 10, removed=True)
        except SampanError as error:
            _LOG.warning("container %s: %s", container.id[:12], error)

    async def remove_ended(self, container: Container) -> None:
        """Remove a container that was to go with its end."""
        async with container.lock:
            if container.record.state.status not in ("removing", "dead"):
                container.record.state.status = "removing"
                await self._remove(container, True)

    async def _remove(self, container: Container, volumes: bool) -> None:
        record = container.record
        await self._engine.networking.detach(container)
        self._engine.networking.removed(container)
        snapshots = self._engine.images.snapshots

        def clean() -> None:
            # The record goes first: what is left without one is cleaned up at the next start.
            container.file.remove()
            snapshots.remove(record.id)
            shutil.rmtree(container.directory, ignore_errors=True)
            shutil.rmtree(container.run_directory, ignore_errors=True)

        await asyncio.to_thread(clean)
        self._engine.registry.drop(container)
        self._engine.sessions.forget(container)
        if volumes:
            self._remove_anonymous(record)
        self._engine.publish(container, "destroy")
        container.removed.set()
        for waiter in container.ended:
            if not waiter.done():
                waiter.set_result(record.state.exit_code)

    def _remove_anonymous(self, record: ContainerRecord) -> None:
        for mount in record.mounts:
            name = mount.get("Name", "")
            if mount["Type"] == "volume" and self._engine.volumes.is_anonymous(name):
                if not self._engine.volume_users(name):
                    self._engine.volumes.remove(name, (), force=True)

    def _prunable(self, container: Container, filters: Filters, until: float) -> bool:
        if container.record.cri:
            return False  # what a kubelet has made, it also takes away
        labels, created = container.record.labels, instant(container.record.created)
        if filters.has("label!") and filters.labels(labels, "label!"):
            return False
        return filters.labels(labels) and created < until

    async def prune(self, filters: Filters) -> tuple[list[str], int]:
        """Remove every container that does not run; returns which, and the bytes freed."""
        filters.check(("label", "label!", "until"))
        moments = [parse_until(text, time.time()) for text in filters.values("until")]
        until = min(moments, default=math.inf)
        gone, freed = [], 0
        for container in self._engine.registry:
            if container.record.state.status in ("created", "exited", "dead"):
                if self._prunable(container, filters, until):
                    diff_ids = container.record.diff_ids
                    usage = self._engine.images.snapshots.usage
                    own = await asyncio.to_thread(usage, container.id, diff_ids)
                    try:
                        await self.remove(container)
                    except SampanError:
                        continue  # somebody has started it, or removes it too
                    freed += own.size_bytes
                    gone.append(container.id)
        return gone, freed
