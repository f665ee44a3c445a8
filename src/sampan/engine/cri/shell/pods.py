"""Pod sandboxes upon the engine: run, stopped, removed, and what is told of them."""

from __future__ import annotations

import asyncio
import json
import platform
import secrets
from collections.abc import Iterable
from pathlib import Path

from sampan.base.errors import ConflictError, NotFoundError
from sampan.engine.cri.core.sandbox import (
    encoded,
    hosts_text,
    on_host_network,
    resolv_text,
    sandbox_record,
)
from sampan.engine.cri.core.security import Machine
from sampan.engine.cri.core.status import sandbox_item, sandbox_state, sandbox_status
from sampan.engine.cri.pb.resources_pb2 import LinuxContainerResources
from sampan.engine.cri.pb.sandbox_calls_pb2 import PodSandboxStatusResponse
from sampan.engine.cri.pb.sandbox_pb2 import (
    PodSandbox,
    PodSandboxConfig,
    PodSandboxFilter,
    PodSandboxStatus,
)
from sampan.engine.cri.shell.catalogue import Catalogue
from sampan.engine.cri.shell.podnet import PodNetworking
from sampan.engine.daemon.shell.container import Container
from sampan.engine.daemon.shell.engine import Engine
from sampan.engine.daemon.shell.lifecycle import now_text
from sampan.engine.daemon.shell.namefiles import files_of
from sampan.wire.grpc.status import Code, RpcError

__all__ = ["Pods", "labels_match"]

_FILES = ("hosts", "hostname", "resolv.conf")


class Pods:
    """The sandboxes of one engine."""

    def __init__(
        self, engine: Engine, catalogue: Catalogue, machine: Machine, networking: PodNetworking
    ) -> None:
        self._engine = engine
        self._networking = networking
        self._catalogue = catalogue
        self._machine = machine

    async def run(self, config: PodSandboxConfig, handler: str) -> str:
        """Make and start a sandbox; returns its id. Nothing stays when it fails."""
        engine, id_ = self._engine, secrets.token_hex(32)
        network = self._networking.for_pods()
        record = sandbox_record(id_, now_text(), config, handler, self._machine, network)
        resolv_text(config.dns_config, "")  # refused before anything is made
        try:
            sandbox = await engine.creation.place(
                record, lambda: engine.networking.prepare(record, {})
            )
        except ConflictError as error:
            raise RpcError(Code.ALREADY_EXISTS, str(error)) from None
        try:
            _make_folder(config.log_directory or "/")
            await engine.lifecycle.start(sandbox)
            self._write_files(sandbox, config)
        except BaseException:
            await asyncio.shield(engine.removal.remove(sandbox, force=True))
            self._catalogue.forget(id_)
            raise
        return id_

    def files(self, sandbox: Container) -> dict[str, str]:
        """Return the pod's files about names: destination to source.

        They are there as soon as the pod is, unless the daemon was killed in between.
        """
        folder = _pod_folder(sandbox)
        if not all((folder / name).exists() for name in _FILES):
            self._write_files(sandbox, self._catalogue.pod(sandbox))
        return {f"/etc/{name}": str(folder / name) for name in _FILES}

    def _write_files(self, sandbox: Container, config: PodSandboxConfig) -> None:
        # What the engine has written for the sandbox suits its network: the node's own may not.
        own = _text(files_of(sandbox)["/etc/resolv.conf"])
        resolv = resolv_text(config.dns_config, own)
        hostname = sandbox.record.config["Hostname"] or platform.node()
        if on_host_network(config):
            hosts = _text("/etc/hosts")
        else:
            hosts = hosts_text(hostname, self._networking.addresses(sandbox))
        folder = _pod_folder(sandbox)
        folder.mkdir(mode=0o700, exist_ok=True)
        for name, text in zip(_FILES, (hosts, hostname + "\n", resolv), strict=True):
            (folder / name).write_text(text)
            (folder / name).chmod(0o644)

    async def stop(self, wanted: str) -> None:
        """Stop a sandbox and its containers; no harm when it is stopped, or not there."""
        try:
            sandbox = self._catalogue.sandbox(wanted)
        except NotFoundError:
            return
        running = [*self._catalogue.containers(sandbox.id)]
        await asyncio.gather(*(self._engine.lifecycle.stop(one, "KILL", 0) for one in running))
        await self._engine.lifecycle.stop(sandbox, "KILL", 0)

    async def remove(self, wanted: str) -> None:
        """Remove a sandbox and its containers, running or not; no harm when it is not there."""
        try:
            sandbox = self._catalogue.sandbox(wanted)
        except NotFoundError:
            return
        await self.stop(sandbox.id)
        inside = [*self._catalogue.containers(sandbox.id)]
        await asyncio.gather(*(self.drop(one) for one in inside))
        await self.drop(sandbox)

    async def drop(self, container: Container) -> None:
        """Remove a container or sandbox for good; waits when somebody else is at it."""
        try:
            await self._engine.removal.remove(container, force=True, volumes=True)
        except ConflictError:
            await container.removed.wait()
        self._catalogue.forget(container.id)

    def items(self, chosen: PodSandboxFilter) -> list[PodSandbox]:
        """Return the sandboxes that a filter lets through, the newest first."""
        found = []
        for sandbox in _newest_first(self._catalogue.sandboxes()):
            config = self._catalogue.pod(sandbox)
            if chosen.id and not sandbox.id.startswith(chosen.id):
                continue
            if chosen.HasField("state") and chosen.state.state != sandbox_state(sandbox.record):
                continue
            if labels_match(chosen.label_selector, config.labels):
                found.append(sandbox_item(sandbox.record, config))
        return found

    def status(self, sandbox: Container) -> PodSandboxStatus:
        """Return a sandbox's status."""
        config = self._catalogue.pod(sandbox)
        return sandbox_status(sandbox.record, config, self._networking.addresses(sandbox))

    def answer(self, wanted: str, *, verbose: bool) -> PodSandboxStatusResponse:
        """Return a sandbox's status as it is asked for; NotFoundError without it."""
        sandbox = self._catalogue.sandbox(wanted)
        response = PodSandboxStatusResponse(status=self.status(sandbox))
        if verbose:
            record = sandbox.record
            shown = {
                "pid": record.state.pid,
                "processStatus": record.state.status,
                "netNamespaceClosed": not record.state.running,
                "runtimeHandler": record.cri["handler"],
                "runtimeType": "sampan",
                "cgroupParent": record.host_config["CgroupParent"],
                "runtimeSpec": record.cri["spec"],
            }
            response.info["info"] = json.dumps(shown)
        return response

    def note_resources(
        self,
        wanted: str,
        overhead: LinuxContainerResources | None,
        resources: LinuxContainerResources | None,
    ) -> None:
        """Keep what a pod as a whole may use; its cgroup is the kubelet's own to write."""
        sandbox = self._catalogue.sandbox(wanted)
        config = PodSandboxConfig()
        config.CopyFrom(self._catalogue.pod(sandbox))
        if overhead is not None:
            config.linux.overhead.CopyFrom(overhead)
        if resources is not None:
            config.linux.resources.CopyFrom(resources)
        sandbox.record.cri["config"] = encoded(config)
        sandbox.save()
        self._catalogue.forget(sandbox.id)


def _pod_folder(sandbox: Container) -> Path:
    return sandbox.directory / "pod"


def _text(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""


def _make_folder(path: str) -> None:
    Path(path).mkdir(mode=0o755, parents=True, exist_ok=True)


def _newest_first(containers: Iterable[Container]) -> list[Container]:
    return sorted(containers, key=lambda one: one.record.created, reverse=True)


def labels_match(wanted: object, labels: object) -> bool:
    """Tell whether all wanted labels are there."""
    have = dict(labels)  # type: ignore[call-overload]
    return all(have.get(key) == value for key, value in dict(wanted).items())  # type: ignore[call-overload]
