"""New containers: a request is checked, its image found, its place made. All of it or nothing."""

from __future__ import annotations

import asyncio
import os
import platform
import secrets
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from sampan.base.errors import InvalidError, NotFoundError
from sampan.engine.daemon.core.admission import (
    check_config,
    check_network_mode,
    network_warnings,
)
from sampan.engine.daemon.core.config import (
    check_name,
    fill_config,
    fill_host_config,
    merge_image,
)
from sampan.engine.daemon.core.constraints import (
    Machine,
    check_modes,
    with_defaults,
    without_what_is_missing,
)
from sampan.engine.daemon.core.links import parse_link
from sampan.engine.daemon.core.mount_request import parse_volumes_from
from sampan.engine.daemon.core.names import random_name
from sampan.engine.daemon.core.options import EngineOptions
from sampan.engine.daemon.core.record import ContainerRecord
from sampan.engine.daemon.shell.container import Container
from sampan.engine.daemon.shell.lifecycle import now_text
from sampan.engine.daemon.shell.mounts import collect_mounts, populate
from sampan.engine.daemon.shell.registry import Registry
from sampan.engine.daemon.shell.volumes import Volumes
from sampan.images.core.platform import machine_platform, parse_platform, platform_of
from sampan.images.core.reference import parse_reference
from sampan.images.shell.store import ImageStore

__all__ = ["Creation"]


class Networking(Protocol):
    """Looks at the networks that a new container asks for."""

    def prepare(self, record: ContainerRecord, config: Mapping[str, Any]) -> None:
        """Check the networks that a new container asks for, and keep their settings."""
        ...


class Host(Protocol):
    """What creating needs of the engine."""

    options: EngineOptions
    machine: Machine
    registry: Registry
    images: ImageStore
    volumes: Volumes
    containers_root: Path

    @property
    def networking(self) -> Networking:
        """Networks."""
        ...

    def container_of(self, record: ContainerRecord) -> Container:
        """Return a container with its directories."""
        ...

    def publish(
        self, container: Container, action: str, more: Mapping[str, str] | None = None
    ) -> None:
        """Tell listeners what happened to a container."""
        ...


class Creation:
    """Makes containers."""

    def __init__(self, engine: Host) -> None:
        self._engine = engine

    def _find_for(self, text: str) -> Container:
        """Return a container that another one refers to; InvalidError without it."""
        try:
            return self._engine.registry.find(text)
        except NotFoundError as error:
            raise InvalidError(str(error)) from None

    async def create(
        self, name: str, body: Mapping[str, Any], platform_text: str = ""
    ) -> tuple[str, list[str]]:
        """Create a container of a checked body (`bodies.CREATE`); returns its id and warnings.

        Nothing stays when it fails.
        """
        id_ = secrets.token_hex(32)
        config = fill_config(body)
        engine, defaults = self._engine, self._engine.options.containers
        given = with_defaults(body.get("HostConfig"), defaults, engine.machine)
        host = fill_host_config(given, os.cpu_count() or 1, defaults)
        check_network_mode({**config, "MacAddress": body.get("MacAddress")}, host)
        check_modes(config, host, engine.machine)
        check_config(config)
        host, warnings = without_what_is_missing(host, engine.machine)
        warnings += network_warnings(host)
        entry = self._image(config["Image"], platform_text)
        merged, line = merge_image(config, entry.image.config)
        name = check_name(name) if name else random_name(self._engine.registry.taken, id_)
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
            self._engine.networking.prepare(record, body.get("NetworkingConfig") or {})
            record.mounts = collect_mounts(
                merged, host, self._inherited(host), self._engine.volumes
            )

        await self.place(record, settle)
        return id_, warnings

    async def place(self, record: ContainerRecord, settle: Callable[[], None]) -> Container:
        """Make room for a new container under its name; `settle` completes the record meanwhile.

        Nothing stays when it fails.
        """
        id_ = record.id
        self._engine.registry.reserve(record.name, id_)
        try:
            settle()
            container = self._engine.container_of(record)
            container.directory.mkdir(mode=0o700)
            snapshots = self._engine.images.snapshots
            if snapshots.driver.slow:
                await asyncio.to_thread(snapshots.prepare, id_, record.diff_ids)
            else:
                snapshots.prepare(id_, record.diff_ids)
            if any(mount["Type"] == "volume" for mount in record.mounts):
                layers = snapshots.files(record.diff_ids)
                await asyncio.to_thread(populate, record.mounts, layers)
            container.save()
        except BaseException:
            self._engine.registry.release(record.name)
            self._engine.images.snapshots.remove(id_)
            shutil.rmtree(self._engine.containers_root / id_, ignore_errors=True)
            raise
        self._engine.registry.add(container)
        self._engine.publish(container, "create")
        return container

    def _image(self, name: str, platform_text: str) -> Any:
        if not name:
            raise InvalidError("No image specified")
        machine = machine_platform(platform.machine())
        wanted = parse_platform(platform_text, machine) if platform_text else None
        try:
            found = self._engine.images.find(name)
        except NotFoundError:
            parse_reference(name)
            shown = name if ":" in name.rpartition("/")[2] or "@" in name else f"{name}:latest"
            raise NotFoundError(f"No such image: {shown}") from None
        if wanted is None:
            return found
        try:
            return self._engine.images.find(name, wanted)
        except NotFoundError:
            have = platform_of(found.image.document)
            raise NotFoundError(
                f"image with reference {name} was found but its platform ({have}) does not match "
                f"the specified platform ({wanted})"
            ) from None

    def _check_relations(self, record: ContainerRecord) -> None:
        """Fill in what depends on this machine and on other containers."""
        mode = record.host_config["NetworkMode"]
        if mode.startswith("container:"):
            other = self._find_for(mode.partition(":")[2])
            record.host_config["NetworkMode"] = f"container:{other.id}"
            record.config["Hostname"] = other.record.config["Hostname"]
        elif not record.config["Hostname"]:
            own = platform.node() if mode == "host" else record.id[:12]
            record.config["Hostname"] = own
        for key in ("PidMode", "IpcMode"):
            kind, _, other_name = record.host_config[key].partition(":")
            if kind == "container":
                record.host_config[key] = f"container:{self._find_for(other_name).id}"
        links = [parse_link(text) for text in record.host_config["Links"] or ()]
        for name, alias in links:
            try:
                other = self._engine.registry.find(name)
            except NotFoundError as error:
                raise InvalidError(f"could not get container for {name}: {error}") from None
            record.links[alias] = other.id

    def _inherited(self, host: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        mounts: list[Mapping[str, Any]] = []
        for text in host["VolumesFrom"] or ():
            name, writable = parse_volumes_from(text)
            theirs = self._find_for(name).record.mounts
            mounts += [{**mount, "RW": mount["RW"] and writable} for mount in theirs]
        return mounts
