"""Which of the engine's containers are a kubelet's, by id, with their configurations decoded."""

from __future__ import annotations

import base64
from collections.abc import Iterator

from sampan.base.errors import NotFoundError
from sampan.engine.cri.core.status import unique
from sampan.engine.cri.pb.container_pb2 import ContainerConfig
from sampan.engine.cri.pb.sandbox_pb2 import PodSandboxConfig
from sampan.engine.daemon.shell.container import Container
from sampan.engine.daemon.shell.registry import Registry

__all__ = ["Catalogue"]


class Catalogue:
    """Reads the registry; what it keeps besides are decoded messages of those that live."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._pods: dict[str, PodSandboxConfig] = {}
        self._configs: dict[str, ContainerConfig] = {}

    def sandboxes(self) -> Iterator[Container]:
        """Yield all sandboxes."""
        return (one for one in self._registry if one.record.cri.get("kind") == "sandbox")

    def containers(self, sandbox_id: str = "") -> Iterator[Container]:
        """Yield the containers of pods, of one pod or of all."""
        for one in self._registry:
            cri = one.record.cri
            if cri.get("kind") == "container" and sandbox_id in ("", cri["sandbox"]):
                yield one

    def sandbox(self, wanted: str) -> Container:
        """Return a sandbox by id or the beginning of one; NotFoundError without it."""
        return self._one(wanted, "sandbox")

    def container(self, wanted: str) -> Container:
        """Return a container of a pod by id or the beginning of one; NotFoundError without it."""
        return self._one(wanted, "container")

    def _one(self, wanted: str, kind: str) -> Container:
        if len(wanted) == 64:
            ids = [wanted] if wanted in self._registry else []
        else:
            ids = [one.id for one in self._registry if one.record.cri.get("kind") == kind]
        missing = NotFoundError(f'an error occurred when try to find {kind} "{wanted}": not found')
        found = self._registry.find(unique(wanted, ids, lambda: missing))
        if found.record.cri.get("kind") != kind:
            raise missing
        return found

    def sandbox_of(self, container: Container) -> Container:
        """Return the sandbox of a container."""
        return self.sandbox(container.record.cri["sandbox"])

    def pod(self, sandbox: Container) -> PodSandboxConfig:
        """Return the configuration that a sandbox was made with."""
        found = self._pods.get(sandbox.id)
        if found is None:
            raw = base64.b64decode(sandbox.record.cri["config"])
            found = self._pods[sandbox.id] = PodSandboxConfig.FromString(raw)
        return found

    def config(self, container: Container) -> ContainerConfig:
        """Return the configuration that a container was made with, updates included."""
        found = self._configs.get(container.id)
        if found is None:
            raw = base64.b64decode(container.record.cri["config"])
            found = self._configs[container.id] = ContainerConfig.FromString(raw)
        return found

    def forget(self, id_: str) -> None:
        """Let go of what was decoded: the record has changed or is gone."""
        self._pods.pop(id_, None)
        self._configs.pop(id_, None)
