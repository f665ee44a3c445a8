"""Containers of pods upon the engine: made, started, stopped, removed, updated."""

from __future__ import annotations

import asyncio
import json
import os
import platform
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from sampan.base.errors import ConflictError, InvalidError, NotFoundError
from sampan.engine.cri.core.container import (
    check_container,
    container_record,
    profile_of,
)
from sampan.engine.cri.core.mounts import image_volume, mount_records
from sampan.engine.cri.core.resources import merged_resources, oci_resources
from sampan.engine.cri.core.sandbox import encoded
from sampan.engine.cri.core.security import Machine, inside_id
from sampan.engine.cri.core.status import container_item, container_state, container_status
from sampan.engine.cri.pb.container_calls_pb2 import ContainerStatusResponse
from sampan.engine.cri.pb.container_pb2 import (
    Container as ContainerItem,
)
from sampan.engine.cri.pb.container_pb2 import (
    ContainerConfig,
    ContainerFilter,
    ContainerState,
    ContainerStatus,
    MountPropagation,
)
from sampan.engine.cri.pb.resources_pb2 import LinuxContainerResources
from sampan.engine.cri.pb.security_pb2 import NamespaceMode
from sampan.engine.cri.shell.catalogue import Catalogue
from sampan.engine.cri.shell.images import PodImages
from sampan.engine.cri.shell.machine import check_propagation, kernel_version
from sampan.engine.cri.shell.pods import Pods, labels_match
from sampan.engine.daemon.core.record import ContainerRecord
from sampan.engine.daemon.shell.container import Container
from sampan.engine.daemon.shell.engine import Engine
from sampan.engine.daemon.shell.lifecycle import StartError, cgroup_path, now_text
from sampan.engine.daemon.shell.mounts import collect_mounts
from sampan.engine.runtime.core.seccomp_profile import parse_profile, resolve
from sampan.engine.runtime.shell.cgroups import Cgroups
from sampan.wire.grpc.status import Code, RpcError

__all__ = ["PodContainers"]

_PROFILE_BYTES: Final = 1 << 20


class PodContainers:
    """The containers of all pods of one engine."""

    def __init__(
        self,
        engine: Engine,
        catalogue: Catalogue,
        pods: Pods,
        images: PodImages,
        machine: Machine,
    ) -> None:
        self._engine = engine
        self._catalogue = catalogue
        self._pods = pods
        self._images = images
        self._machine = machine

    async def create(self, sandbox_id: str, config: ContainerConfig) -> str:
        """Make a container in a sandbox; returns its id. Nothing stays when it fails."""
        sandbox = self._ready_sandbox(sandbox_id)
        pod = self._catalogue.pod(sandbox)
        check_container(config, pod, self._machine)
        self._check_target(config, sandbox)
        origin = self._images.origin(config.image)
        id_ = secrets.token_hex(32)
        record = container_record(id_, now_text(), config, pod, sandbox.id, origin, self._machine)
        record.config["Hostname"] = sandbox.record.config["Hostname"] or platform.node()
        await asyncio.to_thread(self._look_at_files, record, config)

        def settle() -> None:
            self._ready_sandbox(sandbox.id)
            mapped = record.cri["id_maps"] is not None
            binds = mount_records(config, self._pods.files(sandbox), mapped=mapped)
            taken = {one["Destination"] for one in binds}
            taken |= {one.container_path for one in config.mounts}
            volumes = [one for one in record.config["Volumes"] or {} if one not in taken]
            own = collect_mounts({"Volumes": volumes}, record.host_config, [], self._engine.volumes)
            record.mounts = [*own, *binds, *self._image_volumes(record, config)]
            self._engine.devices_of(record)

        try:
            await self._engine.creation.place(record, settle)
        except ConflictError as error:
            raise RpcError(Code.ALREADY_EXISTS, str(error)) from None
        return id_

    def _ready_sandbox(self, sandbox_id: str) -> Container:
        sandbox = self._catalogue.sandbox(sandbox_id)
        if not sandbox.record.state.running:
            raise RpcError(
                Code.FAILED_PRECONDITION, f'sandbox container "{sandbox.id}" is not running'
            )
        return sandbox

    def _check_target(self, config: ContainerConfig, sandbox: Container) -> None:
        options = config.linux.security_context.namespace_options
        if options.pid != NamespaceMode.TARGET:
            return
        target = self._catalogue.container(options.target_id)
        if target.record.cri["sandbox"] != sandbox.id:
            raise InvalidError(
                f'container "{target.id}" is not in sandbox "{sandbox.id}": it cannot be the target'
            )

    def _image_volumes(
        self, record: ContainerRecord, config: ContainerConfig
    ) -> list[dict[str, Any]]:
        """Return the mounts of images; the record keeps their layers from being removed."""
        mounts, kept = [], []
        for mount in config.mounts:
            if mount.image.image:
                diff_ids = self._images.find(mount.image).diff_ids
                layers = [str(one) for one in self._engine.images.snapshots.files(diff_ids)]
                mapped = record.cri["id_maps"] is not None
                mounts.append(
                    image_volume(mount.container_path, layers, mount.image_sub_path, mapped=mapped)
                )
                kept.append(list(diff_ids))
        record.cri["volume_layers"] = kept
        return mounts

    def _look_at_files(self, record: ContainerRecord, config: ContainerConfig) -> None:
        """Read and make what the record needs of the node's files; blocks."""
        for mount in config.mounts:
            if mount.image.image:
                continue
            if not os.path.lexists(mount.host_path):
                Path(mount.host_path).mkdir(mode=0o755, parents=True)
            if mount.propagation != MountPropagation.PROPAGATION_PRIVATE:
                both = mount.propagation == MountPropagation.PROPAGATION_BIDIRECTIONAL
                check_propagation(mount.host_path, both_ways=both)
        record.host_config["Devices"] = [
            one for device in record.host_config["Devices"] for one in _devices_below(device)
        ]
        path = record.host_config["LogConfig"]["Config"].get("path")
        if path:
            Path(path).parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        profile = profile_of(config.linux.security_context)
        if profile.kind == "localhost":
            names = record.cri["spec"]["process"]["capabilities"]["bounding"]
            record.cri["spec"]["linux"]["seccomp"] = resolve(
                parse_profile(_profile_text(profile.path)),
                names,
                self._engine.architecture,
                kernel_version(),
            )

    async def start(self, wanted: str) -> None:
        """Start a container that has been made; what fails is kept as its end."""
        container = self._catalogue.container(wanted)
        record = container.record
        state = container_state(record)
        if state != ContainerState.CONTAINER_CREATED:
            name = ContainerState.Name(state)
            raise RpcError(Code.FAILED_PRECONDITION, f'container "{record.id}" is in {name} state')
        self._ready_sandbox(record.cri["sandbox"])
        try:
            await self._engine.lifecycle.start(container)
        except StartError:
            record.state.status, record.state.finished_at = "exited", now_text()
            record.state.started_at = record.state.finished_at
            container.save()
            raise
        record.cri["user"] = await asyncio.to_thread(
            _user_of, record.state.pid, record.cri["id_maps"]
        )
        container.save()

    async def stop(self, wanted: str, timeout_s: int) -> None:
        """Stop a container within seconds; no harm when it has ended, or is not there."""
        if timeout_s < 0:
            raise InvalidError("timeout must not be negative")
        try:
            container = self._catalogue.container(wanted)
        except NotFoundError:
            return
        await self._engine.lifecycle.stop(container, "" if timeout_s else "KILL", timeout_s)

    async def remove(self, wanted: str) -> None:
        """Remove a container, running or not; no harm when it is not there."""
        try:
            container = self._catalogue.container(wanted)
        except NotFoundError:
            return
        await self._pods.drop(container)

    def items(self, chosen: ContainerFilter) -> list[ContainerItem]:
        """Return the containers that a filter lets through, the newest first."""
        found = []
        all_of_them = sorted(
            self._catalogue.containers(), key=lambda one: one.record.created, reverse=True
        )
        for container in all_of_them:
            record, config = container.record, self._catalogue.config(container)
            if not record.id.startswith(chosen.id):
                continue
            if not record.cri["sandbox"].startswith(chosen.pod_sandbox_id):
                continue
            if chosen.HasField("state") and chosen.state.state != container_state(record):
                continue
            if labels_match(chosen.label_selector, config.labels):
                found.append(container_item(record, config))
        return found

    def status(self, container: Container) -> ContainerStatus:
        """Return a container's status."""
        return container_status(container.record, self._catalogue.config(container))

    def statuses(self, sandbox_id: str) -> list[ContainerStatus]:
        """Return the status of all containers of a pod."""
        return [self.status(one) for one in self._catalogue.containers(sandbox_id)]

    def answer(self, wanted: str, *, verbose: bool) -> ContainerStatusResponse:
        """Return a container's status as it is asked for; NotFoundError without it."""
        container = self._catalogue.container(wanted)
        response = ContainerStatusResponse(status=self.status(container))
        if verbose:
            record = container.record
            shown = {
                "sandboxID": record.cri["sandbox"],
                "pid": record.state.pid,
                "privileged": record.host_config["Privileged"],
                "cgroup": cgroup_path(container),
                "runtimeSpec": record.cri["spec"],
                "mounts": record.mounts,
            }
            response.info["info"] = json.dumps(shown)
        return response

    async def update(self, wanted: str, given: LinuxContainerResources) -> None:
        """Change limits; a refusal changes nothing."""
        container = self._catalogue.container(wanted)
        record = container.record
        async with container.lock:
            config = ContainerConfig()
            config.CopyFrom(self._catalogue.config(container))
            merged = merged_resources(config.linux.resources, given)
            sections = oci_resources(merged)
            if record.state.running:
                cgroups = Cgroups(cgroup_path(container))
                await asyncio.to_thread(cgroups.apply, sections)
            config.linux.resources.CopyFrom(merged)
            record.cri["config"] = encoded(config)
            record.cri["spec"]["linux"]["resources"] = sections
            container.save()
        self._catalogue.forget(record.id)

    async def reopen_log(self, wanted: str) -> None:
        """Let a running container's log go to its path anew, after a rotation."""
        container = self._catalogue.container(wanted)
        if container.shim is None:
            raise RpcError(Code.FAILED_PRECONDITION, "container is not running")
        await container.shim.reopen_log()


def _profile_text(path: str) -> str:
    try:
        with open(path, "rb") as file:
            data = file.read(_PROFILE_BYTES + 1)
    except OSError as error:
        raise InvalidError(f"seccomp profile {path}: {error.strerror}") from None
    if len(data) > _PROFILE_BYTES:
        raise InvalidError(f"seccomp profile {path}: more than {_PROFILE_BYTES} bytes")
    return data.decode(errors="replace")


def _devices_below(device: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a device, or every device of a directory."""
    top = device["PathOnHost"]
    if not os.path.isdir(top):
        return [device]
    inside = device["PathInContainer"] or top
    return [
        {**device, "PathOnHost": path, "PathInContainer": inside + path.removeprefix(top)}
        for folder, _, names in os.walk(top)
        for path in (os.path.join(folder, name) for name in sorted(names))
        if not os.path.islink(path)
    ]


def _user_of(pid: int, maps: Mapping[str, Any] | None) -> dict[str, Any]:
    """Read who a process is, as its container sees it; nothing when it has ended already."""
    found: dict[str, list[int]] = {}
    try:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            key, _, rest = line.partition(":")
            if key in ("Uid", "Gid", "Groups"):
                found[key] = [int(word) for word in rest.split()]
        uid, gid, groups = found["Uid"][0], found["Gid"][0], found["Groups"]
    except (OSError, KeyError, ValueError):
        return {}
    if maps:
        uid, gid = inside_id(maps["uids"], uid), inside_id(maps["gids"], gid)
        groups = [inside_id(maps["gids"], one) for one in groups]
    return {"uid": uid, "gid": gid, "groups": groups}
