"""The engine: containers, images, volumes and networks of one machine, and what ties them."""

from __future__ import annotations

import asyncio
import json
import logging
import platform
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from sampan.base.errors import ConflictError, InvalidError, NotFoundError
from sampan.engine.daemon.core.admission import check_device_requests
from sampan.engine.daemon.core.config import (
    check_name,
)
from sampan.engine.daemon.core.links import parse_link
from sampan.engine.daemon.core.options import EngineOptions
from sampan.engine.daemon.core.record import ContainerRecord
from sampan.engine.daemon.core.translate import is_mapped
from sampan.engine.daemon.shell.archive import Archives
from sampan.engine.daemon.shell.container import Container
from sampan.engine.daemon.shell.creation import Creation
from sampan.engine.daemon.shell.devices import devices_of
from sampan.engine.daemon.shell.events import EventBus
from sampan.engine.daemon.shell.health import HealthChecks
from sampan.engine.daemon.shell.lifecycle import Lifecycle
from sampan.engine.daemon.shell.listing import Listing
from sampan.engine.daemon.shell.machine import look_at_machine, read_profile
from sampan.engine.daemon.shell.networking import ContainerNetworking
from sampan.engine.daemon.shell.registry import Registry
from sampan.engine.daemon.shell.remap import remapped_ids
from sampan.engine.daemon.shell.removal import Removal
from sampan.engine.daemon.shell.restoring import Restoring
from sampan.engine.daemon.shell.sessions import Sessions
from sampan.engine.daemon.shell.volumemounts import VolumeMounts
from sampan.engine.daemon.shell.volumes import Volumes
from sampan.engine.process.zygote import Zygote
from sampan.images.core.image import chain_ids
from sampan.images.registry.distribution import Distribution
from sampan.images.shell.store import ImageStore

__all__ = ["Engine", "EngineOptions"]

_LOG = logging.getLogger(__name__)
_LIST_FILTERS: Final = (
    "ancestor before exited expose health id is-task isolation label name network publish since "
    "status volume"
).split()


class Engine:
    """Everything that the APIs offer. Lives on one event loop."""

    def __init__(self, options: EngineOptions) -> None:
        self.id_maps = remapped_ids(options.userns_remap)
        if self.id_maps is not None:
            uid, gid = self.id_maps.root
            options = replace(options, data_root=options.data_root / f"{uid}.{gid}")
        self.options = options
        for folder in (options.data_root, options.exec_root):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.containers_root = options.data_root / "containers"
        self.containers_root.mkdir(mode=0o700, exist_ok=True)
        self.id = _identity(options.data_root / "engine-id")
        self.architecture = {"x86_64": "amd64", "aarch64": "arm64"}.get(
            platform.machine(), platform.machine()
        )
        self.machine = look_at_machine(remapped=self.id_maps is not None)
        self.seccomp_profile = read_profile(options.containers.seccomp_profile)
        self.registry = Registry()
        self.events = EventBus()
        self.images = ImageStore(
            options.data_root / "images",
            self._image_event,
            self._layers_of_containers,
            options.storage_driver,
        )
        self.distribution = Distribution(self.images, lambda: self.options.registry)
        self.volumes = Volumes(
            options.data_root / "volumes",
            lambda action, name, more: self.events.publish("volume", action, name, more),
        )
        self.volume_mounts = VolumeMounts(self.volumes, self.registry, self.events.publish)
        self.zygote = Zygote()
        self.sessions = Sessions(self.publish)
        self.health = HealthChecks(self.sessions.probe, self.publish)
        self.networking = ContainerNetworking(self)
        self.lifecycle = Lifecycle(self)
        self.archives = Archives(self)
        self.creation = Creation(self)
        self.removal = Removal(self)
        self.listing = Listing(self.registry, self.images, self.networking)

    @classmethod
    async def open(cls, options: EngineOptions) -> Engine:
        """Start the engine, and find again what an earlier one has left."""
        engine = cls(options)
        await engine.zygote.start()
        engine.zygote.raise_descriptor_limit()
        await engine.networking.open()
        await engine.images.repair()
        await Restoring(engine).restore()
        engine.volume_mounts.settle()
        return engine

    def reload(self, options: EngineOptions) -> None:
        """Go on with other options; whoever needs one reads it at the moment of use."""
        self.options = options
        attributes = {
            "debug": str(options.debug).lower(),
            "labels": json.dumps(list(options.labels)),
            "live-restore": str(options.live_restore).lower(),
            "shutdown-timeout": str(options.shutdown_timeout_s),
            "max-concurrent-downloads": str(options.registry.max_concurrent_downloads),
            "max-concurrent-uploads": str(options.registry.max_concurrent_uploads),
            "max-download-attempts": str(options.registry.max_download_attempts),
            "registry-mirrors": json.dumps(list(options.registry.mirrors)),
            "insecure-registries": json.dumps(list(options.registry.insecure)),
            "name": platform.node(),
        }
        self.events.publish("daemon", "reload", self.id, attributes)

    async def close(self) -> None:
        """Stop: containers too, unless they are to live on."""
        self.lifecycle.closing = True
        if not self.options.live_restore:
            # A kubelet's pods outlive the runtime's restarts.
            running = [
                one for one in self.registry if one.record.state.running and not one.record.cri
            ]
            await asyncio.gather(*(self._stop_for_shutdown(one) for one in running))
        for container in self.registry:
            self.health.end(container)
            for task in (container.restart, container.watcher):
                if task is not None:
                    task.cancel()
        await self.networking.close()
        await self.zygote.close()

    async def _stop_for_shutdown(self, container: Container) -> None:
        by_hand = container.record.state.stopped_by_hand
        given = container.record.config["StopTimeout"]
        timeout_s = min(10 if given is None else given, self.options.shutdown_timeout_s)
        await self.lifecycle.stop(container, "", timeout_s)
        container.record.state.stopped_by_hand = by_hand
        container.save()

    def container_of(self, record: ContainerRecord) -> Container:
        """Return a container with its directories."""
        return Container(
            record,
            self.containers_root / record.id,
            self.options.exec_root / "containers" / record.id,
        )

    def publish(
        self, container: Container, action: str, more: Mapping[str, str] | None = None
    ) -> None:
        """Tell listeners what happened to a container."""
        attributes = {**container.attributes(), **(more or {})}
        self.events.publish("container", action, container.id, attributes)

    def _image_event(self, action: str, actor: str, attributes: Mapping[str, str]) -> None:
        self.events.publish("image", action, actor, attributes)

    def _layers_of_containers(self) -> set[str]:
        lists = {tuple(one.record.diff_ids) for one in self.registry}
        for one in self.registry:
            lists.update(map(tuple, one.record.cri.get("volume_layers") or ()))
        return {chain for diff_ids in lists for chain in chain_ids(diff_ids)}

    def find(self, text: str) -> Container:
        """Return a container by name, id or prefix; NotFoundError as Docker's."""
        return self.registry.find(text)

    def shared_namespaces(self, record: ContainerRecord) -> Mapping[str, str]:
        """Return namespaces of other containers that this one joins: type to path."""
        shared = {}
        modes = {"pid": "PidMode", "ipc": "IpcMode", "uts": "UTSMode", "user": "UsernsMode"}
        for kind, key in modes.items():
            mode, _, other = record.host_config[key].partition(":")
            if mode == "container":
                found = self.find(other)
                if not found.record.state.running:
                    raise ConflictError(
                        f"cannot join {kind} namespace of a non running container: {other}"
                    )
                if kind == "ipc" and found.record.host_config["IpcMode"] != "shareable":
                    raise InvalidError(
                        f"can't join IPC of container {other}: non-shareable IPC "
                        "(hint: use IpcMode:shareable for the donor container)"
                    )
                shared[kind] = f"/proc/{found.record.state.pid}/ns/{kind}"
        if "user" not in shared and is_mapped(record.host_config, self.id_maps):
            shared |= self._owner_of_shared(record, shared)
        return shared

    def _owner_of_shared(
        self, record: ContainerRecord, shared: Mapping[str, str]
    ) -> Mapping[str, str]:
        """Return the user namespace that shared ones belong to: only in it may they be used."""
        path = shared.get("pid") or shared.get("ipc")
        kind, _, other = record.host_config["NetworkMode"].partition(":")
        if path is None and kind == "container":
            path = f"/proc/{self.find(other).record.state.pid}/ns/net"
        return {"user": path.rpartition("/")[0] + "/user"} if path is not None else {}

    def devices_of(self, record: ContainerRecord) -> Sequence[Mapping[str, Any]]:
        """Return the host's devices that a container gets."""
        check_device_requests(record.host_config)
        return devices_of(record.host_config)

    async def remove_ended(self, container: Container) -> None:
        """Remove a container that was to go with its end."""
        await self.removal.remove_ended(container)

    def volume_users(self, name: str) -> list[str]:
        """Return the containers that have a volume."""
        return [
            container.id
            for container in self.registry
            if any(mount.get("Name") == name for mount in container.record.mounts)
        ]

    def image_users(self, image_id: str) -> list[str]:
        """Return short ids of an image's containers, those that run marked and first."""
        found = [one for one in self.registry if one.record.image_id == image_id]
        running = [f"!{one.id[:12]}" for one in found if one.record.state.running]
        return running + [one.id[:12] for one in found if not one.record.state.running]

    def unlink(self, text: str) -> None:
        """Take an old-style link away: `container/alias`; NotFoundError without it."""
        name, _, alias = text.strip("/").rpartition("/")
        container = self.find(name or alias)
        record = container.record
        if not name or record.links.pop(alias, None) is None:
            raise NotFoundError(f"Cannot get parent {name} for name /{text.strip('/')}")
        kept = [one for one in record.host_config["Links"] or () if parse_link(one)[1] != alias]
        record.host_config["Links"] = kept or None
        container.save()

    def rename(self, container: Container, name: str) -> None:
        """Give a container another name."""
        if not name:
            raise InvalidError("Neither old nor new names may be empty")
        try:
            bare, old = check_name(f"/{name.removeprefix('/')}"), container.record.name
        except InvalidError as error:
            raise InvalidError(f"Error when allocating new name: {error}") from None
        if bare == old:
            raise InvalidError("Renaming a container with the same name as its current name")
        self.registry.reserve(bare, container.id)
        self.registry.release(old)
        container.record.name = bare
        try:
            container.save()
        except OSError:
            container.record.name = old
            self.registry.release(bare)
            self.registry.reserve(old, container.id)
            raise
        self.networking.renamed(container)
        self.publish(container, "rename", {"oldName": f"/{old}"})


def _identity(path: Path) -> str:
    """Return the engine's id, made once and kept with its data."""
    try:
        return str(uuid.UUID(path.read_text().strip()))
    except (FileNotFoundError, ValueError):
        made = str(uuid.uuid4())
        path.write_text(made)
        return made
