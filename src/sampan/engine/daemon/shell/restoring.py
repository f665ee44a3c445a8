"""What an earlier engine has left: containers that live on, ends nobody noticed, leftovers."""

from __future__ import annotations

import asyncio
import json
import logging
import shutil
from pathlib import Path
from typing import Protocol

from sampan.base.errors import SampanError
from sampan.engine.daemon.core.options import EngineOptions
from sampan.engine.daemon.core.record import ContainerRecord
from sampan.engine.daemon.shell.container import Container
from sampan.engine.daemon.shell.lifecycle import Lifecycle, cgroup_path
from sampan.engine.daemon.shell.registry import Registry
from sampan.engine.process.shim import ExitRecord, reattach
from sampan.engine.runtime.shell.cgroups import Cgroups
from sampan.engine.shim.shim import LAUNCH_FILE
from sampan.images.shell.store import ImageStore

__all__ = ["Restoring"]

_LOG = logging.getLogger(__name__)


class Networking(Protocol):
    """Finds a running container's network again."""

    async def restored(self, container: Container) -> None:
        """Find a running container's network again."""
        ...

    async def settle(self) -> None:
        """Take down what belongs to no running container; called when all are known."""
        ...


class Host(Protocol):
    """What finding again needs of the engine."""

    options: EngineOptions
    registry: Registry
    images: ImageStore
    lifecycle: Lifecycle
    containers_root: Path

    @property
    def networking(self) -> Networking:
        """Networks."""
        ...

    def container_of(self, record: ContainerRecord) -> Container:
        """Return a container with its directories."""
        ...


class Restoring:
    """Brings the registry in line with what runs."""

    def __init__(self, engine: Host) -> None:
        self._engine = engine

    async def restore(self) -> None:
        """Read the records, attach to shims that live, record the ends of those that do not."""
        for path in sorted(self._engine.containers_root.iterdir()):
            document = path / "container.json"
            if not document.exists():
                shutil.rmtree(path)  # was being made, or being removed, when the engine died
                continue
            record = ContainerRecord.of_document(json.loads(document.read_text()))
            container = self._engine.container_of(record)
            self._engine.registry.reserve(record.name, record.id)
            self._engine.registry.add(container)
        for container in self._engine.registry:
            await self._restore_one(container)
        known = {container.id for container in self._engine.registry}
        for key in self._engine.images.snapshots.keys():
            if key not in known:
                await asyncio.to_thread(self._engine.images.snapshots.remove, key)
        await self._remove_strays(known)
        await self._engine.networking.settle()

    async def _restore_one(self, container: Container) -> None:
        state = container.record.state
        was_running = state.running or state.status == "restarting"
        found = await reattach(container.run_directory)
        if isinstance(found, ExitRecord) or found is None:
            ended = found is not None and found.finished_at != state.finished_at
            if state.running or ended:
                if found is None:
                    await asyncio.to_thread(Cgroups(cgroup_path(container)).end)
                async with container.lock:
                    await self._engine.lifecycle.ended(
                        container, found or ExitRecord(137, False, "")
                    )
            elif was_running:
                state.status = "exited"
        else:
            state.status = "paused" if state.paused else "running"
            await self._engine.networking.restored(container)
            self._engine.lifecycle.resume(container, found)
            return
        policy = container.record.host_config["RestartPolicy"]["Name"]
        wanted = policy == "always" or (policy == "unless-stopped" and not state.stopped_by_hand)
        if wanted and container.restart is None and state.status != "created":
            try:
                await self._engine.lifecycle.start(container)
            except SampanError as error:
                _LOG.warning("container %s could not be restarted: %s", container.id[:12], error)

    async def _remove_strays(self, known: set[str]) -> None:
        """End shims of containers that are no more: the engine died while it removed them."""
        place = self._engine.options.exec_root / "containers"
        for path in list(place.iterdir()) if place.exists() else ():
            if path.name in known:
                continue
            found = await reattach(path)
            if found is not None and not isinstance(found, ExitRecord):
                await found.kill(9)
                await found.exited
                await found.dismiss()
            else:
                await asyncio.to_thread(_end_group_of, path)
            shutil.rmtree(path, ignore_errors=True)


def _end_group_of(place: Path) -> None:
    """End what a shim has left that died before its container; blocks."""
    try:
        request = json.loads((place / LAUNCH_FILE).read_bytes())
        Cgroups(request["spec"]["linux"]["cgroupsPath"]).end()
    except (OSError, ValueError, KeyError) as error:
        _LOG.warning("container %s: %s", place.name[:12], error)
