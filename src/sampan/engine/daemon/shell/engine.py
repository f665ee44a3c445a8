"""The engine: containers, images, volumes and networks of one machine, and what ties them."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import platform
import secrets
import shutil
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from sampan.base.errors import ConflictError, InvalidError, NotFoundError, SampanError
from sampan.base.moment import instant
from sampan.engine.daemon.core.config import (
    check_name,
    fill_config,
    fill_host_config,
    merge_image,
)
from sampan.engine.daemon.core.constraints import (
    check_modes,
    with_defaults,
    without_what_is_missing,
)
from sampan.engine.daemon.core.filters import Filters
from sampan.engine.daemon.core.moment import parse_until
from sampan.engine.daemon.core.names import random_name
from sampan.engine.daemon.core.options import EngineOptions
from sampan.engine.daemon.core.record import ContainerRecord
from sampan.engine.daemon.core.views import inspection, summary
from sampan.engine.daemon.shell.archive import Archives
from sampan.engine.daemon.shell.container import Container
from sampan.engine.daemon.shell.devices import devices_of
from sampan.engine.daemon.shell.events import EventBus
from sampan.engine.daemon.shell.health import HealthChecks
from sampan.engine.daemon.shell.lifecycle import Lifecycle, cgroup_path, now_text
from sampan.engine.daemon.shell.machine import look_at_machine, read_profile
from sampan.engine.daemon.shell.mounts import collect_mounts, populate
from sampan.engine.daemon.shell.networking import ContainerNetworking
from sampan.engine.daemon.shell.registry import Registry
from sampan.engine.daemon.shell.resources import Resources
from sampan.engine.daemon.shell.sessions import Sessions
from sampan.engine.daemon.shell.volumes import Volumes
from sampan.engine.process.shim import ExitRecord, reattach
from sampan.engine.process.zygote import Zygote
from sampan.engine.runtime.shell.cgroups import Cgroups
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
        self.options = options
        for folder in (options.data_root, options.exec_root):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._containers = options.data_root / "containers"
        self._containers.mkdir(mode=0o700, exist_ok=True)
        self.id = _identity(options.data_root / "engine-id")
        self.architecture = {"x86_64": "amd64", "aarch64": "arm64"}.get(
            platform.machine(), platform.machine()
        )
        self.machine = look_at_machine()
        self.seccomp_profile = read_profile(options.containers.seccomp_profile)
        self.registry = Registry()
        self.events = EventBus()
        self.images = ImageStore(
            options.data_root / "images", self._image_event, self._layers_of_containers
        )
        self.distribution = Distribution(self.images, lambda: self.options.registry)
        self.volumes = Volumes(
            options.data_root / "volumes",
            lambda action, name, more: self.events.publish("volume", action, name, more),
        )
        self.zygote = Zygote()
        self.sessions = Sessions(self.publish)
        self.health = HealthChecks(self.sessions.probe, self.publish)
        self.networking = ContainerNetworking(self)
        self.lifecycle = Lifecycle(self)
        self.resources = Resources()
        self.archives = Archives(self)

    @classmethod
    async def open(cls, options: EngineOptions) -> Engine:
        """Start the engine, and find again what an earlier one has left."""
        engine = cls(options)
        await engine.zygote.start()
        await engine.networking.open()
        await engine._restore()
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

    async def _restore(self) -> None:
        """Read the records, attach to shims that live, record the ends of those that do not."""
        for path in sorted(self._containers.iterdir()):
            document = path / "container.json"
            if not document.exists():
                shutil.rmtree(path)  # was being made, or being removed, when the engine died
                continue
            record = ContainerRecord.of_document(json.loads(document.read_text()))
            container = self._container(record)
            self.registry.reserve(record.name, record.id)
            self.registry.add(container)
        for container in self.registry:
            await self._restore_one(container)
        known = {container.id for container in self.registry}
        for key in self.images.snapshots.keys():
            if key not in known:
                await asyncio.to_thread(self.images.snapshots.remove, key)
        await self._remove_strays(known)

    async def _restore_one(self, container: Container) -> None:
        state = container.record.state
        was_running = state.running or state.status == "restarting"
        found = await reattach(container.run_directory)
        if isinstance(found, ExitRecord) or found is None:
            if state.running:
                if found is None:
                    await asyncio.to_thread(self._end_leftovers, container)
                async with container.lock:
                    await self.lifecycle.ended(container, found or ExitRecord(137, False, ""))
            elif was_running:
                state.status = "exited"
        else:
            state.status = "paused" if state.paused else "running"
            await self.networking.restored(container)
            self.lifecycle.resume(container, found)
            return
        policy = container.record.host_config["RestartPolicy"]["Name"]
        wanted = policy == "always" or (policy == "unless-stopped" and not state.stopped_by_hand)
        if wanted and container.restart is None and state.status != "created":
            try:
                await self.lifecycle.start(container)
            except SampanError as error:
                _LOG.warning("container %s could not be restarted: %s", container.id[:12], error)

    def _end_leftovers(self, container: Container) -> None:
        """End processes whose shim has died, and take their cgroups away; blocks."""
        cgroups = Cgroups(cgroup_path(container))
        for _ in range(100):
            cgroups.kill()
            if not cgroups.pids():
                break
            time.sleep(0.01)  # noqa: TID251  (a thread that waits for killed processes to go)
        cgroups.remove()

    async def _remove_strays(self, known: set[str]) -> None:
        """End shims of containers that are no more: the engine died while it removed them."""
        place = self.options.exec_root / "containers"
        for path in list(place.iterdir()) if place.exists() else ():
            if path.name in known:
                continue
            found = await reattach(path)
            if found is not None and not isinstance(found, ExitRecord):
                await found.kill(9)
                await found.exited
                await found.dismiss()
            shutil.rmtree(path, ignore_errors=True)

    def _container(self, record: ContainerRecord) -> Container:
        return Container(
            record,
            self._containers / record.id,
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
        return {chain for diff_ids in lists for chain in chain_ids(diff_ids)}

    def find(self, text: str) -> Container:
        """Return a container by name, id or prefix; NotFoundError as Docker's."""
        return self.registry.find(text)

    async def create(self, name: str, body: Mapping[str, Any]) -> tuple[str, list[str]]:
        """Create a container; returns its id and warnings. Nothing stays when it fails."""
        id_ = secrets.token_hex(32)
        config = fill_config(body)
        given = with_defaults(body.get("HostConfig"), self.options.containers, self.machine)
        host = fill_host_config(given, os.cpu_count() or 1)
        check_modes(config, host, self.machine)
        host, warnings = without_what_is_missing(host, self.machine)
        entry = self._image(config["Image"])
        merged, line = merge_image(config, entry.image.config)
        name = check_name(name) if name else random_name(self.registry.taken, id_)
        record = ContainerRecord(
            id=id_,
            name=name,
            created=now_text(),
            image_id=entry.image.id,
            image_name=config["Image"],
            diff_ids=list(entry.image.diff_ids),
            config=merged,
            host_config=host,
            path=line[0],
            args=list(line[1:]),
        )

        def settle() -> None:
            self._check_relations(record)
            self.networking.prepare(record, body.get("NetworkingConfig") or {})
            record.mounts = collect_mounts(merged, host, self._inherited(host), self.volumes)

        await self.place(record, settle)
        return id_, warnings

    async def place(self, record: ContainerRecord, settle: Callable[[], None]) -> Container:
        """Make room for a new container under its name; `settle` completes the record meanwhile.

        Nothing stays when it fails.
        """
        id_ = record.id
        self.registry.reserve(record.name, id_)
        try:
            settle()
            container = self._container(record)
            container.directory.mkdir(mode=0o700)
            self.images.snapshots.prepare(id_)
            layers = [self.images.snapshots.layer_path(one) for one in chain_ids(record.diff_ids)]
            if any(mount["Type"] == "volume" for mount in record.mounts):
                await asyncio.to_thread(populate, record.mounts, layers[::-1])
            container.save()
        except BaseException:
            self.registry.release(record.name)
            self.images.snapshots.remove(id_)
            shutil.rmtree(self._containers / id_, ignore_errors=True)
            raise
        self.registry.add(container)
        self.publish(container, "create")
        return container

    def _image(self, name: str) -> Any:
        if not name:
            raise InvalidError("No image specified")
        try:
            return self.images.find(name)
        except NotFoundError:
            shown = name if ":" in name.rpartition("/")[2] or "@" in name else f"{name}:latest"
            raise NotFoundError(f"No such image: {shown}") from None

    def _check_relations(self, record: ContainerRecord) -> None:
        """Fill in what depends on this machine and on other containers."""
        mode = record.host_config["NetworkMode"]
        if mode.startswith("container:"):
            if record.config["Hostname"]:
                raise InvalidError("conflicting options: hostname and the network mode")
            other = self.find(mode.partition(":")[2])
            record.host_config["NetworkMode"] = f"container:{other.id}"
            record.config["Hostname"] = other.record.config["Hostname"]
        elif not record.config["Hostname"]:
            own = platform.node() if mode == "host" else record.id[:12]
            record.config["Hostname"] = own
        for key in ("PidMode", "IpcMode"):
            kind, _, other_name = record.host_config[key].partition(":")
            if kind == "container":
                record.host_config[key] = f"container:{self.find(other_name).id}"
        self.devices_of(record)

    def _inherited(self, host: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        mounts: list[Mapping[str, Any]] = []
        for text in host["VolumesFrom"] or ():
            name, _, mode = text.partition(":")
            theirs = self.find(name).record.mounts
            mounts += [{**mount, "RW": mount["RW"] and mode != "ro"} for mount in theirs]
        return mounts

    def shared_namespaces(self, record: ContainerRecord) -> Mapping[str, str]:
        """Return namespaces of other containers that this one joins: type to path."""
        shared = {}
        for kind, key in (("pid", "PidMode"), ("ipc", "IpcMode"), ("uts", "UTSMode")):
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
        return shared

    def devices_of(self, record: ContainerRecord) -> Sequence[Mapping[str, Any]]:
        """Return the host's devices that a container gets."""
        return devices_of(record.host_config)

    def inspect(self, container: Container, *, size: bool = False) -> dict[str, Any]:
        """Return everything about a container."""
        record, snapshots = container.record, self.images.snapshots
        upper = snapshots.upper(record.id)
        data = {"UpperDir": str(upper), "WorkDir": str(upper.with_name("work"))}
        running = [one.id for one in container.execs.values() if one.running]
        shown = inspection(
            record,
            self.networking.settings(container),
            str(container.directory),
            running,
            {"Name": "overlay2", "Data": data},
        )
        if size:
            shown["SizeRw"] = snapshots.usage(record.id).size_bytes
            shown["SizeRootFs"] = shown["SizeRw"] + self._image_bytes(record)
        return shown

    def _image_bytes(self, record: ContainerRecord) -> int:
        return sum(map(self.images.snapshots.layer_size, chain_ids(record.diff_ids)))

    def summaries(
        self, filters: Filters, *, everything: bool, limit: int, size: bool
    ) -> list[dict[str, Any]]:
        """Return the containers that are meant, the newest first."""
        filters.check(_LIST_FILTERS)
        everything = everything or limit > 0 or filters.has("status") or filters.has("exited")
        now, found = time.time(), []
        for container in sorted(self.registry, key=lambda one: one.record.created, reverse=True):
            if not everything and not container.record.state.running:
                continue
            if self._meant(container, filters):
                shown = summary(container.record, now, self.networking.settings(container))
                if size:
                    shown["SizeRw"] = self.images.snapshots.usage(container.id).size_bytes
                    shown["SizeRootFs"] = shown["SizeRw"] + self._image_bytes(container.record)
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
                other, own = instant(self.find(text).record.created), instant(record.created)
                if (own <= other) if after else (own >= other):
                    return False
        places = {mount.get("Name") for mount in record.mounts} | {
            mount["Destination"] for mount in record.mounts
        }
        if filters.has("volume") and not places & set(filters.values("volume")):
            return False
        return not filters.has("ancestor") or self._descends(record, filters.values("ancestor"))

    def _network_names(self, container: Container) -> list[str]:
        networks = self.networking.settings(container).get("Networks") or {}
        return [*networks, *(one.get("NetworkID", "") for one in networks.values())]

    def _descends(self, record: ContainerRecord, names: Any) -> bool:
        for name in names:
            try:
                wanted = self.images.find(name).image.diff_ids
            except SampanError:
                continue
            if tuple(record.diff_ids[: len(wanted)]) == wanted:
                return True
        return False

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
            await self.lifecycle.stop(container, "KILL", 10)
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
        await self.networking.detach(container)
        self.networking.removed(container)
        # The record goes first: what is left without one is cleaned up at the next start.
        (container.directory / "container.json").unlink(missing_ok=True)
        snapshots = self.images.snapshots

        def clean() -> None:
            snapshots.remove(record.id)
            shutil.rmtree(container.directory, ignore_errors=True)
            shutil.rmtree(container.run_directory, ignore_errors=True)

        await asyncio.to_thread(clean)
        self.registry.drop(container)
        self.sessions.forget(container)
        if volumes:
            self._remove_anonymous(record)
        self.publish(container, "destroy")
        container.removed.set()
        for waiter in container.ended:
            if not waiter.done():
                waiter.set_result(record.state.exit_code)

    def _remove_anonymous(self, record: ContainerRecord) -> None:
        for mount in record.mounts:
            name = mount.get("Name", "")
            if mount["Type"] == "volume" and self.volumes.is_anonymous(name):
                if not self.volume_users(name):
                    self.volumes.remove(name, (), force=True)

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

    def rename(self, container: Container, name: str) -> None:
        """Give a container another name."""
        if not name:
            raise InvalidError("Neither old nor new names may be empty")
        bare, old = check_name(name), container.record.name
        if bare == old:
            raise InvalidError("Renaming a container with the same name as its current name")
        self.registry.reserve(bare, container.id)
        self.registry.release(old)
        container.record.name = bare
        container.save()
        self.publish(container, "rename", {"oldName": f"/{old}"})

    def _prunable(self, container: Container, filters: Filters) -> bool:
        labels, created = container.record.labels, instant(container.record.created)
        if filters.has("label!") and filters.labels(labels, "label!"):
            return False
        moments = [parse_until(text, time.time()) for text in filters.values("until")]
        return filters.labels(labels) and all(created < moment for moment in moments)

    async def prune(self, filters: Filters) -> tuple[list[str], int]:
        """Remove every container that does not run; returns which, and the bytes freed."""
        filters.check(("label", "label!", "until"))
        gone, freed = [], 0
        for container in self.registry:
            if container.record.state.status in ("created", "exited", "dead"):
                if self._prunable(container, filters):
                    freed += self.images.snapshots.usage(container.id).size_bytes
                    await self.remove(container)
                    gone.append(container.id)
        return gone, freed


def _identity(path: Path) -> str:
    """Return the engine's id, made once and kept with its data."""
    try:
        return str(uuid.UUID(path.read_text().strip()))
    except (FileNotFoundError, ValueError):
        made = str(uuid.uuid4())
        path.write_text(made)
        return made
